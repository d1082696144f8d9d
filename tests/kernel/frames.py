"""Frames as anybody with a raw socket can send them, and who gets them."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from tests.kernel.advertisements import checksum
from tests.machine import Machine

PROTOCOLS: Final = ("tcp", "udp", "icmp")
BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
UNKNOWN: Final = "00:00:00:00:00:00"
_ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
_ARP: Final = 0x0806
_ANY_PROTOCOL: Final = 0x0003
_OUTGOING: Final = 4
_SYN: Final = 0x02
_NUMBERS: Final = {"tcp": 6, "udp": 17}
_ICMP: Final = {4: (1, 8, 0), 6: (58, 128, 129)}
"""Protocol, and the types of echo request and reply."""


def packet(
    protocol: str, source: str, target: str, ports: tuple[int, int], token: bytes, *, is_answer: bool = False
) -> bytes:
    """Make an IP packet. ports: source and destination; an echo has the smaller one as its id."""
    version = ip_address(source).version
    if protocol == "icmp":
        number, request, reply = _ICMP[version]
        head, at = struct.pack("!BBHHH", reply if is_answer else request, 0, 0, min(ports), 1), 2
    elif protocol == "udp":
        number, head, at = _NUMBERS["udp"], struct.pack("!HHHH", *ports, 8 + len(token), 0), 6
    else:
        number, at = _NUMBERS["tcp"], 16
        head = struct.pack("!HHIIBBHHH", *ports, 1000, 0, 5 << 4, _SYN, 1024, 0, 0)
    return _with_ip_header(number, source, target, head + token, at)


def _with_ip_header(number: int, source: str, target: str, body: bytes, checksum_at: int, hops: int = 64) -> bytes:
    ends = ip_address(source).packed + ip_address(target).packed
    is_pseudo = len(ends) == 32 or number != 1
    pseudo = ends + struct.pack("!II", len(body), number) if is_pseudo else b""
    body = body[:checksum_at] + struct.pack("!H", checksum(pseudo + body)) + body[checksum_at + 2 :]
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(body), number, hops) + ends + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, hops, number, 0) + ends
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def neighbour_message(kind: int, source: str, target: str, about: str, mac: str = "") -> bytes:
    """Make a neighbour solicitation (135), or an advertisement (136) that overrides what was known."""
    flags = 0x20000000 if kind == 136 else 0
    body = struct.pack("!BBHI", kind, 0, 0, flags) + IPv6Address(about).packed
    if mac:
        body += struct.pack("!BB", 2 if kind == 136 else 1, 1) + _mac(mac)
    return _with_ip_header(58, source, target, body, 2, hops=255)


def arp(source_mac: str, source: str, target: str, *, is_reply: bool = False) -> bytes:
    """Make an ARP packet that asks for `target`, or tells it."""
    return (
        struct.pack("!HHBBH", 1, _ETHERTYPES[4], 6, 4, 2 if is_reply else 1)
        + _mac(source_mac)
        + IPv4Address(source).packed
        + _mac(UNKNOWN)
        + IPv4Address(target).packed
    )


def frame(source_mac: str, target_mac: str, content: bytes, ethertype: int | None = None) -> bytes:
    """Put a packet into a frame. ethertype: told by the packet if not given."""
    kind = ethertype or _ETHERTYPES.get(content[0] >> 4, _ARP)
    return _mac(target_mac) + _mac(source_mac) + struct.pack("!H", kind) + content


def send(machine: Machine, ns: str, ifname: str, *frames: bytes) -> None:
    with machine.inside(ns):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sender:
        sender.bind((ifname, 0))
        for each in frames:
            sender.send(each)


@contextlib.contextmanager
def arrivals(machine: Machine, ns: str, ifname: str) -> Iterator[Callable[[float], list[bytes]]]:
    """Give a function that waits so many seconds and gives the frames that came in on the link since the start."""
    with machine.inside(ns):
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    found: list[bytes] = []

    def wait(seconds: float) -> list[bytes]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            listener.settimeout(left)
            with contextlib.suppress(TimeoutError):
                content, address = listener.recvfrom(2048)
                found.extend([content] if address[2] != _OUTGOING else [])
        return found

    with listener:
        listener.bind((ifname, _ANY_PROTOCOL))
        yield wait


def link_mac(machine: Machine, ns: str, ifname: str) -> str:
    return str(machine.ip_json(ns, "link", "show", ifname)[0]["address"])


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
