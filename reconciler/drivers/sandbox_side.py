"""What every driver that joins a sandbox by a link has inside the sandbox: the link's state, addresses and default routes."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

from reconciler.model.desired import DesiredEndpoint, HostFacts
from reconciler.model.objects import Address, IPAddress, IPInterface, LinkUp, Object, Route, Sysctl

ENDPOINT_SYSCTLS = "com.docker.network.endpoint.sysctls"
_IPV6_MIN_MTU = 1280
"""On a link with less the kernel has no IPv6 at all, nor settings of it (IPV6_MIN_MTU in linux/ipv6.h)."""

_LINK_LOCAL_PREFIX = {4: 16, 6: 64}

_DEFAULT_ROUTES = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def sandbox_side(endpoint: DesiredEndpoint, host: HostFacts, mtu: int) -> Iterator[Object]:
    """Yield what belongs to an endpoint's link in the sandbox. mtu: of the link, in bytes."""
    unit, ns, ifname = endpoint.unit, endpoint.ns, endpoint.ifname
    interfaces = tuple(_interfaces(endpoint))
    if host.has_ipv6 and mtu >= _IPV6_MIN_MTU:
        is_disabled = not any(each.version == 6 for each in interfaces)
        yield Sysctl(unit=unit, ns=ns, name=f"net/ipv6/conf/{ifname}/disable_ipv6", value=str(int(is_disabled)))
        if not is_disabled:
            # The default route is ours to choose; any fellow member could advertise another. Who asks otherwise is compiled later.
            yield Sysctl(unit=unit, ns=ns, name=f"net/ipv6/conf/{ifname}/accept_ra", value="0")
    yield LinkUp(unit=unit, ns=ns, ifname=ifname)
    for interface in interfaces:
        yield Address(unit=unit, ns=ns, ifname=ifname, interface=interface)
    if endpoint.is_default_ipv4:
        yield _default_route(endpoint, 4, endpoint.gateway_ipv4)
    if endpoint.is_default_ipv6:
        yield _default_route(endpoint, 6, endpoint.gateway_ipv6)
    yield from _endpoint_sysctls(endpoint)


def _interfaces(endpoint: DesiredEndpoint) -> Iterator[IPInterface]:
    """Yield the link's own addresses, then those declared beside them, with the engine's prefix lengths."""
    yield from (interface for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None)
    for address in endpoint.wanted.link_local_ips:
        yield ip_interface((address, _LINK_LOCAL_PREFIX[address.version]))


def _default_route(endpoint: DesiredEndpoint, version: int, gateway: IPAddress | None) -> Route:
    return Route(
        unit=endpoint.unit,
        ns=endpoint.ns,
        destination=_DEFAULT_ROUTES[version],
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
