"""Whole passes on a scripted host: what is decided when something is wrong, and what is left alone then."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.decide import Decider
from reconciler.errors import ExitCode, SandboxMissing
from reconciler.guard.orders import Orders
from reconciler.guard.suspension import Suspension, resume, suspend
from reconciler.incremental import Made
from reconciler.model.cluster import ClusterPlace, ClusterState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Bridge, LinkUp, Object, Route, Seen, Unit, VethPair
from reconciler.model.observed import BoundSocket, HostPorts
from reconciler.model.plan import Action
from tests.fakes.scripted_host import ScriptedHost, problems, result

GOOD = """
networks:
  good: {ipam: {config: [{subnet: 10.1.0.0/24}]}}
attachments:
  fine: {networks: {good: {}}}
  other: {networks: {good: {}}}
"""
FINE, OTHER = (Unit(network="good", attachment=name) for name in ("fine", "other"))


@pytest.fixture
def host(tmp_path: Path) -> ScriptedHost:
    return ScriptedHost(tmp_path)


def specs(*names: str, more: str = "") -> str:
    networks = "".join(
        f"  {name}: {{ipam: {{config: [{{subnet: 10.7.{number}.0/24}}]}}{more}}}\n" for number, name in enumerate(names)
    )
    attachments = "".join(f"  on-{name}: {{networks: {{{name}: {{}}}}}}\n" for name in names)
    return f"networks:\n{networks}attachments:\n{attachments}"


def networks_of(host: ScriptedHost) -> list[str]:
    return sorted(each.unit.network for each in host.objects().values() if isinstance(each, Bridge))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("networks: {bad: {drivr: bridge}}", "did you mean 'driver'", id="unknown key"),
        pytest.param(
            "networks: {bad: {ipam: {config: [{subnet: 10.9.0.0/16}]}}, "
            "worse: {ipam: {config: [{subnet: 10.9.4.0/24}]}}}",
            "10.9.4.0/24",
            id="overlapping subnets",
        ),
        pytest.param(
            "networks: {bad: {ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.8.0.1}]}}}",
            "10.8.0.1",
            id="gateway outside",
        ),
        pytest.param(
            "attachments: {a: {networks: {good: {ipv4_address: 10.1.0.9}}}, "
            "b: {networks: {good: {ipv4_address: 10.1.0.9}}}}",
            "10.1.0.9",
            id="static address taken twice",
        ),
        pytest.param("networks: {../../etc/x: {}}", "../../etc/x", id="path for a name"),
        pytest.param("attachments: {../x: {}}", "../x", id="path for an attachment"),
        pytest.param(
            "networks: {bad: {driver_opts: {com.docker.network.bridge.name: a-name-of-17-char}}}",
            "a-name-of-17-char",
            id="link name too long",
        ),
        pytest.param("attachments: {bad: {networks: {nowhere: {}}}}", "nowhere", id="network nobody declares"),
        pytest.param("networks: {host: {driver: bridge}}", "host", id="built-in network declared"),
    ],
)
def test_bad_spec_beside_good_ones_is_named_and_the_good_ones_are_applied(
    text: str, expected: str, host: ScriptedHost
) -> None:
    host.write(good=GOOD, bad=text)

    report = host.go()

    assert result(report) is ExitCode.BAD_SPECS
    assert any(expected in str(fault) for fault in report.spec_faults)
    assert host.has(FINE)
    assert host.has(OTHER)
    again = host.go()
    assert (result(again), again.outcomes) == (ExitCode.BAD_SPECS, ())


def test_full_network_harms_only_who_comes_too_late(host: ScriptedHost) -> None:
    small = "networks: {tiny: {ipam: {config: [{subnet: 10.6.0.0/30}]}}}\n"
    host.write(good=GOOD, tiny=small + "attachments: {t1: {networks: {tiny: {}}}, t2: {networks: {tiny: {}}}}")

    report = host.go()

    assert result(report) is ExitCode.FAILED
    ((unit, text),) = problems(report)
    assert "t2" in unit
    assert "10.6.0.0/30" in text
    assert host.has(Unit(network="tiny", attachment="t1"))
    assert host.has(FINE)
    assert host.go().outcomes == ()


def test_networks_beyond_the_default_pools_are_reported(host: ScriptedHost) -> None:
    """Of the default pools three are left, `bridge` has one of them."""
    used = ("172.16.0.0/12", "192.168.0.0/17", "192.168.128.0/18", "192.168.192.0/20")
    host.facts = replace(host.facts, routes=tuple((ip_network(route), "theirs") for route in used))
    host.write(good=GOOD, many="networks: {a: {}, b: {}, c: {}}")

    report = host.go()

    assert result(report) is ExitCode.FAILED
    assert [unit for unit, _ in problems(report)] == ["network c"]
    assert networks_of(host) == ["a", "b", "bridge", "good"]
    assert host.has(FINE)


def test_sandbox_that_is_missing_is_told_and_the_others_go_on(host: ScriptedHost) -> None:
    host.write(good=GOOD, bad="attachments: {gone: {sandbox: {pid: 7}, networks: {good: {}}}}")
    host.unusable[NsRef("pid:7")] = SandboxMissing("process 7 is not there")

    report = host.go()

    assert problems(report) == [("attachment gone", "process 7 is not there")]
    assert not host.has(Unit(network="good", attachment="gone"))
    assert host.has(FINE)
    assert host.go().outcomes == ()


def test_port_that_a_process_has_fails_for_its_attachment_alone_and_what_runs_stays(host: ScriptedHost) -> None:
    web = 'attachments: {web: {networks: {good: {}}, ports: ["8080:80"]}}'
    host.write(good=GOOD, web=web)
    host.ok()
    before = dict(host.seen)
    host.ports = HostPorts(sockets=(BoundSocket("tcp", None, 99),))
    host.write(good=GOOD, web=web.replace("8080", "99"))

    report = host.go()

    assert result(report) is ExitCode.FAILED
    assert [unit for unit, _ in problems(report)] == ["attachment web"]
    assert host.seen == before


@pytest.mark.parametrize("is_lost", [False, True], ids=["state kept", "state lost"])
def test_choices_outlive_the_records_as_long_as_the_kernel_has_the_objects(host: ScriptedHost, is_lost: bool) -> None:
    host.write(good="networks: {a: {}, b: {}}\nattachments: {x: {networks: {a: {}, b: {}}}, y: {networks: {b: {}}}}")
    host.ok()
    links = {key: o for key, o in host.objects().items() if isinstance(o, (VethPair, Bridge, Route))}
    if is_lost:
        host.seen = {key: seen for key, seen in host.seen.items() if key[0] != "KvRecord"}
    host.write(good="networks: {a: {}, b: {}}\nattachments: {y: {networks: {b: {}}}}")

    host.ok()

    after = host.objects()
    assert all(after[key] == o for key, o in links.items() if o.unit.attachment in ("", "y"))
    assert not host.has(Unit(network="a", attachment="x"))


def test_foreign_object_of_a_wanted_name_is_told_and_left_as_it_is(host: ScriptedHost) -> None:
    theirs: Object = Bridge(ns=HOST, ifname="docker0", mac="02:00:00:00:00:01", mtu=1500)
    host.seen[theirs.key] = Seen(theirs, is_ours=False)
    host.write(good=GOOD, default="attachments: {lost: {}}")

    report = host.go()

    assert result(report) is ExitCode.FAILED
    assert any("docker0" in text and "not ours" in text for _, text in problems(report))
    assert host.seen[theirs.key] == Seen(theirs, is_ours=False)
    assert not host.has(Unit(network="bridge", attachment="lost"))
    assert host.has(FINE)

    del host.seen[theirs.key]
    host.ok()
    assert host.has(Unit(network="bridge", attachment="lost"))


def test_emptied_folder_removes_no_attachment_of_the_built_in_networks(host: ScriptedHost) -> None:
    host.write(all="attachments: {plain: {}}")
    host.ok()
    host.write()

    assert result(host.go()) is ExitCode.GUARDED

    assert host.has(Unit(network="bridge", attachment="plain"))


def test_refused_pass_still_brings_about_what_is_declared_and_repairs_what_stays(host: ScriptedHost) -> None:
    host.write(all=specs("a", "b", "c", "d"))
    host.ok()
    before = host.objects()
    host.write(all="networks: {new: {}}\nattachments: {n: {networks: {new: {}}}}")
    lost = next(key for key, o in before.items() if isinstance(o, Bridge) and o.unit.network == "a")
    del host.seen[lost]

    report = host.go()

    assert result(report) is ExitCode.GUARDED
    assert host.has(Unit(network="new", attachment="n"))
    after = host.objects()
    kept = {key: o for key, o in before.items() if o.unit.network in ("a", "b", "c", "d") and o.kind != "KvRecord"}
    assert all(after.get(key) == o for key, o in kept.items())

    host.ok(Orders(is_prune_allowed=True))
    assert networks_of(host) == ["bridge", "new"]


def test_network_declared_unprotected_first_may_go(host: ScriptedHost) -> None:
    for protection in (", protect: true", ", protect: false"):
        host.write(a=specs("a", more=protection), other="networks: {other: {}}")
        host.ok()
    host.write(other="networks: {other: {}}")

    host.ok()

    assert "a" not in networks_of(host)


def test_protected_network_goes_with_its_name_alone(host: ScriptedHost) -> None:
    host.write(a=specs("a", more=", protect: true"), other="networks: {other: {}}")
    host.ok()
    host.write(other="networks: {other: {}, second: {}}")

    for _ in range(2):
        assert result(host.go(Orders(is_prune_allowed=True))) is ExitCode.GUARDED
        assert host.has(Unit(network="a", attachment="on-a"))

    host.ok(Orders(unprotected=frozenset({"a"})))
    assert "a" not in networks_of(host)


@pytest.mark.parametrize("answer", ["warn", "ignore"])
def test_drift_is_left_where_the_specs_say_so(host: ScriptedHost, answer: str) -> None:
    host.write(all=specs("a", more=f", onDrift: {answer}"))
    host.ok()
    eth0 = next(key for key, o in host.objects().items() if isinstance(o, LinkUp) and o.unit.attachment == "on-a")
    del host.seen[eth0]

    report = host.ok()

    assert eth0 not in host.seen
    assert report.outcomes == ()
    assert any("drifted" in text for _, text in problems(report)) == (answer == "warn")

    host.write(all=specs("a", more=f", onDrift: {answer}, attachable: true"))
    host.ok()
    assert eth0 in host.seen


def test_nothing_of_what_is_right_is_touched_by_a_change_beside_it(host: ScriptedHost) -> None:
    host.write(good=GOOD)
    host.ok()
    host.write(good=GOOD, more="attachments: {new: {networks: {good: {}}}}")

    report = host.ok()

    touched = {outcome.operation.unit.attachment for outcome in report.outcomes} - {"", "new"}
    assert touched == set()
    assert {outcome.operation.action for outcome in report.outcomes} <= {Action.CREATE, Action.UPDATE}


def test_file_that_cannot_be_read_any_more_keeps_its_networks(host: ScriptedHost) -> None:
    later = "networks: {side: {}}\nattachments: {sam: {networks: {side: {}}}}"
    host.write(good=GOOD, later=later)
    host.ok()
    before = host.objects()
    host.write(good=GOOD, later=f"{later}]", more="attachments: {new: {networks: {good: {}}}}")

    report = host.go()

    assert result(report) is ExitCode.BAD_SPECS
    assert host.has(Unit(network="good", attachment="new"))
    assert {key: o for key, o in host.objects().items() if key in before and o.kind != "NameTables"}.items() >= {
        key: o for key, o in before.items() if o.kind != "NameTables"
    }.items()


def test_nothing_goes_either_when_nobody_remembers_how_it_was(host: ScriptedHost) -> None:
    host.write(all=specs("a", "b"))
    host.ok()
    (host.settings.state_dir / "last-good.json").unlink()
    (host.settings.state_dir / "verified.json").write_text("{ damaged")
    before = host.objects()
    host.write()

    assert result(host.go()) is ExitCode.GUARDED

    assert host.objects() == before


def test_suspended_network_is_neither_changed_nor_removed_by_new_specs(host: ScriptedHost) -> None:
    """Its subnet goes to somebody else meanwhile: that one cannot be had yet, and `a` stays."""
    host.write(a=specs("a"), other="networks: {other: {}}")
    host.ok()
    suspend(host.settings.state_dir, [Suspension(network="a", actor="", reason="", since=0)], time.time())
    host.write(b="networks: {b: {ipam: {config: [{subnet: 10.7.0.0/24}]}}, other: {}}")

    report = host.go()

    assert result(report) is ExitCode.FAILED
    assert any("10.7.0.0/24" in text for unit, text in problems(report) if unit == "network b")
    assert host.has(Unit(network="a", attachment="on-a"))
    resume(host.settings.state_dir, ["a"], time.time())
    host.ok()
    assert networks_of(host) == ["b", "bridge", "other"]


def test_new_sandbox_is_attached_although_drift_is_left(host: ScriptedHost) -> None:
    host.write(all=specs("a", more=", onDrift: ignore"))
    host.ok()
    before = host.objects()
    host.remove_sandbox("on-a")

    host.ok()

    assert host.objects() == before


def test_line_that_moves_is_told_and_changes_nothing(host: ScriptedHost) -> None:
    bound = 'driver_opts: {com.docker.network.bridge.host_binding_ipv4: "127.0.0.1"}'
    text = f"networks: {{n: {{{bound}}}}}\nattachments:\n" + "".join(
        f"  {name}: {{networks: [n], ports: ['8080:80']}}\n" for name in ("first", "second")
    )
    host.write(a=text)
    before = host.go()
    host.write(a=f"# A comment.\n{text}")
    after = host.go()

    assert before.outcomes
    assert not after.outcomes
    assert after.desired.networks is before.desired.networks
    assert after.desired.attachments is before.desired.attachments
    for report, line in ((before, 3), (after, 4)):
        ((unit, said),) = problems(report)
        assert unit == "attachment second"
        assert f"attachment first has it ({host.settings.specs_dir}/a.yaml:{line}:3)" in said


def test_what_was_kept_wrongly_is_told_as_a_bug_and_what_comes_from_nothing_holds(host: ScriptedHost) -> None:
    """Nothing may be kept wrongly, so the test has to do it."""
    host.write(net=specs("web", "db"))
    host.ok()
    wanted, facts = host.read()
    decider, right = Decider(), Decider()(wanted, facts)
    decider(wanted, replace(facts, host=replace(facts.host, resolv_conf="")))
    decider._compiler._attachments = Made(lambda *inputs: {})

    kept = decider(wanted, facts)
    decider.doubt()
    doubted, after = decider(wanted, facts), decider(wanted, facts)

    assert dict(kept.objects) != dict(right.objects)
    assert dict(doubted.objects) == dict(after.objects) == dict(right.objects)
    assert [bug.partition(":")[0] for bug in doubted.bugs] == ["objects kept are not as from nothing"]
    assert (kept.bugs, after.bugs) == ((), ())


def test_when_a_network_was_thought_of_first_is_no_bug(host: ScriptedHost) -> None:
    """While the store is away nothing of it is written yet; whoever begins from nothing thinks of it now."""
    host.write(net="networks: {over: {driver: overlay}}")
    wanted, found = host.read()
    facts = replace(
        found,
        cluster=ClusterState(host=found.host.name, seed="x"),
        place=ClusterPlace(nodes_folder="nodes/", instance="i", is_watched=False, revision=("", False)),
        host=replace(found.host, vtep=ip_address("198.51.100.1")),
    )
    decider = Decider()
    decider(wanted, facts)
    decider.doubt()

    doubted = decider(wanted, replace(facts, host=replace(facts.host, now="2027-11-25T12:00:00.000000000Z")))

    assert ("ClusterRecord", "networks/over") in doubted.objects
    assert doubted.bugs == ()
