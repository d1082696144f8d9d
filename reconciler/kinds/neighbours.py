"""Neighbour and forwarding entries of VXLAN devices: what leads to the endpoints of overlay networks on other hosts.

There are thousands, of which a change touches few.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address
from struct import Struct
from typing import Final, NamedTuple

from reconciler.errors import ReconcilerError, netlink_error
from reconciler.incremental import Table
from reconciler.kernel.links import decode_link, get_link
from reconciler.kernel.neighbours import AF_BRIDGE, NDA_DST, NDA_LLADDR, NDMSG, EntryKey
from reconciler.kernel.netlink import NetlinkMessage, RouteSocket
from reconciler.kernel.rtnetlink import (
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    CodecError,
    NetlinkRequest,
    address_of,
    attribute,
    attributes,
    mac_attribute,
    raw,
)
from reconciler.kinds.row import Row, SeenApart
from reconciler.kinds.world import World
from reconciler.model.identifiers import PROTOCOL, NsRef
from reconciler.model.objects import FdbEntry, IPAddress, Key, Neighbour, Seen
from reconciler.model.plan import Action, Operation, Outcome

_RTM_NEWNEIGH: Final = 28
_RTM_DELNEIGH: Final = 29
_RTM_GETNEIGH: Final = 30
_NDA_CACHEINFO: Final = 3
_NDA_PORT: Final = 6
_NDA_VNI: Final = 7
_NDA_IFINDEX: Final = 8
_NDA_PROTOCOL: Final = 12
_NTF_SELF: Final = 0x02
_NTF_MASTER: Final = 0x04
_NUD_PERMANENT: Final = 0x80

_MAC_SIZE: Final = 6
_ATTRIBUTE: Final = Struct("=HH")
_GONE: Final = (errno.ENOENT, errno.ENODEV)

Devices = Mapping[int, str]
"""Our VXLAN devices: their names by index."""


class NeighbourEntry(NamedTuple):
    """A permanent entry. address: that of a neighbour; of a forwarding entry (is_fdb) the VTEP, None when it leads there
    by another port, VNI or link than the device's own. mac: lower case with colons.
    """

    ifindex: int
    mac: str
    address: IPAddress | None
    is_fdb: bool


def dump_neighbours() -> NetlinkRequest:
    """Ask for the neighbours of all links, both families."""
    return NetlinkRequest(_RTM_GETNEIGH, NLM_F_DUMP, NDMSG.pack(0, 0, 0, 0, 0))


def dump_fdb() -> NetlinkRequest:
    """Ask for the forwarding entries of all bridges and VXLAN devices."""
    return NetlinkRequest(_RTM_GETNEIGH, NLM_F_DUMP, NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0))


def get_entry(key: EntryKey) -> NetlinkRequest:
    """Ask for one; ENOENT when there is none."""
    family = AF_BRIDGE if key.is_fdb else FAMILIES[4 if len(key.place) == 4 else 6]
    head = NDMSG.pack(family, key.ifindex, 0, _NTF_SELF if key.is_fdb else 0, 0)
    return NetlinkRequest(_RTM_GETNEIGH, 0, head + attribute(NDA_LLADDR if key.is_fdb else NDA_DST, key.place))


def put_neighbour(ifindex: int, address: IPAddress, mac: str) -> NetlinkRequest:
    """Set a neighbour entry, whatever was there before."""
    body = _neighbour(ifindex, address) + mac_attribute(NDA_LLADDR, mac) + _PROTOCOL
    return NetlinkRequest(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


_PROTOCOL: Final = attribute(_NDA_PROTOCOL, bytes((PROTOCOL,)))


def delete_neighbour(ifindex: int, address: IPAddress) -> NetlinkRequest:
    return NetlinkRequest(_RTM_DELNEIGH, 0, _neighbour(ifindex, address))


def put_fdb(ifindex: int, mac: str, vtep: IPAddress) -> NetlinkRequest:
    """Set a forwarding entry of a VXLAN device, whatever was there before, a learned one too (moby PR#53663)."""
    body = _fdb(ifindex, mac) + attribute(NDA_DST, vtep.packed)
    return NetlinkRequest(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete_fdb(ifindex: int, mac: str) -> NetlinkRequest:
    """Delete it from the bridge family's table, not the neighbours' (moby PR#50236), wherever it leads."""
    return NetlinkRequest(_RTM_DELNEIGH, 0, _fdb(ifindex, mac))


def forget_learned(ifindex: int, mac: str) -> NetlinkRequest:
    """Have the bridge that a device is a port of forget that it saw the MAC there."""
    return NetlinkRequest(
        _RTM_DELNEIGH, 0, NDMSG.pack(AF_BRIDGE, ifindex, 0, _NTF_MASTER, 0) + mac_attribute(NDA_LLADDR, mac)
    )


def _neighbour(ifindex: int, address: IPAddress) -> bytes:
    return NDMSG.pack(FAMILIES[address.version], ifindex, _NUD_PERMANENT, 0, 0) + attribute(NDA_DST, address.packed)


def _fdb(ifindex: int, mac: str) -> bytes:
    return NDMSG.pack(AF_BRIDGE, ifindex, _NUD_PERMANENT, _NTF_SELF, 0) + mac_attribute(NDA_LLADDR, mac)


def decode_neighbour(buffer: bytes, start: int, end: int) -> NeighbourEntry | None:
    """Read the payload of an _RTM_NEWNEIGH; None for what is not permanent, and for what a bridge knows. Raises CodecError."""
    if end - start < 12:
        raise CodecError(f"netlink: a neighbour in {end - start} bytes")
    family, ifindex, state, flags, _ = NDMSG.unpack_from(buffer, start)
    is_fdb = family == AF_BRIDGE
    if not state & _NUD_PERMANENT or (is_fdb and not flags & _NTF_SELF):
        return None
    found = attributes(buffer, start + 12, end)
    lower, upper = found.get(NDA_LLADDR), found.get(NDA_DST)
    if lower is None or upper is None or lower[1] - lower[0] != _MAC_SIZE:
        return None  # a bridge's own multicast addresses; a neighbour on a link without MAC addresses
    is_plain = not is_fdb or found.keys().isdisjoint((_NDA_PORT, _NDA_VNI, _NDA_IFINDEX))
    address = address_of(raw(buffer, upper)) if is_plain else None
    return NeighbourEntry(ifindex, buffer[lower[0] : lower[1]].hex(":"), address, is_fdb)


class NeighbourDecoder:
    """`decode_neighbour` for one who dumps again: of thousands of entries few are new, the others are the same values as before.

    known: what the last dump told, by what was in its messages. by_message: the same of this one.
    """

    def __init__(self, known: Mapping[bytes, NeighbourEntry | None]) -> None:
        self._known = known
        self.by_message: dict[bytes, NeighbourEntry | None] = {}

    def __call__(self, buffer: bytes, start: int, end: int) -> NeighbourEntry | None:
        message = _without_age(buffer, start, end)
        entry = self._known[message] if message in self._known else decode_neighbour(buffer, start, end)
        self.by_message[message] = entry
        return entry


def _without_age(buffer: bytes, start: int, end: int) -> bytes:
    """Return a message without what changes by itself: how long ago the entry was used."""
    unpack = _ATTRIBUTE.unpack_from
    place = start + 12
    while place + 4 <= end:
        length, kind = unpack(buffer, place)
        after = place + ((length + 3) & ~3)
        if kind == _NDA_CACHEINFO:
            return buffer[start:place] + buffer[after:end]
        place = max(after, place + 4)
    return buffer[start:end]


class Entries:
    """Whoever made an entry, it is on a link of ours. seen: those that are there."""

    def __init__(self) -> None:
        self.seen: Table[Key, Seen] = Table()
        self._by_message: Mapping[bytes, NeighbourEntry | None] = {}
        self._known: dict[int, tuple[NeighbourEntry, str, tuple[Key, Seen]]] = {}

    def read(self, ns: NsRef, socket: RouteSocket, devices: Devices) -> None:
        """Ask for all; what has not changed is neither read nor made into an object again."""
        decode = NeighbourDecoder(self._by_message)
        entries = (*socket.dump(dump_neighbours(), decode), *socket.dump(dump_fdb(), decode))
        self._by_message = decode.by_message
        known, self._known = self._known, {}
        for entry in entries:
            ifname = devices.get(entry.ifindex)
            before = known.get(id(entry))
            if ifname is None or (entry.address is None and not entry.is_fdb):
                continue
            is_same = before is not None and before[0] is entry and before[1] == ifname
            made = before if is_same and before is not None else (entry, ifname, _seen(ns, ifname, entry))
            self._known[id(entry)] = made
        found = dict(made for _, _, made in self._known.values())
        self.seen = self.seen.updated(found, self.seen.keys() - found.keys())

    def read_again(self, ns: NsRef, socket: RouteSocket, devices: Devices, keys: Collection[EntryKey]) -> None:
        """Ask for these."""
        asked = [key for key in keys if key.ifindex in devices]
        replies = socket.batch([get_entry(key) for key in asked])
        if any(reply.errno not in (0, errno.ENOENT) for reply in replies):  # a kernel before 5.0, or the device went
            self.read(ns, socket, devices)
            return
        found = (decode_neighbour(a.buffer, a.start, a.end) for reply in replies for a in reply.answers)
        put = dict(_seen(ns, devices[entry.ifindex], entry) for entry in found if entry is not None)
        self.seen = self.seen.updated(put, (_key_of(ns, devices[key.ifindex], key) for key in asked))


def _seen(ns: NsRef, ifname: str, entry: NeighbourEntry) -> tuple[Key, Seen]:
    if entry.is_fdb or entry.address is None:
        made: FdbEntry | Neighbour = FdbEntry(ns=ns, ifname=ifname, mac=entry.mac, vtep=entry.address)
    else:
        made = Neighbour(ns=ns, ifname=ifname, address=entry.address, mac=entry.mac)
    return made.key, Seen(made, is_ours=True)


def _key_of(ns: NsRef, ifname: str, key: EntryKey) -> Key:
    if key.is_fdb:
        return FdbEntry(ns=ns, ifname=ifname, mac=key.place.hex(":"), vtep=None).key
    return Neighbour(ns=ns, ifname=ifname, address=ip_address(key.place), mac="").key


def apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
    """Carry out operations on Neighbour and FdbEntry; one outcome each, in the same order; never raises for one of them.

    What is there already under the same key is replaced; what is gone already is fine.
    """
    by_ns: dict[NsRef, list[int]] = {}
    for number, operation in enumerate(operations):
        by_ns.setdefault(_entry(operation).ns, []).append(number)
    errors: dict[int, ReconcilerError] = {}
    for ns, members in by_ns.items():
        try:
            results = _carry_out([operations[number] for number in members], world.namespaces.socket(ns))
            errors.update((number, error) for number, error in zip(members, results, strict=True) if error)
        except ReconcilerError as error:
            errors.update(dict.fromkeys(members, error))
    return [Outcome(operation=operation, error=errors.get(number)) for number, operation in enumerate(operations)]


def _carry_out(operations: Sequence[Operation], socket: RouteSocket) -> list[ReconcilerError | None]:
    indexes = _indexes({_entry(operation).ifname for operation in operations}, socket)
    known = [operation for operation in operations if _entry(operation).ifname in indexes]
    replies = iter(socket.batch([_request(operation, indexes) for operation in known]))
    # The endpoint may be on this host from now on, with the same MAC: frames for it must not go on to where it was. That the bridge
    # saw nothing of it is fine, so nobody asks what became of this.
    departed = [o.object for o in known if o.action is Action.DELETE and isinstance(o.object, FdbEntry)]
    socket.batch([forget_learned(indexes[entry.ifname], entry.mac) for entry in departed])
    return [
        _error(operation, next(replies) if _entry(operation).ifname in indexes else NetlinkMessage(errno.ENODEV))
        for operation in operations
    ]


def _indexes(ifnames: set[str], socket: RouteSocket) -> Mapping[str, int]:
    """Look our links up; one that is not ours counts as not there."""
    answers = [
        answer for reply in socket.batch([get_link(name) for name in sorted(ifnames)]) for answer in reply.answers
    ]
    links = [decode_link(answer.buffer, answer.start, answer.end) for answer in answers]
    return {link.ifname: link.ifindex for link in links if link.is_ours}


def _request(operation: Operation, indexes: Mapping[str, int]) -> NetlinkRequest:
    is_deletion = operation.action is Action.DELETE
    entry = _entry(operation)
    ifindex = indexes[entry.ifname]
    if isinstance(entry, Neighbour):
        if is_deletion:
            return delete_neighbour(ifindex, entry.address)
        return put_neighbour(ifindex, entry.address, entry.mac)
    if is_deletion or entry.vtep is None:
        return delete_fdb(ifindex, entry.mac)
    return put_fdb(ifindex, entry.mac, entry.vtep)


def _error(operation: Operation, reply: NetlinkMessage) -> ReconcilerError | None:
    is_done = not reply.errno or (operation.action is Action.DELETE and reply.errno in _GONE)
    return None if is_done else netlink_error(reply.errno, operation.describe(), reply.detail)


def _entry(operation: Operation) -> Neighbour | FdbEntry:
    found = operation.object
    assert isinstance(found, (Neighbour, FdbEntry))
    return found


ROWS = tuple(Row(kind, SeenApart(Entries), apply) for kind in (Neighbour, FdbEntry))
