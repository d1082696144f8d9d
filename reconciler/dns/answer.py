"""From the bytes of a query to the bytes of its reply, or to the decision that somebody else must be asked. Pure.

Knows no sockets, no clock and no chance: whoever calls shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from reconciler.dns import wire
from reconciler.dns.view import DnsView, Ready, holders, pointed_at, readings, reverse_block
from reconciler.dns.wire import Query, Rcode, RecordType
from reconciler.dns.zones import ServedEndpoint

if TYPE_CHECKING:
    from reconciler.model.objects import IPNetwork

Shuffle = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Gives the same records in some other order."""

_FAMILY: Final = {RecordType.A: 4, RecordType.AAAA: 6}
_REFUSED_TYPES: Final = frozenset((RecordType.AXFR, RecordType.IXFR))
_PROTOCOLS: Final = frozenset(("tcp", "udp", "sctp"))
_KEPT_TYPES: Final = frozenset(
    (RecordType.A, RecordType.AAAA, RecordType.PTR, RecordType.SRV, RecordType.MX, RecordType.HTTPS)
)
_KEPT_FLAGS: Final = frozenset((0x0100, 0x0120))
"""Of queries whose answers are kept: RD as every stub resolver sets it, with and without AD as dig does."""

_KEPT_SIZES: Final = frozenset((512, 1200, 1232, 4096))
"""Likewise the UDP sizes that programs announce. A hostile client cannot multiply what is kept by any of the three."""


class Forward(Struct, frozen=True, kw_only=True):
    """Somebody else must be asked."""

    query: Query


class _Ours(Struct, frozen=True):
    """What we say ourselves. Without records and with NOERROR: the name is ours and has nothing of the type."""

    records: tuple[bytes, ...] = ()
    rcode: Rcode = Rcode.NOERROR


_NOTHING: Final = _Ours()
_NO_SUCH_NAME: Final = _Ours(rcode=Rcode.NXDOMAIN)


def answer(message: bytes, view: DnsView, shuffled: Shuffle, *, is_stream: bool = False) -> bytes | Forward | None:
    """Return the reply, or say that somebody else must be asked; None for what gets no reply. Never raises.

    An answer given by UDP is kept in `view.ready` if its question is of a usual form, so that the next asker costs one look-up;
    in lower case because names compare so; the one other byte of a kept query that is a letter is that of HTTPS, of which we
    have as little as of type 97.
    """
    if not is_stream:
        ready = view.ready.get(message[2:].lower())
        if ready is not None:
            return ready_reply(message, ready, shuffled)
    try:
        query = wire.parse_query(message)
    except wire.Unanswerable:
        return None
    except wire.Malformed as error:
        return wire.header_reply(message, error.rcode)
    if query.edns_version:
        return wire.error_reply(message, query, Rcode.BADVERS)
    if query.rtype in _REFUSED_TYPES:
        return wire.error_reply(message, query, Rcode.REFUSED)
    ours = _ours(query, view)
    if ours is None:
        return Forward(query=query)
    return _reply(message, query, ours, view, shuffled, is_stream=is_stream)


def ready_reply(message: bytes, ready: Ready, shuffled: Shuffle) -> bytes:
    """Return the kept answer with the asker's own id and spelling."""
    records = ready.records
    body = records[0] if len(records) == 1 else b"".join(shuffled(records))
    return message[:2] + ready.head + message[12 : ready.question_end] + body + ready.edns


def _reply(message: bytes, query: Query, ours: _Ours, view: DnsView, shuffled: Shuffle, *, is_stream: bool) -> bytes:
    records, edns = ours.records, wire.edns_record(query)
    room = (0xFFFF if is_stream else min(query.udp_size, wire.UDP_SIZE_MAX)) - query.question_end - len(edns)
    if sum(map(len, records)) > room:
        kept = _fitting(shuffled(records), room)
        head = wire.reply_head(query, len(kept), is_truncated=True)
        return ready_reply(message, Ready(head, query.question_end, tuple(kept), edns), tuple)
    ready = Ready(wire.reply_head(query, len(records), ours.rcode), query.question_end, records, edns)
    if not is_stream and _is_usual(query):
        if len(view.ready) >= view.ready_max:
            view.ready.clear()
        view.ready[message[2:].lower()] = ready
    return ready_reply(message, ready, shuffled)


