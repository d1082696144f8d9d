"""Subnets as CNI, Podman and quadlet write them -> `ipam.config` of a network. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range
from typing import Final

from msgspec import Struct

from reconciler.importing.values import NotCarried
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.subnets import usable, usable_in_range

_ONE_OF_EACH: Final = "a network has one IPv4 and one IPv6 subnet here: declare a second network for it"


class Pool(Struct, frozen=True, kw_only=True):
    """Texts as they were found, "" for what is not said. first, last: of the addresses that are given out."""

    subnet: str
    gateway: str = ""
    first: str = ""
    last: str = ""


def pool_entries(pools: Iterable[Pool], where: str, told: list[NotCarried]) -> list[Mapping[str, object]]:
    """Return the first pool of each family as specs say it. What is no subnet is left as it is, for the loader to refuse."""
    found: list[Mapping[str, object]] = []
    versions: set[int] = set()
    for pool in pools:
        subnet = _network(pool.subnet)
        version = subnet.version if subnet is not None else 0
        if version in versions:
            told.append(NotCarried(where=where, what=f"subnet {pool.subnet}", why=_ONE_OF_EACH))
            continue
        versions.add(version)
        found.append(dict(_entry(pool, subnet, where, told)))
    return found


def families(pools: Iterable[Pool]) -> Iterator[tuple[str, object]]:
    """Yield the switches of a network that has just these subnets."""
    versions = {subnet.version for pool in pools if (subnet := _network(pool.subnet)) is not None}
    if 6 in versions:
        yield "enable_ipv6", True
        if 4 not in versions:
            yield "enable_ipv4", False


def _entry(pool: Pool, subnet: IPNetwork | None, where: str, told: list[NotCarried]) -> Iterator[tuple[str, object]]:
    yield "subnet", pool.subnet if subnet is None else str(subnet)
    ip_range = "" if subnet is None else _ip_range(pool, subnet, where, told)
    if ip_range:
        yield "ip_range", ip_range
    if pool.gateway:
        yield "gateway", pool.gateway


def _ip_range(pool: Pool, subnet: IPNetwork, where: str, told: list[NotCarried]) -> str:
    """Return a block for what is given out from one address to another: that very one, or the largest within it."""
    if not pool.first and not pool.last:
        return ""
    low, high = usable(subnet)
    first, last = _address(pool.first, low, subnet), _address(pool.last, high, subnet)
    if first is None or last is None or not low <= int(first) <= int(last) <= int(subnet.broadcast_address):
        told.append(
            NotCarried(where=where, what=f"addresses {pool.first}-{pool.last}", why=f"they are no part of {subnet}")
        )
        return ""
    gateway = _address(pool.gateway, low, subnet) if pool.gateway else subnet[0]
    given_out = _trimmed(int(first), min(int(last), high), gateway)
    if given_out == _trimmed(low, high, gateway):
        return ""
    around = _around(int(first), int(last), subnet)
    if _trimmed(*usable_in_range(subnet, around), gateway) == given_out:
        return str(around)
    within = max(summarize_address_range(first, last), key=lambda block: block.num_addresses)
    why = f"a range is a block here: {within} is the largest within it"
    told.append(NotCarried(where=where, what=f"addresses {first}-{last}", why=why))
    return str(within)


def _trimmed(first: int, last: int, gateway: IPAddress | None) -> tuple[int, int]:
    """Leave the gateway out where it is at an end: nobody is given that."""
    taken = None if gateway is None else int(gateway)
    return first + (first == taken), last - (last == taken)


def _around(first: int, last: int, subnet: IPNetwork) -> IPNetwork:
    bits = subnet.max_prefixlen - (first ^ last).bit_length()
    kind = IPv4Address if subnet.version == 4 else IPv6Address
    return ip_network((kind(first), max(bits, subnet.prefixlen)), strict=False)


def _network(text: str) -> IPNetwork | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _address(text: str, otherwise: int, subnet: IPNetwork) -> IPAddress | None:
    try:
        address = ip_address(text) if text else type(subnet.network_address)(otherwise)
    except ValueError:
        return None
    return address if address in subnet else None
