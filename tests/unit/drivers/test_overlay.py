"""What the overlay driver makes of a network."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest
from msgspec.structs import replace

from reconciler.drivers import overlay
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet, RemoteEndpoint
from reconciler.model.identifiers import NsRef, derived_id, overlay_ns
from reconciler.model.objects import (
    Address,
    Bridge,
    FdbEntry,
    LinkUp,
    Namespace,
    Neighbour,
    Object,
    Route,
    Sysctl,
    Unit,
    VethPair,
    Vxlan,
)
from reconciler.model.wanted import NetworkWanted, OverlayOptions
from tests.fakes.desired import endpoint, host_facts
from tests.fakes.drivers import compiler_of

compile_network = compiler_of(overlay)

HOST_FACTS = replace(host_facts(), vtep=ip_address("198.51.100.1"))
ID = derived_id("zone")
NS = overlay_ns(ID, HOST_FACTS.instance)
MAC = "02:42:0a:09:00:09"

T = TypeVar("T")


def overlay(
    *subnets: tuple[str, int], remote: tuple[RemoteEndpoint, ...] = (), port: int | None = None
) -> DesiredNetwork:
    pools = [(ip_network(subnet), vni) for subnet, vni in subnets]
    return DesiredNetwork(
        wanted=NetworkWanted(name="zone", driver="overlay", overlay=OverlayOptions(port=port)),
        id=ID,
        created="",
        subnets=tuple(DesiredSubnet(subnet=p, gateway=p[1], default_gateway=p[1], vni=vni) for p, vni in pools),
        mtu=1450,
        scope="global",
        ns=NS,
        remote_endpoints=remote,
    )


def remote_endpoint(*interfaces: str, mac: str = MAC, vtep: str = "198.51.100.2") -> RemoteEndpoint:
    parsed = {f"ipv{i.version}": i for i in map(ip_interface, interfaces)}
    return RemoteEndpoint(
        network="zone",
        id=derived_id(mac),
        name="far",
        host="beta",
        vtep=ip_address(vtep),
        mac=mac,
        **parsed,  # type: ignore[arg-type]
    )


def web(*interfaces: str) -> DesiredEndpoint:
    return endpoint("web", "zone", *(interfaces or ("10.9.0.2/24",)))


def compiled(network: DesiredNetwork, *endpoints: DesiredEndpoint) -> list[Object]:
    return list(compile_network(network, endpoints or (web(),), HOST_FACTS))


def of_kind(kind: type[T], found: list[Object]) -> list[T]:
    return [each for each in found if isinstance(each, kind)]


def test_a_host_without_endpoints_has_nothing_of_the_network() -> None:
    network = overlay(("10.9.0.0/24", 300), remote=(remote_endpoint("10.9.0.9/24"),))

    assert list(compile_network(network, (), HOST_FACTS)) == []


def test_the_network_is_a_namespace_with_bridge_gateway_and_vxlan() -> None:
    found = [each for each in compiled(overlay(("10.9.0.0/24", 300))) if each.unit == Unit(network="zone")]

    (bridge,) = of_kind(Bridge, found)
    assert found == [
        Namespace(ns=NS, name=f"ov-{ID[:12]}-01234567"),
        Bridge(ns=NS, ifname="br0", mac=bridge.mac, mtu=1450),
        Vxlan(ns=NS, ifname="vxlan0", master="br0", vni=300, local=ip_address("198.51.100.1"), port=4789, mtu=1450),
        Address(ns=NS, ifname="br0", interface=ip_interface("10.9.0.1/24")),
    ]


def test_an_endpoint_is_a_pair_between_the_networks_namespace_and_the_sandbox() -> None:
    found = [each for each in compiled(overlay(("10.9.0.0/24", 300))) if each.unit == web().unit]

    assert found == [
        VethPair(
            ns=NS,
            ifname=web().link_name,
            master="br0",
            mtu=1450,
            peer_ns=NsRef("netns:web"),
            peer_ifname="eth0",
            peer_mac=web().mac,
        ),
        Sysctl(ns=NsRef("netns:web"), name="net/ipv6/conf/eth0/disable_ipv6", value="1"),
        LinkUp(ns=NsRef("netns:web"), ifname="eth0"),
        Address(ns=NsRef("netns:web"), ifname="eth0", interface=ip_interface("10.9.0.2/24")),
    ]


def test_each_hosts_bridge_has_its_own_mac() -> None:
    network = overlay(("10.9.0.0/24", 300))

    macs = {
        of_kind(Bridge, list(compile_network(network, (web(),), replace(HOST_FACTS, name=name))))[0].mac
        for name in ("alpha", "beta")
    }

    assert len(macs) == 2


def test_a_remote_endpoint_is_an_fdb_entry_and_a_neighbour_per_address() -> None:
    network = overlay(("10.9.0.0/24", 300), ("fd09::/64", 301), remote=(remote_endpoint("10.9.0.9/24", "fd09::9/64"),))

    found = compiled(network, web("10.9.0.2/24", "fd09::2/64"))

    assert of_kind(FdbEntry, found) == [FdbEntry(ns=NS, ifname="vxlan0", mac=MAC, vtep=ip_address("198.51.100.2"))]
    assert of_kind(Neighbour, found) == [
        Neighbour(ns=NS, ifname="vxlan0", address=ip_address("10.9.0.9"), mac=MAC),
        Neighbour(ns=NS, ifname="vxlan0", address=ip_address("fd09::9"), mac=MAC),
    ]


@pytest.mark.parametrize(
    "remote",
    [
        remote_endpoint("10.9.0.9/24", vtep="198.51.100.1"),
        remote_endpoint("10.9.0.9/24", vtep="2001:db8::2"),
        remote_endpoint("10.9.0.9/24", mac=web().mac),
        remote_endpoint("10.77.0.9/24"),
        remote_endpoint(),
    ],
    ids=["at our own VTEP", "VTEP of the other family", "with our endpoint's MAC", "outside all subnets", "no address"],
)
def test_a_remote_endpoint_that_cannot_be_right_is_left_out(remote: RemoteEndpoint) -> None:
    found = compiled(overlay(("10.9.0.0/24", 300), remote=(remote,)))

    assert of_kind(FdbEntry, found) == []
    assert of_kind(Neighbour, found) == []


def test_a_remote_endpoint_does_not_take_an_address_of_ours() -> None:
    found = compiled(overlay(("10.9.0.0/24", 300), remote=(remote_endpoint("10.9.0.2/24"),)))

    assert of_kind(Neighbour, found) == []


def test_several_subnets_are_segments_with_routes_between_them() -> None:
    network = overlay(("10.9.0.0/24", 300), ("10.9.1.0/24", 301), remote=(remote_endpoint("10.9.1.9/24"),))

    found = compiled(network)

    assert [(v.ifname, v.vni, v.master) for v in of_kind(Vxlan, found)] == [
        ("vxlan0", 300, "br0"),
        ("vxlan1", 301, "br1"),
    ]
    assert [e.ifname for e in of_kind(FdbEntry, found)] == ["vxlan1"]
    assert of_kind(Route, found) == [
        Route(
            ns=NsRef("netns:web"), destination=ip_network("10.9.1.0/24"), gateway=ip_address("10.9.0.1"), ifname="eth0"
        )
    ]
    assert Sysctl(ns=NS, name="net/ipv4/ip_forward", value="1") in found


def test_a_dual_stack_network_is_one_segment() -> None:
    found = compiled(overlay(("10.9.0.0/24", 300), ("fd09::/64", 301)), web("10.9.0.2/24", "fd09::2/64"))

    assert [(v.ifname, v.vni) for v in of_kind(Vxlan, found)] == [("vxlan0", 300)]
    assert [str(a.interface) for a in of_kind(Address, found) if a.ns == NS] == ["10.9.0.1/24", "fd09::1/64"]
    assert [b.has_link_local for b in of_kind(Bridge, found)] == [True]
    assert of_kind(Route, found) == []


def test_the_networks_port_wins_over_the_clusters() -> None:
    ports = [of_kind(Vxlan, compiled(overlay(("10.9.0.0/24", 300), port=port)))[0].port for port in (None, 4790)]

    assert ports == [4789, 4790]
