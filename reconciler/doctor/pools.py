"""Whether subnets of networks overlap routes of the host, VPNs of it (WireGuard configurations that are not up included), or its
name servers; and whether free default pools are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, error, note, warning
from reconciler.doctor.place import Place
from reconciler.ipam.pools import DEFAULT_POOLS
from reconciler.model.objects import IPNetwork

_VPN_KINDS: Final = frozenset({"wireguard", "tun", "ppp", "vti", "vti6", "xfrm", "ipip", "gre"})
_WIREGUARD: Final = "/etc/wireguard"
_FEW: Final = 3
_WHOLE: Final = 8
"""Routes with a shorter prefix are ways to everything."""


class Pools(Struct, frozen=True, kw_only=True):
    """own: subnets of networks, with their names; those that are meant to overlap left out. routes: of others, and by which link.

    vpns: links that are VPNs. planned: subnets that VPNs have once they are up, and by which file.
    """

    own: tuple[tuple[IPNetwork, str], ...] = ()
    routes: tuple[tuple[IPNetwork, str], ...] = ()
    vpns: frozenset[str] = frozenset()
    planned: tuple[tuple[IPNetwork, str], ...] = ()


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(pools: Pools) -> Iterator[Finding]:
    free = [str(pool) for pool in DEFAULT_POOLS if _is_free(pool, pools)]
    for own, name in pools.own:
        for other, ifname in pools.routes:
            if _overlap(own, other):
                by = f"the VPN {ifname}" if ifname in pools.vpns else ifname or "no link (blackhole)"
                is_taken = other.prefixlen >= own.prefixlen
                yield (error if is_taken else warning)(
                    f"subnet {own} of network {name} overlaps the host's route to {other} by {by}",
                    "the host sends what is for one to the other: " + _advice(free),
                )
        for other, file in pools.planned:
            if _overlap(own, other):
                yield warning(
                    f"subnet {own} of network {name} overlaps {other}, which a VPN leads to once it is up ({file})",
                    "then the host sends what is for one to the other: " + _advice(free),
                )
    if len(free) < _FEW:
        yield note(
            f"{len(free)} of {len(DEFAULT_POOLS)} default pools are free",
            "networks that declare no subnet take one each, and further ones fail: declare smaller subnets under ipam.config",
        )


def _advice(free: list[str]) -> str:
    choice = f", as {free[0]}," if free else ""
    return f"declare another subnet{choice} under `ipam.config`, or end the other's route"


def _overlap(own: IPNetwork, other: IPNetwork) -> bool:
    return own.version == other.version and other.prefixlen >= _WHOLE and own.overlaps(other)


def _is_free(pool: IPNetwork, pools: Pools) -> bool:
    taken = (*pools.own, *pools.routes, *pools.planned)
    return not any(_overlap(pool, other) for other, _ in taken)


def read(place: Place) -> Pools:
    facts = place.facts
    return Pools(
        own=tuple(
            (subnet.subnet, network.name)
            for network in place.networks
            for subnet in network.subnets
            if network.holds_gateway(subnet) and network.link_name and not network.wanted.is_overlap_allowed
        ),
        routes=() if facts is None else facts.host.routes,
        vpns=frozenset(link.ifname for link in place.view.foreign if link.kind in _VPN_KINDS),
        planned=tuple(planned(place.files(_WIREGUARD, ".conf"))),
    )


def planned(files: Mapping[str, str]) -> Iterator[tuple[IPNetwork, str]]:
    """Yield what WireGuard's configurations lead to (wg-quick(8))."""
    for path, text in files.items():
        for line in re.findall(r"(?mi)^\s*AllowedIPs\s*=([^#\n]*)", text):
            for word in re.split(r"[,\s]+", line.strip()):
                try:
                    yield ip_network(word, strict=False), path
                except ValueError:
                    continue
