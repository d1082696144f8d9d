"""Echo requests that bear a number, and what comes of them (RFC 792, RFC 4443). Standard library only."""

from __future__ import annotations

import re
import struct
from enum import Enum, auto
from typing import Final

_TOLD_UNREACHABLE: Final = [(True, 3, code) for code in range(16) if code != 1] + [
    (False, 1, code) for code in range(3)
]
"""Kinds and codes of ICMP messages of IPv4 or not; missing: nobody has the address, redirects, and packets that go round."""

_PING: Final = re.compile(rb"ping number (\d+)")
_V4_REQUEST, _V4_REPLY, _V6_REQUEST, _V6_REPLY = 8, 0, 128, 129


class Heard(Enum):
    """What a message says of the request that bears the number."""

    REQUEST = auto()
    REPLY = auto()
    UNREACHABLE = auto()


_HEARD: Final = {
    (True, _V4_REQUEST): Heard.REQUEST,
    (True, _V4_REPLY): Heard.REPLY,
    (False, _V6_REQUEST): Heard.REQUEST,
    (False, _V6_REPLY): Heard.REPLY,
}


def read_ping(packet: bytes, *, is_v4: bool) -> tuple[int, Heard] | None:
    """Read what a raw socket gave, of IPv4 with the header; None for what is none of ours or says nothing."""
    found = _PING.search(packet)
    if found is None:
        return None
    kind, code = packet[(packet[0] & 15) * 4 :][:2] if is_v4 else packet[:2]
    if (is_v4, kind, code) in _TOLD_UNREACHABLE:
        return int(found[1]), Heard.UNREACHABLE
    heard = _HEARD.get((is_v4, kind))
    return None if heard is None else (int(found[1]), heard)


def echo_request(number: int, *, is_v4: bool) -> bytes:
    """Give it as a raw socket takes it."""
    payload = b"ping number %d" % number
    payload += bytes(len(payload) % 2)
    kind = _V4_REQUEST if is_v4 else _V6_REQUEST
    head = struct.pack(">BBHHH", kind, 0, 0, number & 0xFFFF, 1)
    if not is_v4:
        return head + payload  # the kernel adds the checksum
    total = sum(struct.unpack(f">{(8 + len(payload)) // 2}H", head + payload))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">BBHHH", kind, 0, ~(total + (total >> 16)) & 0xFFFF, number & 0xFFFF, 1) + payload
