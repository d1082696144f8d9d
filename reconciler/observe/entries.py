"""What leads to the endpoints of overlay networks on other hosts, as one namespace has it: of thousands a change touches few."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from reconciler.incremental import Table
from reconciler.kernel.neighbours import (
    EntryKey,
    NeighbourDecoder,
    NeighbourEntry,
    decode_neighbour,
    dump_fdb,
    dump_neighbours,
    get_entry,
)
from reconciler.kernel.netlink import RouteSocket
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import FdbEntry, Key, Neighbour, Seen

Devices = Mapping[int, str]
"""Our VXLAN devices: their names by index."""


class Entries:
    """Whoever made an entry, it is on a link of ours. seen: those that are there."""

    def __init__(self) -> None:
        self.seen: Table[Key, Seen] = Table()
        self._told: Mapping[bytes, NeighbourEntry | None] = {}
        self._known: dict[int, tuple[NeighbourEntry, str, tuple[Key, Seen]]] = {}

    def read(self, ns: NsRef, socket: RouteSocket, devices: Devices) -> None:
        """Ask for all; what has not changed is neither read nor made into an object again."""
        decode = NeighbourDecoder(self._told)
        entries = (*socket.dump(dump_neighbours(), decode), *socket.dump(dump_fdb(), decode))
        self._told = decode.told
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
        self.seen = self.seen.updated(put, (_key(ns, devices[key.ifindex], key) for key in asked))


def _seen(ns: NsRef, ifname: str, entry: NeighbourEntry) -> tuple[Key, Seen]:
    if entry.is_fdb or entry.address is None:
        made: FdbEntry | Neighbour = FdbEntry(ns=ns, ifname=ifname, mac=entry.mac, vtep=entry.address)
    else:
        made = Neighbour(ns=ns, ifname=ifname, address=entry.address, mac=entry.mac)
    return made.key, Seen(made, is_ours=True)


def _key(ns: NsRef, ifname: str, key: EntryKey) -> Key:
    if key.is_fdb:
        return FdbEntry(ns=ns, ifname=ifname, mac=key.place.hex(":"), vtep=None).key
    return Neighbour(ns=ns, ifname=ifname, address=ip_address(key.place), mac="").key
