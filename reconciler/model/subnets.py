"""Which addresses of a subnet interfaces may have: the one place that says so."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from reconciler.model.objects import IPAddress, IPNetwork

_ROUTER_LINK: Final = 2
"""Of so few addresses, as of /31, /127 and those longer, none is reserved (RFC 3021, RFC 6164)."""

_UNUSABLE: Final = {
    ip_network("0.0.0.0/8"): "this host on this network (RFC 1122)",
    ip_network("127.0.0.0/8"): "loopback",
    ip_network("224.0.0.0/4"): "multicast",
    ip_network("255.255.255.255/32"): "the limited broadcast address",
    ip_network("::/127"): "the unspecified and the loopback address",
    ip_network("::ffff:0:0/96"): "IPv4 addresses in IPv6 clothes (RFC 4291, section 2.5.5.2), which no link can have",
    ip_network("ff00::/8"): "multicast",
}


def usable(subnet: IPNetwork) -> tuple[int, int]:
    """Return the first and last address that an interface may have: without network and broadcast address.

    IPv6 has no broadcast; the all-zero host is the routers' anycast address (RFC 4291, section 2.6.1).
    """
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    if subnet.num_addresses <= _ROUTER_LINK:
        return first, last
    return first + 1, last if subnet.version == 6 else last - 1


def is_reserved(address: IPAddress, subnet: IPNetwork) -> bool:
    """Return whether no interface may have an address, which is in the subnet."""
    first, last = usable(subnet)
    return not first <= int(address) <= last


def reserved_as(address: IPAddress, subnet: IPNetwork) -> str:
    if address != subnet.network_address:
        return "broadcast address"
    return "network address" if subnet.version == 4 else "subnet-router anycast address"


def usable_in_range(subnet: IPNetwork, ip_range: IPNetwork | None) -> tuple[int, int]:
    """Return the first and last address of a range that interfaces may have; the last is before the first where there is none."""
    first, last = usable(subnet)
    if ip_range is None:
        return first, last
    return max(first, int(ip_range.network_address)), min(last, int(ip_range.broadcast_address))


def is_unicast(address: IPAddress) -> bool:
    """Return whether packets can be sent to an address of another host."""
    return not (address.is_multicast or address.is_loopback or address.is_unspecified)


def unusable_part(subnet: IPNetwork) -> str:
    """Name the block in a subnet that is not for links, "" where there is none."""
    for block, meaning in _UNUSABLE.items():
        if block.version == subnet.version and block.overlaps(subnet):
            return f"{block} is {meaning}"
    return ""
