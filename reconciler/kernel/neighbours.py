"""Which neighbour or forwarding entry a message tells of (linux/neighbour.h). Pure; `kinds.neighbours` has the rest."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.rtnetlink import CodecError, attributes, raw

NDA_DST: Final = 1
NDA_LLADDR: Final = 2
AF_BRIDGE: Final = 7
NDMSG: Final = Struct("=BxxxiHBB")


class EntryKey(NamedTuple):
    """Which entry it is. place: the MAC address of a forwarding entry (is_fdb), the address of a neighbour."""

    ifindex: int
    is_fdb: bool
    place: bytes


def entry_key(buffer: bytes, start: int, end: int) -> EntryKey | None:
    """Return which entry a message tells of; None when it has to be looked for among all. Raises CodecError.

    Of MAC addresses that are none of a single station several entries may stand.
    """
    if end - start < NDMSG.size:
        raise CodecError(f"netlink: a neighbour in {end - start} bytes")
    family, ifindex, *_ = NDMSG.unpack_from(buffer, start)
    is_fdb = family == AF_BRIDGE
    place = raw(buffer, attributes(buffer, start + NDMSG.size, end).get(NDA_LLADDR if is_fdb else NDA_DST))
    if not place or (is_fdb and (place[0] & 1 or not any(place))):
        return None
    return EntryKey(ifindex, is_fdb, place)
