"""The bridge driver: a bridge device with the gateway addresses, ours or adopted, and one veth pair per endpoint.

Isolation, masquerading and published ports are elements of the firewall's sets and compiled there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_interface

from reconciler.drivers.sandbox_side import sandbox_side
from reconciler.model.adoption import Adopted
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.identifiers import HOST
from reconciler.model.marks import Mark
from reconciler.model.objects import Address, AdoptedBridge, Bridge, Object, Sysctl, VethPair


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
    has_ipv6 = network.wanted.is_ipv6_enabled and host.has_ipv6
    if network.adopted is None:
        yield Bridge(
            unit=network.unit,
            ns=HOST,
            ifname=network.link_name,
            mac=network.bridge_mac,
            mtu=network.mtu,
            has_ipv6=has_ipv6,
            has_link_local=has_ipv6,
            mark=_mark(network, host),
        )
    else:
        yield from _adopted(network, network.adopted, host, needs_ipv6=has_ipv6)
    found = network.adopted.found if network.adopted is not None else None
    for subnet in network.subnets:
        if network.holds_gateway(subnet) and subnet.gateway not in network.addresses_of_others(subnet.subnet):
            interface = ip_interface(f"{subnet.gateway}/{subnet.subnet.prefixlen}")
            yield Address(
                unit=network.unit,
                ns=HOST,
                ifname=network.link_name,
                interface=interface,
                is_as_found=found is not None and str(interface) in found.addresses,
            )


def _adopted(network: DesiredNetwork, adopted: Adopted, host: HostFacts, *, needs_ipv6: bool) -> Iterator[Object]:
    """Yield the bridge as others have it, but up, and with what the specs ask for."""
    yield AdoptedBridge(
        unit=network.unit,
        ns=HOST,
        ifname=network.link_name,
        mtu=network.mtu,
        has_ipv6=needs_ipv6 or adopted.bridge.has_ipv6,
        mark=_mark(network, host),
        found=adopted.found,
    )


def _mark(network: DesiredNetwork, host: HostFacts) -> str:
    if not host.state:
        return ""
    is_protected = network.wanted.is_protected
    return Mark(network=network.name, state=host.state, specs=host.specs, is_protected=is_protected).text()
