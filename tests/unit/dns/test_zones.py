"""What is served, from the desired state; and its text form."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.dns.compile_zones import RowCompiler
from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint, ZonesUnreadable
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    DesiredSubnet,
    HostFacts,
)
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    GatewayMode,
    MacvlanOptions,
    NetworkMode,
    NetworkWanted,
    OverlayOptions,
    PortWanted,
    SandboxKind,
    SandboxRef,
)
from tests.fakes.zones import Zones, parse_zones, zone_rows, zones_of

HOST = HostFacts(
    name="h",
    instance="i",
    hostname="h",
    uplink_mtu=None,
    routes=(),
    resolv_conf="",
    resolved_conf="",
    hosts="",
    has_ipv6=True,
    now="",
)


def network(name: str, *, is_internal: bool = False) -> DesiredNetwork:
    return DesiredNetwork(wanted=NetworkWanted(name=name, is_internal=is_internal), id=f"id-{name}", created="")


def attachment(
    name: str, *networks: str, aliases: tuple[str, ...] = (), number: int = 2, **wanted: object
) -> DesiredAttachment:
    endpoints = tuple(
        DesiredEndpoint(
            wanted=EndpointWanted(network=each, aliases=aliases),
            attachment=name,
            id=f"{name}-{each}",
            ns=NsRef(f"netns:{name}"),
            ipv4=IPv4Interface(f"172.21.0.{number}/16"),
            ipv6=IPv6Interface(f"fd00::{number}/64"),
        )
        for each in networks
    )
    sandbox = SandboxRef(SandboxKind.NETNS, name)
    return DesiredAttachment(
        wanted=AttachmentWanted(name=name, sandbox=sandbox, **wanted),  # type: ignore[arg-type]  # passed through
        id=f"{name:0>12}-rest-of-the-id",
        ns=sandbox.ns,
        endpoints=endpoints,
    )


def zones_from(state: DesiredState, servers: tuple[IPAddress, ...] = (), options: tuple[str, ...] = ()) -> Zones:
    return zones_of(RowCompiler()(state, servers, options))


def compiled(*attachments: DesiredAttachment, host_options: tuple[str, ...] = ()) -> Zones:
    networks = (network("back"), network("bridge"), network("front"), network("intern", is_internal=True))
    state = DesiredState(host=HOST, networks=networks, attachments=attachments)
    return zones_from(state, (ip_address("192.0.2.53"),), host_options)


def test_endpoint_answers_to_name_aliases_short_id_and_hostname() -> None:
    zones = compiled(attachment("Web", "front", aliases=("WWW", "web"), hostname="webhost"))

    served = zones.networks[0].endpoints[0]
    assert served.name == "Web"
    assert served.names == ("web", "www", "000000000web", "webhost")
    assert served.addresses == (ip_address("172.21.0.2"), ip_address("fd00::2"))


def test_built_in_networks_have_no_names() -> None:
    zones = compiled(attachment("old", "bridge"), attachment("web", "front", "bridge"))

    assert [zone.name for zone in zones.networks] == ["front"]
    assert [(sandbox.name, sandbox.networks) for sandbox in zones.sandboxes] == [("web", ("front",))]


def test_host_mode_has_no_server() -> None:
    assert compiled(attachment("web", mode=NetworkMode.HOST)).sandboxes == ()


def test_networks_are_asked_in_order_of_default_route_preference() -> None:
    assert compiled(attachment("web", "front", "back")).sandboxes[0].networks == ("front", "back")


@pytest.mark.parametrize(
    ("networks", "expected"),
    [(("front",), True), (("intern",), False), (("intern", "front"), True), (("bridge", "intern"), True)],
    ids=["external", "internal", "both", "internal and default bridge"],
)
def test_sandbox_is_external_when_some_network_leads_outside(networks: tuple[str, ...], expected: bool) -> None:
    assert compiled(attachment("web", *networks)).sandboxes[0].is_external is expected


@pytest.mark.parametrize(
    ("own", "hosts", "expected"),
    [
        ((), (), False),
        (("ndots:0",), (), False),
        (("ndots:2",), (), True),
        ((), ("ndots:1",), True),
        (("rotate",), ("ndots:1",), False),
    ],
    ids=["none", "zero", "own", "host's", "own options replace the host's"],
)
def test_ndots_is_noticed_when_set_above_zero(own: tuple[str, ...], hosts: tuple[str, ...], expected: bool) -> None:
    assert (
        compiled(attachment("web", "front", dns_options=own), host_options=hosts).sandboxes[0].is_ndots_set is expected
    )


def test_own_servers_are_kept_but_for_the_embedded_one_itself() -> None:
    servers = (IPv4Address("127.0.0.11"), IPv4Address("192.0.2.9"))

    assert compiled(attachment("web", "front", dns=servers)).sandboxes[0].servers == (IPv4Address("192.0.2.9"),)


PRIVATE_OR_NOT = {
    "bridge": (NetworkWanted(name="n", bridge=BridgeOptions()), True, True),
    "no masquerade": (
        NetworkWanted(name="n", bridge=BridgeOptions(is_masquerade_enabled=False)),
        False,
        False,
    ),
    "IPv6 routed": (
        NetworkWanted(name="n", bridge=BridgeOptions(gateway_mode_ipv6=GatewayMode.ROUTED)),
        True,
        False,
    ),
    "routed but internal": (
        NetworkWanted(name="n", is_internal=True, bridge=BridgeOptions(gateway_mode_ipv4=GatewayMode.ROUTED)),
        True,
        True,
    ),
    "macvlan on a link": (
        NetworkWanted(name="n", driver="macvlan", macvlan=MacvlanOptions(parent="eth0")),
        False,
        False,
    ),
    "macvlan of its members alone": (
        NetworkWanted(name="n", driver="macvlan", macvlan=MacvlanOptions()),
        True,
        True,
    ),
    "overlay": (NetworkWanted(name="n", driver="overlay", overlay=OverlayOptions()), True, True),
    "plugin": (NetworkWanted(name="n", driver="weave"), False, False),
}


@pytest.mark.parametrize(("wanted", "ipv4", "ipv6"), PRIVATE_OR_NOT.values(), ids=PRIVATE_OR_NOT)
def test_subnets_are_private_where_nobody_else_can_name_their_addresses(
    wanted: NetworkWanted, ipv4: bool, ipv6: bool
) -> None:
    pools = (ip_network("172.21.0.0/16"), ip_network("fd00::/64"))
    subnets = tuple(DesiredSubnet(subnet=pool, gateway=None, default_gateway=None) for pool in pools)
    joined = replace(network("n"), wanted=wanted, subnets=subnets)
    default = replace(network("bridge"), subnets=(replace(subnets[0], subnet=ip_network("172.17.0.0/16")),))
    default = replace(default, wanted=replace(default.wanted, bridge=BridgeOptions()))
    state = DesiredState(host=HOST, networks=(default, joined), attachments=(attachment("web", "n", "bridge"),))

    found = zones_from(state).sandboxes[0].subnets

    assert found == (
        *(pool for pool, is_it in zip(pools, (ipv4, ipv6), strict=True) if is_it),
        default.subnets[0].subnet,
    )


def test_text_of_the_version_before_is_still_read() -> None:
    zones = compiled(attachment("web", "front"))
    document = json.loads(zone_rows(zones).text())
    document["format"] = 1
    document["sandboxes"] = [row[:-1] for row in document["sandboxes"]]

    assert parse_zones(json.dumps(document)) == zones


def test_links_become_private_aliases_on_each_named_network() -> None:
    sandbox = compiled(attachment("web", "front", "back", "bridge", links=(("DB", "Database"),))).sandboxes[0]

    assert sandbox.links == (("front", (("database", "db"),)), ("back", (("database", "db"),)))


def test_declared_ports_are_served() -> None:
    ports = (PortWanted(target=(80, 80), published=(8080, 8080)),)

    served = compiled(attachment("web", "front", ports=ports, expose=((53, 53, "udp"),))).networks[0].endpoints[0]

    assert served.ports == ((53, 53, "udp"), (80, 80, "tcp"))


def test_text_form_does_not_grow_with_the_square_of_the_sandboxes() -> None:
    def size(count: int) -> int:
        return len(zone_rows(compiled(*(attachment(f"n{number}", "front") for number in range(count)))).text())

    assert size(200) < 2.2 * size(100)


def test_text_form_reads_back() -> None:
    zones = compiled(
        attachment(
            "a",
            "front",
            "back",
            links=(("b", "c"),),
            dns=(IPv4Address("192.0.2.1"),),
            dns_options=("ndots:1",),
            expose=((1, 2, "tcp"),),
        ),
        attachment("b", "intern"),
    )

    assert parse_zones(zone_rows(zones).text()) == zones


names = st.text('abcXYZ019_.-"\\\u00e9', min_size=1, max_size=8)


@given(st.lists(names, max_size=4), names, st.booleans())
def test_any_zones_read_back(aliases: list[str], name: str, is_external: bool) -> None:
    endpoint = ServedEndpoint(name=name, names=tuple(aliases), addresses=(ip_address("::1"),), ports=((1, 2, "udp"),))
    sandbox = SandboxZone(
        name=name,
        ns=NsRef(name),
        networks=(name,),
        links=((name, ((name, name),)),),
        is_external=is_external,
        subnets=(ip_network("10.0.0.0/8"), ip_network("fd00::/64")),
    )
    zones = Zones(networks=(NetworkZone(name=name, endpoints=(endpoint,)),), sandboxes=(sandbox,))

    assert parse_zones(zone_rows(zones).text()) == zones


def corrupted(**changes: object) -> str:
    document = json.loads(zone_rows(compiled(attachment("web", "front"))).text())
    return json.dumps({**document, **changes})


UNREADABLE = {
    "list": "[]",
    "no keys": "{}",
    "null": "null",
    "deep": "[" * 100_000,
    "format": corrupted(format=99),
    "short network": corrupted(networks=[["n"]]),
    "number as name": corrupted(networks=[["n", [[1, [], [], []]]]]),
    "short sandbox": corrupted(sandboxes=[["s"]]),
    "number as sandbox": corrupted(sandboxes=[[1, "ns", [], [], [], True, True]]),
    "bad address": corrupted(host_servers=["nowhere"]),
    "address as number": corrupted(host_servers=[2130706433]),
    "subnet as number": corrupted(sandboxes=[["s", "ns", [], [], [], True, True, [2130706433]]]),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_text_is_one_clear_error(text: str) -> None:
    with pytest.raises(ZonesUnreadable, match="zones"):
        parse_zones(text)


def test_zones_are_the_same_whatever_else_the_state_holds() -> None:
    state = DesiredState(host=HOST, networks=(network("front"),), attachments=(attachment("web", "front"),))

    assert zones_from(state) == zones_from(replace(state, has_faults=True))
