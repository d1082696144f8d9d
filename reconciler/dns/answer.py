"""From the bytes of a query to the bytes of its reply, or to the decision that somebody else must be asked. Pure.

Knows no sockets, no clock and no chance: whoever calls shuffles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.dns import wire
from reconciler.dns.wire import Query, Rcode, RecordType
from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint, Zones

Shuffle = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Gives the same records in some other order."""

Found = tuple[tuple[ServedEndpoint, ...], str]
"""Endpoints that have a name on a network, and which network."""

_FAMILY: Final = {RecordType.A: 4, RecordType.AAAA: 6}
_REFUSED_TYPES: Final = frozenset((RecordType.AXFR, RecordType.IXFR))
_PROTOCOLS: Final = frozenset(("tcp", "udp", "sctp"))
_KEPT_FLAGS: Final = frozenset((0x0100, 0x0120))
"""Of queries whose answers are kept: RD as every stub resolver sets it, with and without AD as dig does."""

_KEPT_SIZES: Final = frozenset((512, 1200, 1232, 4096))
"""Likewise the UDP sizes that programs announce, so that a hostile client cannot multiply what is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Somebody else must be asked."""

    query: Query


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer ready to be sent to whoever asks the same again.

    head: the reply's bytes 2 to 12. question_end: up to where the asker's own bytes are repeated.
    records: to be shuffled. edns: comes last.
    """

    head: bytes
    question_end: int
    records: tuple[bytes, ...]
    edns: bytes


class NetworkTable:
    """One network's names, shared by the views of all sandboxes on it."""

    __slots__ = ("by_name", "by_pointer", "name", "zone")

    def __init__(self, zone: NetworkZone) -> None:
        self.zone = zone
        self.name = zone.name
        by_name: defaultdict[str, list[ServedEndpoint]] = defaultdict(list)
        self.by_pointer: dict[str, ServedEndpoint] = {}
        for endpoint in zone.endpoints:
            for name in endpoint.names:
                by_name[name].append(endpoint)
            for address in endpoint.addresses:
                self.by_pointer[address.reverse_pointer] = endpoint
        self.by_name: Mapping[str, tuple[ServedEndpoint, ...]] = {name: tuple(found) for name, found in by_name.items()}


@dataclass(slots=True, kw_only=True)
class View:
    """What a sandbox sees; sandboxes with equal networks and links share one.

    links: beside each table the private aliases of its network. ready: answers given by UDP, by the query without its id
    in lower case: see `answer`.
    """

    tables: tuple[NetworkTable, ...]
    links: tuple[Mapping[str, str], ...]
    is_ndots_set: bool
    ready_max: int
    ready: dict[bytes, Ready] = field(default_factory=dict)


READY_MAX: Final = 1 << 15
"""Answers kept by all views together: at some 500 bytes each, some 16 MB."""


