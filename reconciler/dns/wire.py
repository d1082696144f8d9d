"""The part of the DNS wire format that the embedded server speaks (RFC 1035, 2782, 6891). Knows no sockets and no zones."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from reconciler.model.objects import IPAddress


HEADER_SIZE: Final = 12
PLAIN_SIZE: Final = 512
"""What a UDP client without EDNS takes (RFC 1035 section 4.2.1)."""

UDP_SIZE_MAX: Final = 4096
"""What we send at most by UDP, however much the client claims to take, and what our own EDNS record says."""

TTL_S: Final = 600
"""Of every record of ours: the engine's value (docs/design/docker.md#replies)."""

_LABEL_MAX: Final = 63
_NAME_MAX: Final = 255
_ADDITIONAL_MAX: Final = 2
"""EDNS and a signature: what a question may carry behind it."""

_QR: Final = 0x8000
_OPCODE: Final = 0x7800
_TC: Final = 0x0200
_RD: Final = 0x0100
_RA: Final = 0x0080
_CD: Final = 0x0010
_DO: Final = 0x8000
"""In the lower half of the EDNS record's TTL field (RFC 6891 section 6.1.3)."""

_HEADER: Final = struct.Struct("!6H")
_RECORD: Final = struct.Struct("!HHIH")
_QUESTION_NAME: Final = b"\xc0\x0c"
"""A pointer to the name in the question, which always stands right behind the header (RFC 1035 section 4.1.4)."""


class RecordType(IntEnum):
    A = 1
    PTR = 12
    MX = 15
    AAAA = 28
    SRV = 33
    OPT = 41
    HTTPS = 65
    IXFR = 251
    AXFR = 252


