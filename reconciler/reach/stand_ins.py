"""Addresses that stand for what no spec names: of a host's own links, of who is outside, and what hosts choose together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Final

from msgspec.structs import replace

from reconciler.model.desired import DesiredEndpoint, DesiredState, DesiredSubnet
from reconciler.model.objects import IPAddress
from reconciler.reach.site import Site
from reconciler.reach.walk import Walk

OF_HOST: Final[Mapping[int, IPAddress]] = {4: ip_address("192.0.2.253"), 6: ip_address("2001:db8::fffd")}
"""An address of a host, by version (RFC 5737, 3849)."""
OUTSIDE: Final[Mapping[int, IPAddress]] = {4: ip_address("203.0.113.254"), 6: ip_address("3fff::fffe")}
"""Whoever is outside, by version (RFC 5737, 9637)."""


def walk_of(desired: Iterable[DesiredState]) -> Walk:
    """Make hosts ready to be asked of which nothing but their specs is known."""
    return with_stand_ins(Walk(sites={each.host.name: Site(desired=each) for each in desired}))


def with_stand_ins(walk: Walk) -> Walk:
    """Return each host an address of each family, and those that it publishes at."""
    return Walk(sites={name: _with_addresses(site) for name, site in walk.sites.items()})


def _with_addresses(site: Site) -> Site:
    bound = {one.binding.host_ip for one in site.publications if one.binding.host_port}
    own = {address for address in bound if not (address.is_unspecified or address.is_loopback)}
    return replace(site, addresses=site.addresses | own | set(OF_HOST.values()))


_Free = Mapping[tuple[str, int], Iterator[IPAddress]]
"""By network and version, the addresses that are left."""


def with_addresses_apart(hosts: Sequence[DesiredState]) -> Sequence[DesiredState]:
    """Let no two endpoints of a network that hosts share have the same address, when each host chose as if it were alone.

    Subnets are those that the first host chose. Declared addresses stay.
    """
    if len(hosts) < 2:
        return hosts
    subnets: dict[str, tuple[DesiredSubnet, ...]] = {}
    for host in hosts:
        for network in host.networks:
            if network.scope == "global":
                subnets.setdefault(network.name, network.subnets)
    taken = {(name, one.gateway) for name, some in subnets.items() for one in some}
    endpoints = [one for host in hosts for member in host.attachments for one in member.endpoints]
    taken |= {(one.network, each) for one in endpoints for each in (one.wanted.ipv4_address, one.wanted.ipv6_address)}
    free: _Free = {
        (name, one.subnet.version): (each for each in one.subnet.hosts() if (name, each) not in taken)
        for name, some in reversed([*subnets.items()])
        for one in reversed(some)
    }
    return [_apart(host, subnets, free) for host in hosts]


def _apart(host: DesiredState, subnets: Mapping[str, tuple[DesiredSubnet, ...]], free: _Free) -> DesiredState:
    networks = (replace(one, subnets=subnets.get(one.name, one.subnets)) for one in host.networks)
    attachments = (
        replace(one, endpoints=tuple(_endpoint_apart(each, free) for each in one.endpoints)) for one in host.attachments
    )
    return replace(host, networks=tuple(networks), attachments=tuple(attachments))


def _endpoint_apart(endpoint: DesiredEndpoint, free: _Free) -> DesiredEndpoint:
    ipv4, ipv6 = endpoint.ipv4, endpoint.ipv6
    if ipv4 is not None and endpoint.wanted.ipv4_address is None and (endpoint.network, 4) in free:
        ipv4 = IPv4Interface((next(free[endpoint.network, 4]), ipv4.network.prefixlen))
    if ipv6 is not None and endpoint.wanted.ipv6_address is None and (endpoint.network, 6) in free:
        ipv6 = IPv6Interface((next(free[endpoint.network, 6]), ipv6.network.prefixlen))
    return endpoint if (ipv4, ipv6) == (endpoint.ipv4, endpoint.ipv6) else replace(endpoint, ipv4=ipv4, ipv6=ipv6)
