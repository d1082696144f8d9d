"""The bridge driver: a bridge device with the gateway addresses, and one veth pair per endpoint.

Isolation, masquerading and published ports are elements of the firewall's sets and compiled there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_interface, ip_network

from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet, HostFacts
from reconciler.model.identifiers import HOST, bridge_mac
from reconciler.model.objects import Address, Bridge, IPAddress, LinkUp, Object, Route, Sysctl, VethPair

ENDPOINT_SYSCTLS = "com.docker.network.endpoint.sysctls"
_DEFAULT_ROUTES = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Give the bridge with its addresses, and for each endpoint its pair, addresses and default routes."""
    yield from _bridge(network, host)
    if any(map(_is_published_on_loopback, endpoints)):
        name = loopback_setting(network.link_name)
        yield Sysctl(unit=network.unit, ns=HOST, name=name, value="1")
    for endpoint in endpoints:
        yield from _endpoint(network, endpoint, host)


def loopback_setting(ifname: str) -> str:
    """Name what lets packets from 127.0.0.1 leave by a bridge, so that the host reaches ports published there (ip-sysctl.rst)."""
    return f"net/ipv4/conf/{ifname}/route_localnet"


def _is_published_on_loopback(endpoint: DesiredEndpoint) -> bool:
    return any(
        port.host_port and port.host_ip.version == 4 and (port.host_ip.is_loopback or port.host_ip.is_unspecified)
        for port in endpoint.ports
    )


def _bridge(network: DesiredNetwork, host: HostFacts) -> Iterator[Object]:
    unit, ifname = network.unit, network.link_name
    yield Bridge(
        unit=unit,
        ns=HOST,
        ifname=ifname,
        mac=bridge_mac(network.id),
        mtu=network.mtu,
        has_link_local=network.wanted.is_ipv6_enabled and host.has_ipv6,
    )
    if network.wanted.is_ipv6_enabled and host.has_ipv6:
        # A router on a container network must not take its own routes from a container's advertisement.
        yield Sysctl(unit=unit, ns=HOST, name=f"net/ipv6/conf/{ifname}/accept_ra", value="0")
    for subnet in network.subnets:
        if _answers(network, subnet):
            interface = ip_interface(f"{subnet.gateway}/{subnet.subnet.prefixlen}")
            yield Address(unit=unit, ns=HOST, ifname=ifname, interface=interface)


def _answers(network: DesiredNetwork, subnet: DesiredSubnet) -> bool:
    """Say whether the bridge itself holds the gateway address."""
    options = network.wanted.bridge
    is_inhibited = options is not None and options.is_ipv4_inhibited and subnet.subnet.version == 4
    return subnet.gateway is not None and not is_inhibited


def _endpoint(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterator[Object]:
    unit, ns, ifname = endpoint.unit, endpoint.ns, endpoint.ifname
    yield VethPair(
        unit=unit,
        ns=HOST,
        ifname=endpoint.link_name,
        master=network.link_name,
        mtu=network.mtu,
        peer_ns=ns,
        peer_ifname=ifname,
        peer_mac=endpoint.mac,
        # Where br_netfilter translates before the bridge forwards, a container that calls itself through the host comes back out of
        # the port that it came in by.
        is_hairpin=any(port.host_port for port in endpoint.ports),
    )
    if host.has_ipv6:
        is_disabled = endpoint.ipv6 is None
        yield Sysctl(unit=unit, ns=ns, name=f"net/ipv6/conf/{ifname}/disable_ipv6", value=str(int(is_disabled)))
    yield LinkUp(unit=unit, ns=ns, ifname=ifname)
    for interface in (endpoint.ipv4, endpoint.ipv6):
        if interface is not None:
            yield Address(unit=unit, ns=ns, ifname=ifname, interface=interface)
    if endpoint.is_default_ipv4:
        yield _default_route(endpoint, endpoint.gateway_ipv4)
    if endpoint.is_default_ipv6:
        yield _default_route(endpoint, endpoint.gateway_ipv6)
    yield from _endpoint_sysctls(endpoint)


def _default_route(endpoint: DesiredEndpoint, gateway: IPAddress | None) -> Route:
    assert gateway is not None, "a default route goes through a gateway"
    return Route(
        unit=endpoint.unit,
        ns=endpoint.ns,
        destination=_DEFAULT_ROUTES[gateway.version],
        gateway=gateway,
        ifname=endpoint.ifname,
    )


def _endpoint_sysctls(endpoint: DesiredEndpoint) -> Iterator[Sysctl]:
    """Expand `net.ipv4.conf.IFNAME.log_martians=1,...`; checked when the spec was read."""
    given = dict(endpoint.wanted.options).get(ENDPOINT_SYSCTLS, "")
    for assignment in filter(None, given.split(",")):
        name, _, value = assignment.strip().partition("=")
        path = "/".join(endpoint.ifname if part == "IFNAME" else part for part in name.split("."))
        yield Sysctl(unit=endpoint.unit, ns=endpoint.ns, name=path, value=value)