class Rcode(IntEnum):
    """RFC 1035 section 4.1.1; BADVERS is the extended one of RFC 6891 section 9."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


IN: Final = 1
ANY_CLASS: Final = 255


class Unanswerable(Exception):
    """A message that nobody gets a reply to: too short for a header, or itself a reply (answering those makes loops)."""


class Malformed(Exception):
    """A query that is refused by its header alone. rcode: FORMERR or NOTIMP."""

    def __init__(self, rcode: Rcode) -> None:
        super().__init__(rcode.name)
        self.rcode = rcode


class Query(Struct, frozen=True, kw_only=True):
    """One question.

    name: in lower case, labels joined by dots, without the last dot; None when a label holds a dot itself, as no name of ours does.
    question_end: offset of the first byte behind the question. udp_size: what the client takes by UDP.
    edns_version: None without EDNS. is_dnssec_ok: its DO bit (RFC 3225).
    is_bare: nothing stands behind the question but an EDNS record with neither options nor unknown flags.
    """

    id: bytes
    flags: int
    name: str | None
    rtype: int
    rclass: int
    question_end: int
    udp_size: int = PLAIN_SIZE
    edns_version: int | None = None
    is_dnssec_ok: bool = False
    is_bare: bool = True


def parse_query(message: bytes) -> Query:
    """Read a query strictly: one uncompressed question, nothing behind it but whole additional records.

    Raises Unanswerable, Malformed.
    """
    if len(message) < HEADER_SIZE:
        raise Unanswerable
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(message)
    if flags & _QR:
        raise Unanswerable
    if flags & _OPCODE:
        raise Malformed(Rcode.NOTIMP)
    if questions != 1 or answers or authorities or additionals > _ADDITIONAL_MAX or flags & _TC:
        raise Malformed(Rcode.FORMERR)
    labels, end = _labels(message, HEADER_SIZE)
    if end + 4 > len(message):
        raise Malformed(Rcode.FORMERR)
    rtype, rclass = struct.unpack_from("!HH", message, end)
    edns = _additional(message, end + 4, additionals)
    return Query(
        id=message[:2],
        flags=flags,
        name=_text(labels),
        rtype=rtype,
        rclass=rclass,
        question_end=end + 4,
        udp_size=max(PLAIN_SIZE, edns.udp_size),
        edns_version=edns.version,
        is_dnssec_ok=edns.is_dnssec_ok,
        is_bare=edns.is_bare,
    )


def _labels(message: bytes, offset: int) -> tuple[list[bytes], int]:
    """Return the labels of the name at `offset` and where it ends. A pointer has no place in a question."""
    labels: list[bytes] = []
    start = offset
    while offset < len(message):
        size = message[offset]
        offset += 1
        if size == 0:
            return labels, offset
        if size > _LABEL_MAX or offset + size >= len(message) or offset + size - start >= _NAME_MAX:
            break
        labels.append(message[offset : offset + size])
        offset += size
    raise Malformed(Rcode.FORMERR)


def _text(labels: list[bytes]) -> str | None:
    name = b".".join(labels)
    return None if name.count(b".") >= max(1, len(labels)) else name.lower().decode("latin-1")


class _Edns(Struct, frozen=True):
    udp_size: int = 0
    version: int | None = None
    is_dnssec_ok: bool = False
    is_bare: bool = True


def _additional(message: bytes, offset: int, count: int) -> _Edns:
    """Walk the records behind the question, which must end with the message; give what the EDNS one says."""
    edns = _Edns()
    others = 0
    for _ in range(count):
        labels, offset = _labels(message, offset)
        if offset + _RECORD.size > len(message):
            raise Malformed(Rcode.FORMERR)
        rtype, size, ttl, length = _RECORD.unpack_from(message, offset)
        offset += _RECORD.size + length
        if rtype != RecordType.OPT:
            others += 1
        elif labels or edns.version is not None:  # RFC 6891 section 6.1.1: one record, of the root
            raise Malformed(Rcode.FORMERR)
        else:
            edns = _Edns(size, ttl >> 16 & 0xFF, bool(ttl & _DO), length == 0 and not ttl & ~_DO)
    if offset != len(message):
        raise Malformed(Rcode.FORMERR)
    return replace(edns, is_bare=edns.is_bare and not others)


def reply_head(
    query: Query, records: int, rcode: Rcode = Rcode.NOERROR, *, extra: int = 0, is_truncated: bool = False
) -> bytes:
    """Return the header behind the id: bytes 2 to 12. records: in the answer section; extra: in the additional one but EDNS."""
    flags = _QR | _RA | query.flags & (_RD | _CD) | rcode & 0xF | (_TC if is_truncated else 0)
    return struct.pack("!5H", flags, 1, records, 0, extra + (query.edns_version is not None))


def edns_record(query: Query, rcode: Rcode = Rcode.NOERROR) -> bytes:
    """Return our EDNS record, or nothing when the query has none (RFC 6891 section 7)."""
    if query.edns_version is None:
        return b""
    flags = rcode >> 4 << 24 | (_DO if query.is_dnssec_ok else 0)
    return b"\0" + _RECORD.pack(RecordType.OPT, UDP_SIZE_MAX, flags, 0)


def error_reply(message: bytes, query: Query, rcode: Rcode, *, is_truncated: bool = False) -> bytes:
    """Return a reply that repeats the question and has no answer."""
    head = reply_head(query, 0, rcode, is_truncated=is_truncated)
    return query.id + head + message[HEADER_SIZE : query.question_end] + edns_record(query, rcode)


def header_reply(message: bytes, rcode: Rcode) -> bytes:
    """Return a reply of a bare header, for a message of which only the header could be read."""
    flags = struct.unpack_from("!H", message, 2)[0]
    return message[:2] + struct.pack("!5H", _QR | _RA | flags & (_OPCODE | _RD) | rcode, 0, 0, 0, 0)


def encode_name(name: str) -> bytes | None:
    """Return the uncompressed wire form; None for what DNS cannot say (an empty label or one over 63 bytes, over 255 in all)."""
    labels = name.encode().split(b".")
    if not all(0 < len(label) <= _LABEL_MAX for label in labels):
        return None
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return encoded if len(encoded) <= _NAME_MAX else None


def address_record(address: IPAddress, owner: bytes = _QUESTION_NAME) -> bytes:
    """Return an A or AAAA record. owner: wire form, the question's name if not given."""
    return _record(owner, RecordType.A if address.version == 4 else RecordType.AAAA, address.packed)


def pointer_record(target: bytes) -> bytes:
    return _record(_QUESTION_NAME, RecordType.PTR, target)


def service_record(port: int, target: bytes) -> bytes:
    """Return an SRV record with priority and weight 0; the target's name is not compressed (RFC 2782)."""
    return _record(_QUESTION_NAME, RecordType.SRV, struct.pack("!3H", 0, 0, port) + target)


def _record(owner: bytes, rtype: RecordType, rdata: bytes) -> bytes:
    return owner + _RECORD.pack(rtype, IN, TTL_S, len(rdata)) + rdata
