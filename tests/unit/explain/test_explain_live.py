"""What a look at a host makes of an answer: what it leaves alone, what it lacks, what the cluster tells it of others."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, ip_address, ip_interface, ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from reconciler.errors import KvUnavailable, NameConflict, ReconcilerError, SandboxMissing
from reconciler.explain.answer import all_found, answer, is_reached
from reconciler.explain.declared import DeclaredHosts, declared
from reconciler.explain.lines import Lines
from reconciler.explain.live import Present, beside_host
from reconciler.explain.probing import probed
from reconciler.explain.target import question, read_target
from reconciler.explain.values import Explanation, Verdict
from reconciler.model.desired import RemoteEndpoint
from reconciler.model.objects import CLUSTER_UNIT, HOST_UNIT, Address, Object, Route, Unit
from reconciler.model.plan import Action, Operation, Plan
from reconciler.reach.probing import Probe
from reconciler.settings import Settings

SPECS = """\
networks:
  front: {ipam: {config: [{subnet: 172.30.1.0/24}]}}
  wide: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.4.0.0/24}]}}
attachments:
  web: {hosts: [alpha], networks: [front]}
  app: {hosts: [alpha], networks: [front]}
  here: {hosts: [alpha], networks: {wide: {ipv4_address: 10.4.0.10}}}
  there: {hosts: [beta], networks: {wide: {ipv4_address: 10.4.0.11}}}
"""
REMOTE = RemoteEndpoint(
    network="wide",
    id="0" * 64,
    name="there",
    host="beta",
    vtep=ip_address("192.0.2.2"),
    mac="02:42:0a:04:00:0b",
    ipv4=IPv4Interface("10.4.0.11/24"),
)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> DeclaredHosts:
    folder = tmp_path_factory.mktemp("specs")
    (folder / "s.yaml").write_text(SPECS)
    return declared(Settings(host="alpha", specs_dir=folder))


def told(
    specs: DeclaredHosts,
    client: str,
    target: str,
    *,
    problems: tuple[tuple[Unit, ReconcilerError], ...] = (),
    lacking: tuple[Object, ...] = (),
    remote: tuple[RemoteEndpoint, ...] = (REMOTE,),
) -> Explanation:
    """Tell of a host on which that is so."""
    state = specs.states["alpha"]
    networks = tuple(replace(one, remote_endpoints=remote) if one.name == "wide" else one for one in state.networks)
    state = replace(state, networks=networks, failures=problems)
    plan = Plan(operations=tuple(Operation(action=Action.CREATE, before=None, after=o, unit=o.unit) for o in lacking))
    view = cast("Any", SimpleNamespace(plan=plan, decision=SimpleNamespace(desired=state, objects={})))
    here = replace(specs, states={**specs.states, "alpha": state})
    asked = question(here, client, read_target(target))
    return beside_host(answer(asked, here.walk, Lines(here.documents)), asked, Present(specs=here, view=view))


def because(told: Explanation) -> str:
    return "; ".join(why.text for *_, why in told.reasons)


def test_nothing_is_in_the_way(specs: DeclaredHosts) -> None:
    for pair in (("web", "app"), ("web", "outside"), ("here", "there")):
        assert told(specs, *pair).verdict is Verdict.YES


@pytest.mark.parametrize(
    ("unit", "error", "cause"),
    [
        (Unit(network="front"), NameConflict("link br-front is not ours"), "network front is left as it is"),
        (Unit(attachment="app"), SandboxMissing("it is not there"), "attachment app is left as it is"),
        (Unit(network="front", attachment="web"), SandboxMissing("no such link"), "SandboxMissing: no such link"),
        (HOST_UNIT, NameConflict("table reconciler is not ours"), "host is left as it is on this host"),
    ],
)
def test_what_a_pass_leaves_alone_makes_it_a_no_for_those_who_need_it(
    specs: DeclaredHosts, unit: Unit, error: ReconcilerError, cause: str
) -> None:
    broken = told(specs, "web", "app", problems=((unit, error),))
    other = told(specs, "web", "app", problems=((Unit(network="wide"), error), (Unit(attachment="here"), error)))

    assert broken.verdict is Verdict.NO
    assert cause in because(broken)
    assert broken.path
    assert other.verdict is Verdict.YES


def test_a_route_is_missed_by_those_who_leave_by_it(specs: DeclaredHosts) -> None:
    one = specs.walk.sites["alpha"].members["web"].endpoints[0]
    destination, gateway = ip_network("0.0.0.0/0"), ip_address("172.30.1.1")
    route = Route(unit=one.unit, ns=one.ns, destination=destination, gateway=gateway, ifname="eth0")

    address = Address(unit=one.unit, ns=one.ns, ifname="eth0", interface=ip_interface("fd00::2/64"))
    assert told(specs, "web", "outside", lacking=(address,)).verdict is Verdict.YES  # of the other family

    out, near = (told(specs, "web", target, lacking=(route,)) for target in ("outside", "app"))

    assert (out.verdict, near.verdict) == (Verdict.NO, Verdict.YES)
    assert "this host is not as declared: route " in because(out)


def test_a_server_of_which_the_store_tells_nothing_is_not_reached(specs: DeclaredHosts) -> None:
    stale = told(specs, "here", "there", remote=())
    down = told(specs, "here", "there", problems=((CLUSTER_UNIT, KvUnavailable("consul does not answer")),))

    assert stale.verdict is Verdict.NO
    assert "the cluster's store tells this host nothing of there on beta" in because(stale)
    assert down.verdict is Verdict.YES
    assert any("KVUnavailable: consul does not answer" in note.text for note in down.notes)


@pytest.mark.parametrize(
    ("client", "target", "replies", "verdict", "said"),
    [
        ("web", "app", {"icmp": True}, Verdict.YES, ""),
        ("web", "app", {"icmp": False}, Verdict.NO, "the host's own address beside web, 172.30.1.1, does not answer"),
        (
            "web",
            "app:80",
            {"icmp": True, "tcp": False},
            Verdict.NO,
            "both ends answer the host, and what passes between",
        ),
        ("here", "there:80", {"icmp": True, "tcp": False}, Verdict.NO, "is lost: on the way to there, or there"),
        ("host", "web", {"icmp": False}, Verdict.NO, "what goes beyond the host is lost"),
        ("web", "app", {}, Verdict.NO, "the sandbox of web is not there"),
        ("web", "here", {"icmp": True}, Verdict.NO, "packets arrive though they should not"),
        ("web", "app:53/udp", {"icmp": True}, Verdict.YES, "nobody here can be asked"),
        ("outside", "web", {"icmp": True}, Verdict.NO, "nobody here can be asked"),
    ],
)
def test_packets_name_the_part_of_the_way_that_fails(
    specs: DeclaredHosts,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    target: str,
    replies: dict[str, bool],
    verdict: Verdict,
    said: str,
) -> None:
    def answered(probes: Iterable[Probe], *_: object) -> dict[Probe, bool]:
        return {each: replies[each.packet.protocol] for each in probes if each.packet.protocol in replies}

    monkeypatch.setattr("reconciler.explain.probing.answered", answered)
    asked = question(specs, client, read_target(target))
    by_specs, found = answer(asked, specs.walk, Lines(specs.documents)), [*all_found(asked, specs.walk)]
    found = [each for each in found if is_reached(asked, each)] or found

    after = probed(by_specs, found, specs.walk, "alpha", cast("Any", None))

    told = [because(after), *(note.text for note in (*after.notes, *after.probes))]
    assert after.verdict is verdict, told
    assert any(said in each for each in told), told
