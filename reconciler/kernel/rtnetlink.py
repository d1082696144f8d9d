"""How rtnetlink puts messages and attributes into bytes (netlink(7), rtnetlink(7)). Pure; knows no kind of object."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.model.objects import IPAddress

# linux/netlink.h
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
_NLM_F_CAPPED: Final = 0x100
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSGERR_ATTR_MSG: Final = 1
_ERRNO_MAX: Final = 4095
"""MAX_ERRNO of linux/err.h."""

_NLA_TYPE_MASK: Final = 0x3FFF
_NLA_F_NESTED: Final = 0x8000

_HEADER: Final = Struct("=IHHII")
_ATTRIBUTE: Final = Struct("=HH")
_U32: Final = Struct("=I")
_S32: Final = Struct("=i")

FAMILIES: Final = {4: int(AF_INET), 6: int(AF_INET6)}
"""By version of IP."""

ADDRESS_SIZES: Final = {FAMILIES[4]: 4, FAMILIES[6]: 16}

Span = tuple[int, int]
"""Where a payload begins and ends in its buffer."""


class CodecError(ReconcilerError):
    """Bytes from the kernel that are not what its headers promise."""


class NetlinkRequest(NamedTuple):
    """A message to send, less the sequence number that the socket gives it. body: family header and attributes, padded."""

    kind: int
    flags: int
    body: bytes


class Message(NamedTuple):
    """A message received; its payload is `buffer[start:end]`."""

    kind: int
    flags: int
    sequence: int
    buffer: bytes
    start: int
    end: int


class Refusal(NamedTuple):
    """What an NLMSG_ERROR says. errno 0: it is an acknowledgement. detail: the kernel's own words, if any."""

    errno: int
    detail: str


def packed(request: NetlinkRequest, sequence: int, flags: int = 0) -> bytes:
    """Return the whole message."""
    kind, own_flags, body = request
    return _HEADER.pack(16 + len(body), kind, own_flags | flags | NLM_F_REQUEST, sequence, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) & 3)


def u32_attribute(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(8, kind) + _U32.pack(value)


def mac_attribute(kind: int, mac: str) -> bytes:
    """mac: lower case with colons."""
    return attribute(kind, bytes.fromhex(mac.replace(":", "")))


def text_attribute(kind: int, value: str) -> bytes:
    return attribute(kind, os.fsencode(value) + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others; they are padded already."""
    payload = b"".join(attributes)
    return _ATTRIBUTE.pack(4 + len(payload), kind | _NLA_F_NESTED) + payload


def messages(buffer: bytes) -> Iterator[Message]:
    """Cut what one recv() gave into messages. Raises CodecError."""
    offset, size = 0, len(buffer)
    while offset < size:
        if size - offset < 16:
            raise CodecError(f"netlink: {size - offset} bytes where a message header of 16 was expected")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, offset)
        if length < 16 or length > size - offset:
            raise CodecError(f"netlink: message of {length} bytes in a buffer of {size - offset}")
        yield Message(kind, flags, sequence, buffer, offset + 16, offset + length)
        offset += (length + 3) & ~3


def attributes(buffer: bytes, start: int, end: int) -> dict[int, Span]:
    """Find the attributes between two offsets, by type; of a repeated one the last. Raises CodecError."""
    if start > end:
        raise CodecError(f"netlink: payload ends {start - end} bytes before its fixed part does")
    found: dict[int, Span] = {}
    unpack = _ATTRIBUTE.unpack_from
    last = end - 4
    while start <= last:
        length, kind = unpack(buffer, start)
        if length < 4 or start + length > end:
            raise CodecError(f"netlink: attribute of {length} bytes in a payload of {end - start}")
        found[kind & _NLA_TYPE_MASK] = (start + 4, start + length)
        start += (length + 3) & ~3
    return found


def nested_attributes(buffer: bytes, span: Span | None) -> dict[int, Span]:
    return attributes(buffer, *span) if span else {}


def _number(size: Struct, buffer: bytes, span: Span | None, default: int = 0) -> int:
    """Read a number, `default` where it is not there. Raises CodecError when there is not room for one."""
    if span is None:
        return default
    if span[1] - span[0] < size.size:
        raise CodecError(f"netlink: {span[1] - span[0]} bytes where a number of {size.size} was expected")
    value: int = size.unpack_from(buffer, span[0])[0]
    return value


u8 = partial(_number, Struct("=B"))
u16 = partial(_number, Struct("=H"))
u32 = partial(_number, _U32)
s32 = partial(_number, _S32)
port = partial(_number, Struct("!H"))
"""In the network's byte order."""


def raw(buffer: bytes, span: Span | None) -> bytes:
    return buffer[span[0] : span[1]] if span else b""


@lru_cache(maxsize=4096)
def address_of(packed: bytes) -> IPAddress:
    """Return the address of 4 or 16 bytes. Raises CodecError."""
    if len(packed) not in (4, 16):
        raise CodecError(f"netlink: an address of {len(packed)} bytes")
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def text(buffer: bytes, span: Span | None) -> str:
    """Read a string that may end in zero. What is not UTF-8 is shown escaped."""
    if span is None:
        return ""
    return buffer[span[0] : span[1]].partition(b"\0")[0].decode(errors="backslashreplace")


def refusal(message: Message) -> Refusal:
    """Read an NLMSG_ERROR, or the end of a dump, which says errno alike. Raises CodecError."""
    buffer, start, end = message.buffer, message.start, message.end
    if end - start < 4:
        raise CodecError("netlink: an error message without its number")
    errno = -_S32.unpack_from(buffer, start)[0]
    if errno > _ERRNO_MAX:
        raise CodecError(f"netlink: an error of number {errno}")
    if not message.flags & _NLM_F_ACK_TLVS:
        return Refusal(errno, "")
    offset = start + 4
    if message.kind == NLMSG_ERROR:
        is_capped = message.flags & _NLM_F_CAPPED
        original = 16 if is_capped else max(16, u32(buffer, (offset, end)))
        offset += (original + 3) & ~3
    return Refusal(errno, text(buffer, attributes(buffer, offset, end).get(_NLMSGERR_ATTR_MSG)))
