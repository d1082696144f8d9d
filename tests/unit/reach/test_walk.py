"""Who answers a packet, and the reasons with their lines: Docker's semantics, case by case."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from reconciler.reach.flows import reachability
from reconciler.reach.reachability import Manner, Target
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer
from reconciler.reach.walk import Walk
from reconciler.spec.document import parse_document
from reconciler.spec.places import Places
from tests.fakes.reach import walk_of

SPECS = """\
networks:
  front:
    ipam: {config: [{subnet: 172.30.1.0/24}]}
  back:
    internal: true
    ipam: {config: [{subnet: 172.30.2.0/24}]}
  apart:
    driver_opts: {com.docker.network.bridge.enable_icc: "false"}
    ipam: {config: [{subnet: 172.30.3.0/24}]}
  routed:
    driver_opts: {com.docker.network.bridge.gateway_mode_ipv4: routed}
    ipam: {config: [{subnet: 172.30.4.0/24}]}
  open:
    driver_opts: {com.docker.network.bridge.gateway_mode_ipv4: nat-unprotected}
    ipam: {config: [{subnet: 172.30.5.0/24}]}
  lan:
    driver: macvlan
    driver_opts: {parent: eth0}
    ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}
  sealed:
    driver: macvlan
    driver_opts: {parent: eth1, macvlan_mode: private}
    ipam: {config: [{subnet: 10.2.0.0/24, gateway: 10.2.0.1}]}
  sliced:
    driver: ipvlan
    driver_opts: {parent: eth2, ipvlan_flag: private}
    ipam: {config: [{subnet: 10.3.0.0/24, gateway: 10.3.0.1}]}
  shared:
    driver: overlay
    ipam: {config: [{subnet: 10.4.0.0/24}]}
attachments:
  web: {networks: {front: {ipv4_address: 172.30.1.10}}, ports: ["8080:80", "127.0.0.1:8081:81"]}
  app: {networks: {front: {ipv4_address: 172.30.1.11}, back: {ipv4_address: 172.30.2.11}}}
  db: {networks: {back: {ipv4_address: 172.30.2.12}}}
  a: {networks: {apart: {ipv4_address: 172.30.3.10}}}
  b: {networks: {apart: {ipv4_address: 172.30.3.11}}}
  r: {networks: {routed: {ipv4_address: 172.30.4.10}}, ports: ["90"]}
  o: {networks: {open: {ipv4_address: 172.30.5.10}}}
  lan1: {networks: {lan: {ipv4_address: 10.1.0.10}}}
  lan2: {networks: {lan: {ipv4_address: 10.1.0.11}}}
  sealed1: {networks: {sealed: {ipv4_address: 10.2.0.10}}}
  sealed2: {networks: {sealed: {ipv4_address: 10.2.0.11}}}
  sliced1: {networks: {sliced: {ipv4_address: 10.3.0.10}}}
  sliced2: {networks: {sliced: {ipv4_address: 10.3.0.11}}}
  here: {hosts: [alpha], networks: {shared: {ipv4_address: 10.4.0.10}}}
  there: {hosts: [beta], networks: {shared: {ipv4_address: 10.4.0.11}}}
"""
PLUGIN = """\
networks:
  p: {driver: weave, ipam: {config: [{subnet: 10.5.0.0/24}]}}
attachments:
  p1: {networks: {p: {ipv4_address: 10.5.0.10}}}
  p2: {networks: {p: {ipv4_address: 10.5.0.11}}}
"""
PLACES = Places([document for document, _ in [parse_document("specs.yaml", SPECS)] if document is not None])
OUTSIDE = "203.0.113.9"
HOST = "192.0.2.253"
"""The address that stands for the host's own."""


@pytest.fixture(scope="module")
def walk() -> Walk:
    return reachability(walk_of(SPECS, ("alpha", "beta"))).walk


def party(name: str) -> Party:
    if name in ("outside", "host"):
        return Party(PartyKind(name), "alpha")
    return Party(PartyKind.ATTACHMENT, "beta" if name == "there" else "alpha", name)


def line_of(text: str) -> int:
    """Give the line of the specs that begins so."""
    return next(number for number, line in enumerate(SPECS.splitlines(), 1) if line.startswith(f"  {text}:"))


def ask(walk: Walk, client: str, address: str, port: str = "icmp") -> ReachAnswer:
    number, _, protocol = port.partition("/")
    packet = Packet(
        client=party(client),
        address=ip_address(address),
        protocol=protocol or "icmp",
        port=int(number) if protocol else 0,
    )
    return walk.ask(packet)


def place_of(answer: ReachAnswer) -> str:
    unit = answer.steps[-1].unit
    return "" if unit is None else str(PLACES[unit].line)


