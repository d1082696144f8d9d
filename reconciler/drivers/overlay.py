"""The overlay driver: a namespace of its own with bridges and VXLAN devices, and entries for every endpoint on other hosts.

One host's part of it exists while an endpoint of this host is on the network. Nothing is flooded to other hosts: the VXLAN devices
answer ARP and neighbour solicitations themselves, and know where each MAC address is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Final

from msgspec import Struct

from reconciler.drivers.protocol import RemoteCompiler
from reconciler.drivers.sandbox_side import sandbox_side
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet, HostFacts, RemoteEndpoint
from reconciler.model.identifiers import FORWARDING, overlay_bridge_mac
from reconciler.model.objects import (
    Address,
    Bridge,
    FdbEntry,
    IPInterface,
    IPNetwork,
    Namespace,
    Neighbour,
    Object,
    Route,
    Sysctl,
    VethPair,
    Vxlan,
)

_NAMED: Final = "netns:"


class _Segment(Struct, frozen=True, kw_only=True):
    """One broadcast domain: a bridge and the VXLAN device that joins it to those on other hosts."""

    number: int
    vni: int
    subnets: tuple[DesiredSubnet, ...]

    @property
    def bridge(self) -> str:
        return f"br{self.number}"

    @property
    def vxlan(self) -> str:
        return f"vxlan{self.number}"


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Return the namespace with its bridges and VXLAN devices; nothing without endpoints here."""
    if not endpoints:
        return
    yield Namespace(unit=network.unit, ns=network.ns, name=network.ns.removeprefix(_NAMED))
    for segment in _segments(network):
        yield from _segment(network, segment, host)
    if len(network.subnets) > 1:
        for version in {subnet.subnet.version for subnet in network.subnets}:
            if version == 4 or host.has_ipv6:
                yield Sysctl(unit=network.unit, ns=network.ns, name=FORWARDING[version], value="1")


def compile_endpoint(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterable[Object]:
    """Return its pair, and what it has in its sandbox."""
    segment = _segment_of(endpoint, _by_subnet(_segments(network)))
    assert segment is not None, "an endpoint's address is in a subnet of its network"
    yield VethPair(
        unit=endpoint.unit,
        ns=network.ns,
        ifname=endpoint.link_name,
        master=segment.bridge,
        mtu=network.mtu,
        peer_ns=endpoint.ns,
        peer_ifname=endpoint.ifname,
        peer_mac=endpoint.mac,
    )
    yield from sandbox_side(endpoint, host, network.mtu)
    for interface in (endpoint.ipv4, endpoint.ipv6):
        if interface is not None:
            yield from _sister_routes(network, endpoint, interface)


def remote_compiler(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> RemoteCompiler:
    """Return how an endpoint on another host is compiled. What an endpoint of this host has is never led away from it."""
    version = host.vtep.version if host.vtep else 4
    by_subnet = _by_subnet(tuple(_segments(network))) if endpoints else {}
    own_macs = {endpoint.mac for endpoint in endpoints}
    own_addresses = {interface.ip for e in endpoints for interface in (e.ipv4, e.ipv6) if interface is not None}

    def compile_remote(remote: RemoteEndpoint) -> Iterator[Object]:
        segment = _segment_of(remote, by_subnet)
        is_reachable = remote.vtep.version == version and remote.vtep != host.vtep
        if segment is None or remote.mac in own_macs or not is_reachable:
            return
        yield FdbEntry(unit=network.unit, ns=network.ns, ifname=segment.vxlan, mac=remote.mac, vtep=remote.vtep)
        for interface in (remote.ipv4, remote.ipv6):
            if interface is not None and interface.ip not in own_addresses:
                yield Neighbour(
                    unit=network.unit, ns=network.ns, ifname=segment.vxlan, address=interface.ip, mac=remote.mac
                )

    return compile_remote


def _by_subnet(segments: Iterable[_Segment]) -> Mapping[IPNetwork, _Segment]:
    return {subnet.subnet: segment for segment in segments for subnet in segment.subnets}


def _segments(network: DesiredNetwork) -> Iterator[_Segment]:
    """Yield one segment per subnet; on a dual-stack network one in all, as an endpoint has one link for both families."""
    if len({subnet.subnet.version for subnet in network.subnets}) > 1:
        groups = [network.subnets]
    else:
        groups = [(subnet,) for subnet in network.subnets]
    for number, subnets in enumerate(groups):
        vni = next((subnet.vni for subnet in subnets if subnet.vni is not None), None)
        assert vni is not None, "the subnets of an overlay network have a VNI"
        yield _Segment(number=number, vni=vni, subnets=subnets)


def _segment(network: DesiredNetwork, segment: _Segment, host: HostFacts) -> Iterator[Object]:
    unit, ns = network.unit, network.ns
    has_ipv6 = host.has_ipv6 and any(subnet.subnet.version == 6 for subnet in segment.subnets)
    yield Bridge(
        unit=unit,
        ns=ns,
        ifname=segment.bridge,
        mac=overlay_bridge_mac(host.name, network.id, segment.number),
        mtu=network.mtu,
        has_ipv6=has_ipv6,
        has_link_local=has_ipv6,
    )
    yield Vxlan(
        unit=unit,
        ns=ns,
        ifname=segment.vxlan,
        master=segment.bridge,
        vni=segment.vni,
        local=host.vtep,
        port=_port(network, host),
        mtu=network.mtu,
    )
    for subnet in segment.subnets:
        if subnet.gateway is not None:
            interface = ip_interface(f"{subnet.gateway}/{subnet.subnet.prefixlen}")
            yield Address(unit=unit, ns=ns, ifname=segment.bridge, interface=interface)


def _port(network: DesiredNetwork, host: HostFacts) -> int:
    options = network.wanted.overlay
    return (options.port if options else None) or host.vxlan_port


def _segment_of(endpoint: DesiredEndpoint | RemoteEndpoint, by_subnet: Mapping[IPNetwork, _Segment]) -> _Segment | None:
    """Find the segment by the endpoint's first address; None for an address outside, which only another host can claim."""
    interface = endpoint.ipv4 or endpoint.ipv6
    return None if interface is None else by_subnet.get(interface.network)


def _sister_routes(network: DesiredNetwork, endpoint: DesiredEndpoint, own: IPInterface) -> Iterator[Route]:
    """Lead to the network's other subnets by the gateway in one's own."""
    gateway = next((s.gateway for s in network.subnets if s.subnet == own.network), None)
    for subnet in network.subnets:
        is_sister = subnet.subnet.version == own.version and subnet.subnet != own.network
        if is_sister and gateway is not None:
            yield Route(
                unit=endpoint.unit,
                ns=endpoint.ns,
                destination=subnet.subnet,
                gateway=gateway,
                ifname=endpoint.ifname,
            )