def make_views(zones: Zones, previous: Iterable[NetworkTable] = ()) -> dict[str, View]:
    """Give each sandbox's view by its name. previous: tables of before, taken over where the network has not changed."""
    known = {table.name: table for table in previous}
    tables: dict[str, NetworkTable] = {}
    for zone in zones.networks:
        kept = known.get(zone.name)
        tables[zone.name] = kept if kept is not None and kept.zone == zone else NetworkTable(zone)
    kinds = {_view_key(sandbox) for sandbox in zones.sandboxes}
    share = max(64, READY_MAX // max(1, len(kinds)))
    shared = {key: _view(*key, tables, share) for key in kinds}
    return {sandbox.name: shared[_view_key(sandbox)] for sandbox in zones.sandboxes}


_Links = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def _view_key(sandbox: SandboxZone) -> tuple[tuple[str, ...], _Links, bool]:
    return sandbox.networks, sandbox.links, sandbox.is_ndots_set


def _view(
    networks: tuple[str, ...], links: _Links, is_ndots_set: bool, tables: Mapping[str, NetworkTable], ready_max: int
) -> View:
    aliases = {network: dict(pairs) for network, pairs in links}
    present = [network for network in networks if network in tables]
    return View(
        tables=tuple(tables[network] for network in present),
        links=tuple(aliases.get(network, {}) for network in present),
        is_ndots_set=is_ndots_set,
        ready_max=ready_max,
    )


def answer(message: bytes, view: View, shuffled: Shuffle, *, is_stream: bool = False) -> bytes | Forward | None:
    """Give the reply, or say that somebody else must be asked; None for what gets no reply. Never raises.

    An answer given by UDP is kept in `view.ready` if its question is of a usual form, so that the next asker costs one look-up;
    in lower case because names compare so, and no other byte of a kept query is a letter.
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
    records = _records(query, view)
    if records is None:
        return Forward(query=query)
    return _reply(message, query, records, view, shuffled, is_stream=is_stream)


def ready_reply(message: bytes, ready: Ready, shuffled: Shuffle) -> bytes:
    """Give the kept answer with the asker's own id and spelling."""
    records = ready.records
    body = records[0] if len(records) == 1 else b"".join(shuffled(records))
    return message[:2] + ready.head + message[12 : ready.question_end] + body + ready.edns


def _reply(
    message: bytes, query: Query, records: tuple[bytes, ...], view: View, shuffled: Shuffle, *, is_stream: bool
) -> bytes:
    edns = wire.edns_record(query)
    room = (0xFFFF if is_stream else min(query.udp_size, wire.UDP_SIZE_MAX)) - query.question_end - len(edns)
    if sum(map(len, records)) > room:
        kept = _fitting(shuffled(records), room)
        head = wire.reply_head(query, len(kept), is_truncated=True)
        return ready_reply(message, Ready(head, query.question_end, tuple(kept), edns), tuple)
    ready = Ready(wire.reply_head(query, len(records)), query.question_end, records, edns)
    if not is_stream and _is_usual(query):
        if len(view.ready) >= view.ready_max:
            view.ready.clear()
        view.ready[message[2:].lower()] = ready
    return ready_reply(message, ready, shuffled)


def _is_usual(query: Query) -> bool:
    return query.flags in _KEPT_FLAGS and query.is_bare and query.udp_size in _KEPT_SIZES


def _fitting(records: Sequence[bytes], room: int) -> list[bytes]:
    """Drop answers from the end until the rest fits (docker-networking section 7.4)."""
    kept: list[bytes] = []
    for record in records:
        room -= len(record)
        if room < 0:
            break
        kept.append(record)
    return kept


def _records(query: Query, view: View) -> tuple[bytes, ...] | None:
    """Give the answer section; empty for a name of ours that has nothing of the type, None for what is not ours."""
    name = query.name
    if query.rclass != wire.IN or not name:
        return None
    match query.rtype:
        case RecordType.A | RecordType.AAAA:
            records = _address_records(name, _FAMILY[RecordType(query.rtype)], view)
            is_kept_inside = records is None and view.is_ndots_set and "." not in name
            return () if is_kept_inside else records
        case RecordType.MX:
            return () if any(True for _ in _known(name, view)) else None
        case RecordType.PTR:
            return _pointer_records(name, view)
        case RecordType.SRV:
            return _service_records(name, view)
    return None


def _address_records(name: str, family: int, view: View) -> tuple[bytes, ...] | None:
    """The first network that has an address of the family wins. A name known without one is ours all the same.

    That is so within one step of `_steps`: a name that one step knows is not looked for in the next.
    """
    for step in _steps(name, view):
        is_known = False
        for endpoints, _ in step:
            addresses = [a for endpoint in endpoints for a in endpoint.addresses if a.version == family]
            if addresses:
                return tuple(map(wire.address_record, dict.fromkeys(addresses)))
            is_known = True
        if is_known:
            return ()
    return None


def _known(name: str, view: View) -> Iterator[Found]:
    for step in _steps(name, view):
        yield from step


def _steps(name: str, view: View) -> Iterator[Iterator[Found]]:
    """Give the ways to read a name, best first (libnetwork's ResolveName; docker-networking section 7.2).

    `a.b.c` is that name on every network, else `a.b` on network `c`, else `a` on `b.c`; each first as a link's alias.
    """
    for own, network in _splits(name):
        yield _linked(own, network, view)
        yield _listed(own, network, view)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    yield name, ""
    at = name.rfind(".")
    while at > 0:
        yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def _linked(name: str, network: str, view: View) -> Iterator[Found]:
    for table, aliases in zip(view.tables, view.links, strict=True):
        target = aliases.get(name)
        if target is not None and network in ("", table.name.lower()) and target in table.by_name:
            yield table.by_name[target], table.name


def _listed(name: str, network: str, view: View) -> Iterator[Found]:
    """A link's alias hides what has the same name on that network, even while its target is absent."""
    for table, aliases in zip(view.tables, view.links, strict=True):
        if network in ("", table.name.lower()) and name not in aliases and name in table.by_name:
            yield table.by_name[name], table.name


def _pointer_records(name: str, view: View) -> tuple[bytes, ...] | None:
    for table in view.tables:
        endpoint = table.by_pointer.get(name)
        target = wire.encode_name(f"{endpoint.name}.{table.name}") if endpoint else None
        if target is not None:
            return (wire.pointer_record(target),)
    return None


def _service_records(name: str, view: View) -> tuple[bytes, ...] | None:
    """Answer `_80._tcp.web` (RFC 2782) and the engine's form `80.tcp.web` with who declares that port, published or exposed."""
    port, _, rest = name.partition(".")
    protocol, _, service = rest.partition(".")
    port, protocol = port.removeprefix("_"), protocol.removeprefix("_")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and protocol in _PROTOCOLS):
        return None
    for endpoints, network in _known(service, view):
        targets = [wire.encode_name(f"{e.name}.{network}") for e in endpoints if _declares(e, int(port), protocol)]
        records = tuple(wire.service_record(int(port), target) for target in targets if target is not None)
        if records:
            return records
    return None


def _declares(endpoint: ServedEndpoint, port: int, protocol: str) -> bool:
    return any(first <= port <= last and protocol == of for first, last, of in endpoint.ports)
