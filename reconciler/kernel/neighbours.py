"""Neighbour and forwarding entries of VXLAN devices as rtnetlink messages (linux/neighbour.h). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.rtnetlink import (
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    CodecError,
    Request,
    address_of,
    attribute,
    attributes,
    mac_attribute,
    raw,
)
from reconciler.model.identifiers import PROTOCOL
from reconciler.model.objects import IPAddress

RTM_NEWNEIGH: Final = 28
_RTM_DELNEIGH: Final = 29
_RTM_GETNEIGH: Final = 30
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2
_NDA_CACHEINFO: Final = 3
_NDA_PORT: Final = 6
_NDA_VNI: Final = 7
_NDA_IFINDEX: Final = 8
_NDA_PROTOCOL: Final = 12
_NTF_SELF: Final = 0x02
_NTF_MASTER: Final = 0x04
_NUD_PERMANENT: Final = 0x80

_AF_BRIDGE: Final = 7
_NDMSG: Final = Struct("=BxxxiHBB")
_MAC_SIZE: Final = 6
_ATTRIBUTE: Final = Struct("=HH")


class NeighbourEntry(NamedTuple):
    """A permanent entry. address: that of a neighbour; of a forwarding entry (is_fdb) the VTEP, None when it leads there
    by another port, VNI or link than the device's own. mac: lower case with colons.
    """

    ifindex: int
    mac: str
    address: IPAddress | None
    is_fdb: bool


class EntryKey(NamedTuple):
    """Which entry it is. place: the MAC address of a forwarding entry (is_fdb), the address of a neighbour."""

    ifindex: int
    is_fdb: bool
    place: bytes


def dump_neighbours() -> Request:
    """Ask for the neighbours of all links, both families."""
    return Request(_RTM_GETNEIGH, NLM_F_DUMP, _NDMSG.pack(0, 0, 0, 0, 0))


def dump_fdb() -> Request:
    """Ask for the forwarding entries of all bridges and VXLAN devices."""
    return Request(_RTM_GETNEIGH, NLM_F_DUMP, _NDMSG.pack(_AF_BRIDGE, 0, 0, 0, 0))


def get_entry(key: EntryKey) -> Request:
    """Ask for one; ENOENT when there is none."""
    family = _AF_BRIDGE if key.is_fdb else FAMILIES[4 if len(key.place) == 4 else 6]
    head = _NDMSG.pack(family, key.ifindex, 0, _NTF_SELF if key.is_fdb else 0, 0)
    return Request(_RTM_GETNEIGH, 0, head + attribute(_NDA_LLADDR if key.is_fdb else _NDA_DST, key.place))


def entry_key(buffer: bytes, start: int, end: int) -> EntryKey | None:
    """Return which entry a message tells of; None when it has to be looked for among all. Raises CodecError.

    Of MAC addresses that are none of a single station several entries may stand.
    """
    if end - start < _NDMSG.size:
        raise CodecError(f"netlink: a neighbour in {end - start} bytes")
    family, ifindex, *_ = _NDMSG.unpack_from(buffer, start)
    is_fdb = family == _AF_BRIDGE
    place = raw(buffer, attributes(buffer, start + _NDMSG.size, end).get(_NDA_LLADDR if is_fdb else _NDA_DST))
    if not place or (is_fdb and (place[0] & 1 or not any(place))):
        return None
    return EntryKey(ifindex, is_fdb, place)


def put_neighbour(ifindex: int, address: IPAddress, mac: str) -> Request:
    """Set a neighbour entry, whatever was there before."""
    body = _neighbour(ifindex, address) + mac_attribute(_NDA_LLADDR, mac) + _PROTOCOL
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


_PROTOCOL: Final = attribute(_NDA_PROTOCOL, bytes((PROTOCOL,)))


def delete_neighbour(ifindex: int, address: IPAddress) -> Request:
    return Request(_RTM_DELNEIGH, 0, _neighbour(ifindex, address))


def put_fdb(ifindex: int, mac: str, vtep: IPAddress) -> Request:
    """Set a forwarding entry of a VXLAN device, whatever was there before, a learned one too (moby PR#53663)."""
    body = _fdb(ifindex, mac) + attribute(_NDA_DST, vtep.packed)
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def delete_fdb(ifindex: int, mac: str) -> Request:
    """Delete it from the bridge family's table, not the neighbours' (moby PR#50236), wherever it leads."""
    return Request(_RTM_DELNEIGH, 0, _fdb(ifindex, mac))


def forget_learned(ifindex: int, mac: str) -> Request:
    """Have the bridge that a device is a port of forget that it saw the MAC there."""
    return Request(
        _RTM_DELNEIGH, 0, _NDMSG.pack(_AF_BRIDGE, ifindex, 0, _NTF_MASTER, 0) + mac_attribute(_NDA_LLADDR, mac)
    )


def _neighbour(ifindex: int, address: IPAddress) -> bytes:
    return _NDMSG.pack(FAMILIES[address.version], ifindex, _NUD_PERMANENT, 0, 0) + attribute(_NDA_DST, address.packed)


def _fdb(ifindex: int, mac: str) -> bytes:
    return _NDMSG.pack(_AF_BRIDGE, ifindex, _NUD_PERMANENT, _NTF_SELF, 0) + mac_attribute(_NDA_LLADDR, mac)


def decode_neighbour(buffer: bytes, start: int, end: int) -> NeighbourEntry | None:
    """Read the payload of an RTM_NEWNEIGH; None for what is not permanent, and for what a bridge knows. Raises CodecError."""
    if end - start < 12:
        raise CodecError(f"netlink: a neighbour in {end - start} bytes")
    family, ifindex, state, flags, _ = _NDMSG.unpack_from(buffer, start)
    is_fdb = family == _AF_BRIDGE
    if not state & _NUD_PERMANENT or (is_fdb and not flags & _NTF_SELF):
        return None
    found = attributes(buffer, start + 12, end)
    lower, upper = found.get(_NDA_LLADDR), found.get(_NDA_DST)
    if lower is None or upper is None or lower[1] - lower[0] != _MAC_SIZE:
        return None  # a bridge's own multicast addresses; a neighbour on a link without MAC addresses
    is_plain = not is_fdb or found.keys().isdisjoint((_NDA_PORT, _NDA_VNI, _NDA_IFINDEX))
    address = address_of(raw(buffer, upper)) if is_plain else None
    return NeighbourEntry(ifindex, buffer[lower[0] : lower[1]].hex(":"), address, is_fdb)


class NeighbourDecoder:
    """`decode_neighbour` for one who dumps again: of thousands of entries few are new, the others are the same values as before.

    known: what the last dump told, by what was in its messages. told: the same of this one.
    """

    def __init__(self, known: Mapping[bytes, NeighbourEntry | None]) -> None:
        self._known = known
        self.told: dict[bytes, NeighbourEntry | None] = {}

    def __call__(self, buffer: bytes, start: int, end: int) -> NeighbourEntry | None:
        message = _without_age(buffer, start, end)
        entry = self._known[message] if message in self._known else decode_neighbour(buffer, start, end)
        self.told[message] = entry
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
