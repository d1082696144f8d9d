"""Changes of the specs on a live host: as little as possible is disturbed, and the plan said so before."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ExitCode
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.pipeline.host_view import indexes
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

QUIET = """
networks: {quiet: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}
attachments: {calm: {networks: {quiet: {}}}, still: {networks: {quiet: {}}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one network `net` with members `a` and `b` to another.

    worst: the most disturbing thing that the plan may say of it. kept: sandboxes whose eth0 stays the same link.
    """

    before: str = ""
    after: str = ""
    members_before: str = "a: {networks: {net: {}}}, b: {networks: {net: {}}}"
    members_after: str = "a: {networks: {net: {}}}, b: {networks: {net: {}}}"
    worst: str = "live"
    affects: tuple[str, ...] = ("a", "b")
    kept: tuple[str, ...] = ("a", "b")
    reached: tuple[tuple[str, str, bool], ...] = field(default=())


SUBNET = "ipam: {config: [{subnet: 10.5.0.0/24}]}"
OPTION = "com.docker.network.bridge"

CHANGES = {
    "labels": Change(before=f"{{{SUBNET}}}", after=f"{{{SUBNET}, labels: {{x: y}}}}", worst="none", affects=()),
    "mtu": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}, driver_opts: {{com.docker.network.driver.mtu: '1300'}}}}",
    ),
    "icc off": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}, driver_opts: {{{OPTION}.enable_icc: 'false'}}}}",
        reached=(("a", "10.5.0.3", False), ("a", "10.5.0.1", True)),
    ),
    "icc on": Change(
        before=f"{{{SUBNET}, driver_opts: {{{OPTION}.enable_icc: 'false'}}}}",
        after=f"{{{SUBNET}}}",
        reached=(("a", "10.5.0.3", True),),
    ),
    "masquerade off": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}, driver_opts: {{{OPTION}.enable_ip_masquerade: 'false'}}}}",
        reached=(("a", "192.0.2.2", False), ("a", "10.5.0.3", True)),
    ),
    "gateway": Change(
        before=f"{{{SUBNET}}}",
        after="{ipam: {config: [{subnet: 10.5.0.0/24, gateway: 10.5.0.254}]}}",
        worst="flap",
        reached=(("a", "10.5.0.254", True), ("a", "192.0.2.2", True)),
    ),
    "ip range": Change(
        before=f"{{{SUBNET}}}",
        after="{ipam: {config: [{subnet: 10.5.0.0/24, ip_range: 10.5.0.0/28}]}}",
        worst="none",
        affects=(),
    ),
    "second family added": Change(
        before=f"{{{SUBNET}}}",
        after="{enable_ipv6: true, ipam: {config: [{subnet: 10.5.0.0/24}, {subnet: 'fd00:5::/64'}]}}",
        reached=(("a", "fd00:5::3", True), ("a", "fd00:5::1", True), ("a", "10.5.0.3", True)),
    ),
    "second family removed": Change(
        before="{enable_ipv6: true, ipam: {config: [{subnet: 10.5.0.0/24}, {subnet: 'fd00:5::/64'}]}}",
        after=f"{{{SUBNET}}}",
        worst="recreate",
        reached=(("a", "10.5.0.3", True),),
    ),
    "internal": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}, internal: true}}",
        reached=(("a", "192.0.2.2", False), ("a", "10.5.0.3", True)),
    ),
    "not internal any more": Change(
        before=f"{{{SUBNET}, internal: true}}",
        after=f"{{{SUBNET}}}",
        reached=(("a", "192.0.2.2", True), ("a", "10.5.0.3", True)),
    ),
    "alias": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}}}",
        members_after="a: {networks: {net: {aliases: [www]}}}, b: {networks: {net: {}}}",
        worst="none",
        affects=(),
    ),
    "static address": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}}}",
        members_after="a: {networks: {net: {ipv4_address: 10.5.0.77}}}, b: {networks: {net: {}}}",
        worst="recreate",
        affects=("a",),
        kept=("a", "b"),
        reached=(("b", "10.5.0.77", True), ("a", "192.0.2.2", True)),
    ),
    "mac address": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}}}",
        members_after="a: {networks: {net: {mac_address: '02:42:00:00:00:11'}}}, b: {networks: {net: {}}}",
        worst="flap",
        affects=("a",),
        reached=(("a", "10.5.0.3", True), ("a", "192.0.2.2", True)),
    ),
    "member added": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}}}",
        members_after="a: {networks: {net: {}}}, b: {networks: {net: {}}}, aa: {networks: {net: {}}}",
        worst="none",
        affects=(),
        reached=(("aa", "10.5.0.2", True),),
    ),
    "member removed": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}}}",
        members_after="b: {networks: {net: {}}}",
        worst="recreate",
        affects=("a",),
        kept=("b",),
        reached=(("b", "192.0.2.2", True),),
    ),
    "interface renamed": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}}}",
        members_after="a: {networks: {net: {interface_name: lan7}}}, b: {networks: {net: {}}}",
        worst="recreate",
        affects=("a",),
        kept=("b",),
        reached=(("a", "10.5.0.3", True), ("a", "192.0.2.2", True)),
    ),
    "subnet moved": Change(
        before=f"{{{SUBNET}}}",
        after="{ipam: {config: [{subnet: 10.6.0.0/24}]}}",
        worst="recreate",
        reached=(("a", "10.6.0.3", True), ("a", "192.0.2.2", True)),
    ),
    "bridge renamed": Change(
        before=f"{{{SUBNET}}}",
        after=f"{{{SUBNET}, driver_opts: {{{OPTION}.name: br-new}}}}",
        worst="recreate",
        reached=(("a", "10.5.0.3", True), ("a", "192.0.2.2", True)),
    ),
}

_WORSE = ("none", "live", "flap", "recreate")


def specs(network: str, members: str) -> str:
    return f"networks: {{net: {network}}}\nattachments: {{{members}}}\n"


@contextmanager
def steady_ping(machine: Machine, ns: str, target: str) -> Iterator[list[str]]:
    """Ping every 20 ms meanwhile; afterwards the list holds the summary line. For 10 ms and less ping spins instead of sleeping."""
    out = machine.state_dir.parent / "ping.txt"
    with out.open("wb") as file:
        pid = os.posix_spawnp(
            "ip",
            ["ip", "netns", "exec", ns, "ping", "-n", "-i", "0.02", "-W", "1", target],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)],
        )
    summary: list[str] = []
    try:
        _wait_for_replies(out, 5)
        yield summary
        _wait_for_replies(out, out.read_text().count(" bytes from ") + 5)
    finally:
        os.kill(pid, signal.SIGINT)
        os.waitpid(pid, 0)
    summary.append(next(line for line in out.read_text().splitlines() if "packets transmitted" in line))


def _wait_for_replies(out: Path, count: int) -> None:
    assert eventually(lambda: out.read_text().count(" bytes from ") >= count)


def lost(summary: list[str]) -> int:
    """Packets without an answer, but for the one that may be under way when ping is stopped."""
    sent, received = map(int, re.findall(r"(\d+) (?:packets transmitted|received)", summary[0]))
    assert sent > 9
    return max(0, sent - received - 1)


def test_drift_is_told_apart_from_what_the_specs_change(forked: ForkedReconcile, machine: Machine, uplink: str) -> None:
    forked.write(net=specs(f"{{{SUBNET}}}", "a: {networks: {net: {}}}, b: {networks: {net: {}}}"))
    forked.ok()
    machine.run("a", "ip", "route", "delete", "default")

    def plan() -> tuple[dict[str, Any], set[str]]:
        document = json.loads(forked("--dry-run", "--output", "json").stdout)
        return document, {one["address"] for one in document["resource_changes"] if one["drift"]}

    by_hand, drifted = plan()
    assert {one["address"] for one in by_hand["resource_changes"]} == drifted == {"Route/netns:a/0.0.0.0/0"}
    assert by_hand["changes"] == []

    forked.write(net=specs(f"{{{SUBNET}}}", "a: {networks: {net: {}}}, b: {networks: {net: {}}, ports: ['8080:80']}"))

    document, still_drifted = plan()
    text = forked("--dry-run").stdout
    assert still_drifted == drifted
    assert len(document["resource_changes"]) > 1
    assert [change["unit"]["attachment"] for change in document["changes"]] == ["b"]
    assert "  drift that is put right\n    network net, attachment a: create route 0.0.0.0/0" in text
    assert "outside → b:80/tcp (published at 8080, IPv4)" in text
    assert " (1 for drift); reachability: " in text
    assert "+ " not in text
    assert "  + " in forked("--dry-run", "--objects").stdout


def test_a_saved_plan_is_carried_out_as_it_is_or_refused(
    forked: ForkedReconcile, machine: Machine, uplink: str, tmp_path: Path
) -> None:
    plan, text = tmp_path / "plan.json", specs(f"{{{SUBNET}}}", "a: {networks: {net: {}}}, b: {networks: {net: {}}}")
    forked.write(net=text)
    forked.ok("--dry-run", "--out", str(plan), "--allow-prune")
    edited = tmp_path / "edited.json"
    edited.write_text(plan.read_text().replace("10.5.0.2", "10.5.0.9"))

    def refused(file: Path) -> str:
        there = _what_is_there(machine)
        done = forked("apply", str(file))
        assert done.exit_code == ExitCode.GUARDED, done.text
        assert _what_is_there(machine) == there
        return done.stderr

    assert "edited.json was edited by hand" in refused(edited)
    forked.write(net=text.replace("b:", "c:"), more="networks: {}")
    assert "the specs changed since it was saved (more.yaml, net.yaml)" in refused(plan)
    forked.write(net=text)
    forked.ok("apply", str(plan))
    assert machine.ping("a", "10.5.0.3")

    assert "this host changed" in refused(plan), "it is done already"
    forked.write(net=text.replace("b: {networks", "b: {ports: ['8080:80'], networks"))
    forked.ok("--dry-run", "--out", str(plan))
    machine.run("a", "ip", "route", "delete", "default")
    assert "this host changed since it was saved (Route/netns:a/0.0.0.0/0); plan and review again" in refused(plan)
    machine.run("a", "ip", "route", "add", "default", "via", "10.5.0.1")
    forked.ok("apply", str(plan))
    assert forked("--dry-run", "--fail-on", "drift,recreate", "--detailed-exitcode").exit_code == ExitCode.OK


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_made_in_place_and_ends_where_a_fresh_host_would(
    name: str, forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    """But for addresses, which stay as they were given."""
    change = CHANGES[name]
    forked.write(quiet=QUIET, net=specs(change.before, change.members_before))
    forked.ok()
    assert machine.ping("calm", "10.9.0.3")
    before = {ns: indexes(machine, ns) for ns in ("H", "a", "b", "calm", "still")}
    forked.write(quiet=QUIET, net=specs(change.after, change.members_after))

    plan = json.loads(forked("--dry-run", "--output", "json").stdout)["resource_changes"]
    with steady_ping(machine, "calm", "10.9.0.3") as summary:
        forked.ok()

    worst = max((entry["disruption"] for entry in plan), key=_WORSE.index, default="none")
    assert worst == change.worst, disturbing(plan)
    assert {one for entry in plan for one in entry["affects"]} == set(change.affects), disturbing(plan)
    assert lost(summary) == 0
    for ns in ("calm", "still", *change.kept):
        assert indexes(machine, ns) == before[ns]
    for ns, target, answers in change.reached:
        assert machine.ping(ns, target, deadline_s=5 if answers else 1) == answers, (ns, target)
    assert forked.ok().writes == ()

    changed = _what_is_there(machine)
    forked.ok("down")
    forked.ok()
    assert _what_is_there(machine) == changed


def disturbing(plan: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    return [(e["address"], e["disruption"], e["affects"]) for e in plan if e["disruption"] != "none"]


def _what_is_there(machine: Machine) -> set[str]:
    """Give the lines of the rule set, in no order as sets have none, and the names of links and namespaces.

    Without what an endpoint sends from, which is its addresses.
    """
    rules = machine.run("H", "nft", "list", "ruleset").stdout.replace(",", "\n").replace("elements = {", "\n")
    rules = re.sub(r'("rcv\w+")( \. [0-9a-f.:x]+)+', r"\1", rules)
    return {line.strip(" \t}") for line in rules.splitlines()} | {*machine.links("H"), *machine.namespaces()}


def test_member_keeps_its_neighbours_while_another_moves_to_another_network(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    both = """
networks: {one: {ipam: {config: [{subnet: 10.1.0.0/24}]}}, two: {ipam: {config: [{subnet: 10.2.0.0/24}]}}}
"""
    members = "attachments: {a: {networks: {one: {}}}, b: {networks: {one: {}}}, m: {networks: {%s: {}}}}"
    forked.write(nets=both, members=members % "one")
    forked.ok()
    assert machine.ping("a", "10.1.0.3")
    forked.write(nets=both, members=members % "two")

    with steady_ping(machine, "a", "10.1.0.3") as summary:
        forked.ok()

    assert lost(summary) == 0
    assert machine.ping("m", "10.2.0.1")
    assert machine.ping("m", "192.0.2.2")
    assert not machine.ping("m", "10.1.0.2", deadline_s=1)


def test_default_route_moves_by_priority_and_when_its_network_goes(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    nets = (
        "networks:\n"
        "  alpha: {ipam: {config: [{subnet: 10.1.0.0/24}]}}\n"
        "  beta: {ipam: {config: [{subnet: 10.2.0.0/24}]}}\n"
        "  inner: {internal: true, ipam: {config: [{subnet: 10.3.0.0/24}]}}\n"
    )

    def attach(networks: str) -> str | None:
        forked.write(nets=nets, one=f"attachments: {{one: {{networks: {{{networks}}}}}}}")
        forked.ok()
        assert forked.ok().writes == ()
        return machine.default_gateway("one")

    assert attach("alpha: {}, beta: {}, inner: {}") == "10.1.0.1"
    link = indexes(machine, "one")["eth1"]
    assert attach("alpha: {}, beta: {gw_priority: 10}, inner: {}") == "10.2.0.1"
    assert indexes(machine, "one")["eth1"] == link
    assert attach("alpha: {}, beta: {}, inner: {}") == "10.1.0.1"
    assert attach("beta: {}, inner: {}") == "10.2.0.1"
    assert machine.ping("one", "192.0.2.2")
    assert attach("inner: {}") is None
    assert attach("alpha: {}, inner: {}") == "10.1.0.1"
    assert machine.ping("one", "192.0.2.2")


def test_mtu_follows_the_uplinks(forked: ForkedReconcile, machine: Machine, host_ns: str, uplink: str) -> None:
    small = "{driver_opts: {com.docker.network.driver.mtu: '1200'}}"
    forked.write(quiet=QUIET, net=specs(small, "a: {networks: {net: {}}}"))

    def mtus() -> set[int]:
        links = [*machine.ip_json("calm", "link", "show", "eth0"), *machine.ip_json("H", "link", "show", "docker0")]
        return {link["mtu"] for link in links}

    forked.ok()
    assert mtus() == {1500}
    for mtu, expected in ((1400, {1400}), (9000, {1500}), (1280, {1280}), (1500, {1500})):
        machine.run("", "ip", "-n", host_ns, "link", "set", "uplink0", "mtu", str(mtu))
        before = indexes(machine, "calm")
        forked.ok()
        assert mtus() == expected
        assert indexes(machine, "calm") == before
        assert {link["mtu"] for link in machine.ip_json("a", "link", "show", "eth0")} == {1200}
        assert forked.ok().writes == ()
