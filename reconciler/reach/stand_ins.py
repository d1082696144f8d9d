"""Addresses that stand for what no spec names: those of a host's own links, and whoever is outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from msgspec.structs import replace

from reconciler.model.desired import DesiredState
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
