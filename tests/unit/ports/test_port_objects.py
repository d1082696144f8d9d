"""What published ports and links become: elements of the firewall, settings of links, and inspect's view."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.compile import compile_objects, remembered_settings
from reconciler.drivers import bridge
from reconciler.facts import Facts
from reconciler.firewall.elements import endpoint_elements, link_elements
from reconciler.firewall.notation import element_text
from reconciler.firewall.ruleset import TABLES
from reconciler.incremental import Table
from reconciler.model.desired import DesiredLink, DesiredState, PortBinding
from reconciler.model.identifiers import HOST
from reconciler.model.kinds.kv_record import record_unit
from reconciler.model.objects import FirewallElement, KvRecord, Object, Seen, Sysctl, Unit, VethPair
from reconciler.model.plan import Action, Operation
from reconciler.model.wanted import AttachmentWanted, BridgeOptions, NetworkMode, PortWanted, SandboxKind, SandboxRef
from reconciler.plan.ordering import step
from reconciler.status.attachment_document import attachment_document
from tests.fakes.desired import attachment, endpoint, host_facts, network
from tests.fakes.drivers import compiler_of

FRONT = network("front", "172.30.1.0/24", "fd00::/64")


def binding(host_port: int, target: int, host_ip: str = "0.0.0.0", protocol: str = "tcp") -> PortBinding:
    return PortBinding(protocol=protocol, host_ip=ip_address(host_ip), host_port=host_port, target=target)


def told(element: Object) -> str:
    """Give set, key and value, of an element that the set takes."""
    assert isinstance(element, FirewallElement)
    assert element_text(TABLES[element.family].sets_by_name[element.set_name], element)
    value = f" : {element.value}" if element.value else ""
    return f"{element.set_name} {' . '.join(element.element)}{value}"


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (binding(8080, 80), ["published4 172.30.1.2 . tcp . 80", "published_any4 tcp . 8080 : 172.30.1.2 . 80"]),
        (binding(53, 53, "::", "udp"), ["published6 fd00::2 . udp . 53", "published_any6 udp . 53 : fd00::2 . 53"]),
        (
            binding(9, 9, "192.0.2.1", "sctp"),
            ["published4 172.30.1.2 . sctp . 9", "published_host4 192.0.2.1 . sctp . 9 : 172.30.1.2 . 9"],
        ),
        (
            binding(8080, 80, "2001:db8::1"),
            ["published6 fd00::2 . tcp . 80", "published_host6 2001:db8::1 . tcp . 8080 : fd00::2 . 80"],
        ),
        (binding(0, 80), ["published_routed4 172.30.1.2 . tcp . 80"]),
    ],
    ids=["all addresses", "IPv6", "one address", "one of IPv6", "routed"],
)
def test_port_becomes_elements_of_its_endpoint(port: PortBinding, expected: list[str]) -> None:
    made = replace(endpoint("web", "front", "172.30.1.2/24", "fd00::2/64"), ports=(port,))

    elements = list(endpoint_elements(FRONT, made))

    assert [told(element) for element in elements] == expected
    assert {element.unit for element in elements} == {Unit(network="front", attachment="web")}


def test_ports_come_last_and_go_first() -> None:
    made = replace(endpoint("web", "front", "172.30.1.2/24"), ports=(binding(8080, 80), binding(0, 81)))
    for element in endpoint_elements(FRONT, made):
        come = Operation(action=Action.CREATE, before=None, after=element, unit=element.unit)
        go = Operation(action=Action.DELETE, before=element, after=None, unit=element.unit)
        assert (step(go), step(come)) == ((1, 0), (5, 0))


def links(*ports: tuple[int, int, str]) -> list[DesiredLink]:
    ipv4, ipv6 = IPv4Address("172.17.0.3"), IPv6Address("fd17::3")
    return [DesiredLink(target="db", alias="db", hostname="db", ipv4=ipv4, ipv6=ipv6, ports=ports)]


def test_link_opens_ports_in_both_tables_when_neighbours_may_not_talk() -> None:
    quiet = network("bridge", "172.17.0.0/16", "fd17::/64", options=BridgeOptions(is_icc_enabled=False))
    web = endpoint("web", "bridge", "172.17.0.2/16", "fd17::2/64")

    elements = {(e.family, e.set_name, *e.element) for e in link_elements(quiet, web, links((80, 81, "tcp")))}

    assert elements == {
        *(("inet", "links4", "docker0", "172.17.0.2", "172.17.0.3", "tcp", port) for port in ("80", "81")),
        *(("bridge", "links4", "172.17.0.2", "172.17.0.3", "tcp", port) for port in ("80", "81")),
        *(("inet", "links6", "docker0", "fd17::2", "fd17::3", "tcp", port) for port in ("80", "81")),
        *(("bridge", "links6", "fd17::2", "fd17::3", "tcp", port) for port in ("80", "81")),
    }


def test_link_opens_nothing_where_neighbours_talk_anyway() -> None:
    web = endpoint("web", "bridge", "172.17.0.2/16")

    assert list(link_elements(network("bridge", "172.17.0.0/16"), web, links((80, 80, "tcp")))) == []


@pytest.mark.parametrize(
    ("port", "is_hairpin", "is_open"),
    [
        (binding(8080, 80), True, True),
        (binding(8080, 80, "127.0.0.1"), True, True),
        (binding(8080, 80, "192.0.2.1"), True, False),
        (binding(8080, 80, "::"), True, False),
        (binding(0, 80), False, False),
        (None, False, False),
    ],
    ids=["all addresses", "loopback", "one address", "IPv6", "routed", "none"],
)
def test_link_settings_follow_from_ports(port: PortBinding | None, is_hairpin: bool, is_open: bool) -> None:
    made = replace(endpoint("web", "front", "172.30.1.2/24", "fd00::2/64"), ports=(port,) if port else ())

    objects = list(compiler_of(bridge)(FRONT, [made], host_facts()))

    (pair,) = (found for found in objects if isinstance(found, VethPair))
    assert pair.is_hairpin == is_hairpin
    setting = Sysctl(ns=HOST, name=f"net/ipv4/conf/{FRONT.link_name}/route_localnet", value="1")
    assert (setting in objects) == is_open


@pytest.mark.parametrize(("value", "is_changed"), [("1", True), ("0", False)], ids=["open", "closed"])
def test_bridge_without_ports_is_closed_to_loopback_again(value: str, is_changed: bool) -> None:
    setting = Sysctl(ns=HOST, name=f"net/ipv4/conf/{FRONT.link_name}/route_localnet", value=value)
    desired = DesiredState(host=host_facts(), networks=(FRONT,), attachments=())
    objects = compile_objects(desired, {})
    facts = Facts(host=desired.host, seen={setting.key: Seen(setting, is_ours=False)})

    assert (replace(setting, value="0") in list(remembered_settings(Table(objects), facts, desired))) == is_changed


def test_record_of_ports_belongs_to_the_attachment() -> None:
    made = replace(endpoint("web", "front", "172.30.1.2/24"), ports=(binding(8080, 80),))
    state = DesiredState(host=host_facts(), networks=(FRONT,), attachments=(attachment("web", [made]),))

    record = compile_objects(state, {})["KvRecord", "ports/web"]

    assert isinstance(record, KvRecord)
    assert record.unit == record_unit(record.path) == Unit(attachment="web")


def shown(mode: NetworkMode = NetworkMode.NETWORKS, *bindings: PortBinding) -> dict[str, Any]:
    wanted = AttachmentWanted(
        name="web",
        sandbox=SandboxRef(SandboxKind.NETNS, "web"),
        mode=mode,
        ports=(
            PortWanted(target=(80, 80), published=(8080, 8080)),
            PortWanted(target=(443, 444), published=(0, 0), host_ip=ip_address("127.0.0.1")),
            PortWanted(target=(90, 90), published=(9000, 9010), protocol="udp"),
        ),
        expose=((80, 80, "tcp"), (7, 7, "sctp")),
    )
    network = "host" if mode is NetworkMode.HOST else "front"
    made = replace(endpoint("web", network, "172.30.1.2/24", gateway="172.30.1.1"), ports=bindings)
    web = attachment("web", [made], wanted=wanted)
    return attachment_document(web, {"front": FRONT}, netns_dir=Path("/run/netns"), host_hostname="alpha")


def test_inspect_shows_what_is_published_where_and_null_for_the_rest() -> None:
    document = shown(NetworkMode.NETWORKS, binding(8080, 80), binding(0, 443), binding(9000, 90, "::", "udp"))

    assert document["NetworkSettings"]["Ports"] == {
        "443/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
        "444/tcp": None,
        "7/sctp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "90/udp": [{"HostIp": "::", "HostPort": "9000"}],
    }
    assert list(document["NetworkSettings"]["Ports"]) == sorted(document["NetworkSettings"]["Ports"])


def test_inspect_shows_what_was_asked_for() -> None:
    assert shown()["HostConfig"] == {
        "NetworkMode": "front",
        "PortBindings": {
            "443/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
            "444/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
            "90/udp": [{"HostIp": "", "HostPort": "9000-9010"}],
        },
        "Links": None,
    }


def test_host_mode_shows_no_ports() -> None:
    assert shown(NetworkMode.HOST)["NetworkSettings"]["Ports"] == {}
