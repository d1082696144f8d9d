"""Frames that tell a segment at which MAC an address is: gratuitous ARP (RFC 5227) and unsolicited neighbour advertisements
(RFC 4861, section 7.2.6).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from reconciler.errors import kernel_errors
from reconciler.model.objects import IPAddress

_ARP: Final = 0x0806
_IPV6: Final = 0x86DD
_EVERYBODY: Final = b"\xff" * 6
_ALL_NODES: Final = IPv6Address("ff02::1").packed
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
_REQUEST: Final = 1
_REPLY: Final = 2
_NEIGHBOUR_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_TARGET_LINK_ADDRESS: Final = 2
_HOP_LIMIT: Final = 255


def announce(ifname: str, answers: Iterable[tuple[IPAddress, str]]) -> None:
    """Send it by a link of the namespace that the calling thread is in. answers: addresses and their MACs. Raises KernelError."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with kernel_errors(f"announce addresses on {ifname}"), socket.socket(socket.AF_PACKET, kind) as sender:
        sender.bind((ifname, 0))
        for address, mac in answers:
            for frame in frames(address, bytes.fromhex(mac.replace(":", ""))):
                sender.send(frame)


def frames(address: IPAddress, mac: bytes) -> tuple[bytes, ...]:
    """ARP in both its forms: some heed only the one, and a VXLAN device would answer the other for those whom it knows."""
    if isinstance(address, IPv4Address):
        return tuple(_arp(address, mac, operation) for operation in (_REPLY, _REQUEST))
    return (_advertisement(address, mac),)


def _arp(address: IPv4Address, mac: bytes, operation: int) -> bytes:
    target = mac if operation == _REPLY else bytes(6)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address.packed + target + address.packed
    return _EVERYBODY + mac + struct.pack("!H", _ARP) + body


def _advertisement(address: IPv6Address, mac: bytes) -> bytes:
    body = struct.pack("!I", _OVERRIDE) + address.packed + struct.pack("!BB", _TARGET_LINK_ADDRESS, 1) + mac
    size = 4 + len(body)
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", size, socket.IPPROTO_ICMPV6)
    checksum = _checksum(pseudo + struct.pack("!BBH", _NEIGHBOUR_ADVERTISEMENT, 0, 0) + body)
    header = struct.pack("!IHBB", 6 << 28, size, socket.IPPROTO_ICMPV6, _HOP_LIMIT) + address.packed + _ALL_NODES
    message = struct.pack("!BBH", _NEIGHBOUR_ADVERTISEMENT, 0, checksum) + body
    return _ALL_NODES_MAC + mac + struct.pack("!H", _IPV6) + header + message


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