def _is_usual(query: Query) -> bool:
    is_usual_question = query.rclass == wire.IN and query.rtype in _KEPT_TYPES
    return is_usual_question and query.flags in _KEPT_FLAGS and query.is_bare and query.udp_size in _KEPT_SIZES


def _fitting(records: Sequence[bytes], room: int) -> list[bytes]:
    """Drop answers from the end until the rest fits (docs/design/docker.md#forwarding)."""
    kept: list[bytes] = []
    for record in records:
        room -= len(record)
        if room < 0:
            break
        kept.append(record)
    return kept


def _ours(query: Query, view: DnsView) -> _Ours | None:
    """Return what is said of a name of ours, None for what is not ours. Such a name has no more than we know, whatever the type."""
    name = query.name
    if not name:
        return None
    if query.rclass in (wire.IN, wire.ANY_CLASS):
        records = _records(name, query.rtype, view)
        if records is not None:
            return _Ours(records)
    if _is_known(name, view):
        return _NOTHING
    return _unnamed(name, view)


def _records(name: str, rtype: int, view: DnsView) -> tuple[bytes, ...] | None:
    """Return the records of the types that we have any of; None when no name of ours is meant, or it is of another type."""
    match rtype:
        case RecordType.A | RecordType.AAAA:
            records = _address_records(name, _FAMILY[RecordType(rtype)], view)
            is_kept_inside = records is None and view.is_ndots_set and "." not in name
            return () if is_kept_inside else records
        case RecordType.PTR:
            return _pointer_records(name, view)
        case RecordType.SRV:
            return _service_records(name, view)
    return None


def _is_known(name: str, view: DnsView) -> bool:
    """Return whether the name, or what its leading labels with an underscore say something of (RFC 8552), is somebody's of ours."""
    while True:
        if any(True for _ in holders(name, view)) or any(True for _ in pointed_at(name, view)):
            return True
        label, _, name = name.partition(".")
        if not (label.startswith("_") and name):
            return False


def _unnamed(name: str, view: DnsView) -> _Ours | None:
    """Nobody but us could name an address of a private subnet; what stands above some of them is no address and exists."""
    block = reverse_block(name)
    if block is None or not any(_is_part(block.network, subnet) for subnet in view.subnets):
        return None
    return _NOTHING if block.is_exact and block.network.prefixlen < block.network.max_prefixlen else _NO_SUCH_NAME


def _is_part(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _address_records(name: str, family: int, view: DnsView) -> tuple[bytes, ...] | None:
    """The first network that has an address of the family wins. A name known without one is ours all the same.

    That is so within one reading of the name: what one reading knows is not looked for in the next.
    """
    for reading in readings(name, view):
        is_known = False
        for found in reading:
            addresses = [a for endpoint in found.endpoints for a in endpoint.addresses if a.version == family]
            if addresses:
                return tuple(map(wire.address_record, dict.fromkeys(addresses)))
            is_known = True
        if is_known:
            return ()
    return None


def _pointer_records(name: str, view: DnsView) -> tuple[bytes, ...] | None:
    for found in pointed_at(name, view):
        target = wire.encode_name(f"{found.endpoints[0].name}.{found.network}")
        if target is not None:
            return (wire.pointer_record(target),)
    return None


def _service_records(name: str, view: DnsView) -> tuple[bytes, ...] | None:
    """Answer `_80._tcp.web` (RFC 2782) and the engine's form `80.tcp.web` with who declares that port, published or exposed."""
    port, _, rest = name.partition(".")
    protocol, _, service = rest.partition(".")
    port, protocol = port.removeprefix("_"), protocol.removeprefix("_")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and protocol in _PROTOCOLS):
        return None
    is_known = False
    for found in holders(service, view):
        declaring = [endpoint for endpoint in found.endpoints if _declares(endpoint, int(port), protocol)]
        targets = [wire.encode_name(f"{endpoint.name}.{found.network}") for endpoint in declaring]
        records = tuple(wire.service_record(int(port), target) for target in targets if target is not None)
        if records:
            return records
        is_known = True
    return () if is_known else None


def _declares(endpoint: ServedEndpoint, port: int, protocol: str) -> bool:
    return any(first <= port <= last and protocol == of for first, last, of in endpoint.ports)
