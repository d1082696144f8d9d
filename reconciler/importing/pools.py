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
_RESERVED_MAX: Final = 8
"""Addresses that are reserved one by one, so that a block is what a range was."""


class Pool(Struct, frozen=True, kw_only=True):
    """Texts as they were found, "" for what is not said. first, last: of the addresses that are given out."""

    subnet: str
    gateway: str = ""
    first: str = ""
    last: str = ""


def pool_entries(pools: Iterable[Pool], where: str, not_carried: list[NotCarried]) -> list[Mapping[str, object]]:
    """Return the first pool of each family as specs say it. What is no subnet is left as it is, for the loader to refuse."""
    found: list[Mapping[str, object]] = []
    versions: set[int] = set()
    for pool in pools:
        subnet = _network(pool.subnet)
        version = subnet.version if subnet is not None else 0
        if version in versions:
            not_carried.append(NotCarried(where=where, what=f"subnet {pool.subnet}", why=_ONE_OF_EACH))
            continue
        versions.add(version)
        found.append(dict(_entry(pool, subnet, where, not_carried)))
    return found


def families(pools: Iterable[Pool], *, is_ipv6: bool = False) -> Iterator[tuple[str, object]]:
    """Yield the switches of a network with these subnets. is_ipv6: that it has IPv6 is said as well."""
    versions = {subnet.version for pool in pools if (subnet := _network(pool.subnet)) is not None}
    if is_ipv6 or 6 in versions:
        yield "enable_ipv6", True
        if versions == {6}:
            yield "enable_ipv4", False


def _entry(
    pool: Pool, subnet: IPNetwork | None, where: str, not_carried: list[NotCarried]
) -> Iterator[tuple[str, object]]:
    yield "subnet", pool.subnet if subnet is None else str(subnet)
    block, reserved = (None, []) if subnet is None else _ip_range(pool, subnet, where, not_carried)
    if block is not None:
        yield "ip_range", str(block)
    if pool.gateway:
        yield "gateway", pool.gateway
    if reserved:
        yield "aux_addresses", {f"outside{number}": str(each) for number, each in enumerate(reserved, 1)}


def _ip_range(
    pool: Pool, subnet: IPNetwork, where: str, not_carried: list[NotCarried]
) -> tuple[IPNetwork | None, list[IPAddress]]:
    """Return a block for what is given out from one address to another, and what of the block is not: or the largest within it.

    None where everything is given out.
    """
    if not pool.first and not pool.last:
        return None, []
    low, high = usable(subnet)
    first, last = _address(pool.first, low, subnet), _address(pool.last, high, subnet)
    if first is None or last is None or int(first) > int(last):
        given = f"{pool.first or 'the first'}-{pool.last or 'the last'}"
        not_carried.append(NotCarried(where=where, what=f"addresses {given}", why=f"they are no part of {subnet}"))
        return None, []
    gateway = _address(pool.gateway, low, subnet) if pool.gateway else subnet[1] if subnet.num_addresses > 2 else None
    for block in (_around(int(first), int(last), subnet), subnet):
        outside = _outside(block, subnet, int(first), int(last), gateway)
        if len(outside) <= _RESERVED_MAX:
            return None if block == subnet else block, outside
    blocks: list[IPNetwork] = [*summarize_address_range(first, last)]
    within = max(blocks, key=lambda each: each.num_addresses)
    why = f"a range is a block here: {within} is the largest within it"
    not_carried.append(NotCarried(where=where, what=f"addresses {first}-{last}", why=why))
    return within, []


def _outside(block: IPNetwork, subnet: IPNetwork, first: int, last: int, gateway: IPAddress | None) -> list[IPAddress]:
    """Return what a block would give out beside the range, of many only so many that they are too many."""
    low, high = usable_in_range(subnet, block)
    kind = type(subnet.network_address)
    numbers = [
        *range(low, min(first, low + _RESERVED_MAX + 2)),
        *range(max(last + 1, high - _RESERVED_MAX - 1), high + 1),
    ]
    return [kind(number) for number in numbers if gateway is None or number != int(gateway)]


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
