"""The bridge driver: a bridge device with the gateway addresses, and one veth pair per endpoint.

Isolation, masquerading and published ports are elements of the firewall's sets and compiled there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_interface

from reconciler.drivers.sandbox_side import sandbox_side
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.identifiers import HOST, bridge_mac
from reconciler.model.marks import Mark
from reconciler.model.objects import Address, Bridge, Object, Sysctl, VethPair


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Return the bridge with its addresses."""
    yield from _bridge(network, host)
    if any(map(_is_published_on_loopback, endpoints)):
        name = loopback_setting(network.link_name)
        yield Sysctl(unit=network.unit, ns=HOST, name=name, value="1")


def compile_endpoint(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterable[Object]:
    """Return its pair, addresses and default routes."""
    yield VethPair(
        unit=endpoint.unit,
        ns=HOST,
        ifname=endpoint.link_name,
        master=network.link_name,
        mtu=network.mtu,
        peer_ns=endpoint.ns,
        peer_ifname=endpoint.ifname,
        peer_mac=endpoint.mac,
        # Where br_netfilter translates before the bridge forwards, a container that calls itself through the host comes back out of
        # the port that it came in by.
        is_hairpin=any(port.host_port for port in endpoint.ports),
    )
    yield from sandbox_side(endpoint, host, network.mtu)


def loopback_setting(ifname: str) -> str:
    """Return what lets packets from 127.0.0.1 leave by a bridge, so that the host reaches ports published there (ip-sysctl.rst)."""
    return f"net/ipv4/conf/{ifname}/route_localnet"


def _is_published_on_loopback(endpoint: DesiredEndpoint) -> bool:
    return any(
        port.host_port and port.host_ip.version == 4 and (port.host_ip.is_loopback or port.host_ip.is_unspecified)
        for port in endpoint.ports
    )


def _bridge(network: DesiredNetwork, host: HostFacts) -> Iterator[Object]:
    unit, ifname = network.unit, network.link_name
    has_ipv6 = network.wanted.is_ipv6_enabled and host.has_ipv6
    yield Bridge(
        unit=unit,
        ns=HOST,
        ifname=ifname,
        mac=bridge_mac(network.id),
        mtu=network.mtu,
        has_ipv6=has_ipv6,
        has_link_local=has_ipv6,
        mark=_mark(network, host),
    )
    for subnet in network.subnets:
        if network.holds_gateway(subnet):
            interface = ip_interface(f"{subnet.gateway}/{subnet.subnet.prefixlen}")
            yield Address(unit=unit, ns=HOST, ifname=ifname, interface=interface)


def _mark(network: DesiredNetwork, host: HostFacts) -> str:
    if not host.state:
        return ""
    is_protected = network.wanted.is_protected
    return Mark(network=network.name, state=host.state, specs=host.specs, is_protected=is_protected).text()
