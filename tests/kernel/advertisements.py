"""Router advertisements as anybody with a raw socket can send them (RFC 4861, section 4.2)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from typing import Final

from tests.machine import Machine

ROUTER: Final = "fe80::bad"
PREFIX: Final = "2001:db8:bad::"
_ALL_NODES: Final = IPv6Address("ff02::1")
_ETHERTYPE_IPV6: Final = 0x86DD
_HIGH_PREFERENCE: Final = 0x08
_ON_LINK_AND_AUTONOMOUS: Final = 0xC0


def advertise(machine: Machine, ns: str, ifname: str, *, source: str = ROUTER, lifetime_s: int = 1800) -> None:
    """Say once to everybody on the link: the way out leads by us, and here is a prefix to make an address of."""
    with machine.inside(ns):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sender:
        sender.bind((ifname, 0))
        mac = sender.getsockname()[4]
        head = bytes.fromhex("333300000001") + mac + struct.pack("!H", _ETHERTYPE_IPV6)
        sender.send(head + _packet(mac, IPv6Address(source).packed, lifetime_s))


def _packet(mac: bytes, source: bytes, lifetime_s: int) -> bytes:
    body = struct.pack("!BBHII", 64, _HIGH_PREFERENCE, lifetime_s, 0, 0)
    body += struct.pack("!BB", 1, 1) + mac
    body += struct.pack("!BBBBIII", 3, 4, 64, _ON_LINK_AND_AUTONOMOUS, 86400, 14400, 0) + IPv6Address(PREFIX).packed
    checked = struct.pack("!BBH", 134, 0, 0) + body
    pseudo = source + _ALL_NODES.packed + struct.pack("!II", len(checked), socket.IPPROTO_ICMPV6)
    message = struct.pack("!BBH", 134, 0, checksum(pseudo + checked)) + body
    return (
        struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255) + source + _ALL_NODES.packed + message
    )


def checksum(data: bytes) -> int:
    """Give the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