@pytest.mark.parametrize(
    ("client", "address", "port", "server", "seen_as", "because", "line"),
    [
        ("app", "172.30.1.10", "icmp", "web", "172.30.1.11", "both are on front", "front"),
        ("app", "172.30.1.10", "80/tcp", "web", "172.30.1.11", "both are on front", "front"),
        ("app", "172.30.2.12", "80/tcp", "db", "172.30.2.11", "both are on back", "back"),
        ("web", OUTSIDE, "443/tcp", "outside", None, "with an address of the host", "front"),
        ("r", OUTSIDE, "443/tcp", "outside", "172.30.4.10", "with its own address", "routed"),
        ("lan1", OUTSIDE, "443/tcp", "outside", "10.1.0.10", "beyond eth0", "lan"),
        ("lan1", "10.1.0.11", "80/tcp", "lan2", "10.1.0.10", "both are on lan", "lan"),
        ("outside", HOST, "8080/tcp", "web", None, "published: 0.0.0.0:8080/tcp leads to web", "web"),
        ("host", "127.0.0.1", "8081/tcp", "web", "172.30.1.1", "published: 127.0.0.1:8081/tcp leads to web", "web"),
        ("a", HOST, "8080/tcp", "web", "172.30.1.1", "published: 0.0.0.0:8080/tcp leads to web", "web"),
        ("outside", "172.30.4.10", "90/tcp", "r", None, "routed is routed, 90/tcp is published", "r"),
        ("outside", "172.30.4.10", "icmp", "r", None, "routed is routed: its members answer pings", "routed"),
        ("outside", "172.30.5.10", "7/udp", "o", None, "open is not protected", "open"),
        ("outside", "10.1.0.10", "80/tcp", "lan1", None, "whoever is beyond eth0 reaches those on lan", "lan"),
        ("db", "172.30.2.1", "icmp", "host", "172.30.2.12", "the host answers itself", ""),
        ("host", "172.30.2.12", "80/tcp", "db", "172.30.2.1", "the host has an address on back", "back"),
        ("here", "10.4.0.11", "80/tcp", "there", "10.4.0.10", "both are on shared", "shared"),
        ("there", "10.4.0.10", "80/tcp", "here", "10.4.0.11", "both are on shared", "shared"),
    ],
)
def test_one_answers(
    walk: Walk, client: str, address: str, port: str, server: str, seen_as: str | None, because: str, line: str
) -> None:
    answer = ask(walk, client, address, port)

    assert answer.server == party(server)
    assert answer.seen_as == (None if seen_as is None else ip_address(seen_as))
    assert because in answer.steps[-1].text
    assert place_of(answer) == (str(line_of(line)) if line else "")


@pytest.mark.parametrize(
    ("client", "address", "port", "because", "line"),
    [
        ("db", OUTSIDE, "443/tcp", "db has no IPv4 default route", "db"),
        ("a", "172.30.3.11", "80/tcp", "enable_icc is off on apart", "apart"),
        ("a", "172.30.1.10", "80/tcp", "nobody from elsewhere reaches members of front", "front"),
        ("outside", "172.30.1.10", "80/tcp", "nobody from elsewhere reaches members of front", "front"),
        ("outside", "172.30.2.12", "80/tcp", "back is internal", "back"),
        ("outside", "172.30.4.10", "91/tcp", "nobody from elsewhere reaches members of routed", "routed"),
        ("app", "172.30.2.99", "80/tcp", "nobody on back has 172.30.2.99", "back"),
        ("sealed1", "10.2.0.11", "icmp", "mode private of sealed keeps its members apart", "sealed"),
        ("sliced1", "10.3.0.11", "icmp", "flag private of sliced keeps its members apart", "sliced"),
    ],
)
def test_nobody_answers(walk: Walk, client: str, address: str, port: str, because: str, line: str) -> None:
    answer = ask(walk, client, address, port)

    assert answer.server is None
    assert answer.is_known
    assert because in answer.steps[-1].text
    assert place_of(answer) == str(line_of(line))


def test_the_way_is_told_step_by_step(walk: Walk) -> None:
    answer = ask(walk, "a", HOST, "8080/tcp")

    said = [(step.text, PLACES[step.unit].line if step.unit else 0) for step in answer.steps]
    assert said == [
        ("by the default route, on apart", line_of("a")),
        ("published: 0.0.0.0:8080/tcp leads to web", line_of("web")),
    ]


def test_loopback_ports_are_the_hosts_alone(walk: Walk) -> None:
    assert ask(walk, "outside", HOST, "8081/tcp").server == party("host")


def test_what_a_plugin_decides_is_not_known() -> None:
    walk = walk_of(PLUGIN)

    for client, address in (("p1", "10.5.0.11"), ("p1", OUTSIDE), ("host", "10.5.0.10"), ("outside", "10.5.0.10")):
        answer = ask(walk, client, address)
        assert (answer.server, answer.is_known) == (None, False)
        assert answer.steps[-1].text == "p is its plugin's, which no spec tells of"
    flows = reachability(walk).flows()
    assert {flow.manner for flow in flows if party("p1") in (*flow.clients, *flow.servers)} == {Manner.UNKNOWN}


def test_reasons_are_those_of_the_walk() -> None:
    found = reachability(walk_of(SPECS))
    port = next(target for target in found.asked if target.service.host_port == 8080)

    assert found.reasons(party("outside"), port).steps[-1].text == "published: 0.0.0.0:8080/tcp leads to web"
    assert found.manners(party("outside"), port) == {Manner.OWN}
    assert found.manners(party("db"), Target(party("web"), port.service)) == frozenset()
