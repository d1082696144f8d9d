"""Which addresses holder at a MAC at which they did not before, so that neighbours who remember must be told. Pure.

They would find out by themselves, but only after asking the old one in vain for up to a minute (neigh_timer_handler in
net/core/neighbour.c). Seen in what was there before a change and after it: a MAC that was changed, an address that moved to another
member, here or on another host, and one that is new on a segment that was there: who had it when it was there before is not known,
and neighbours remember that longer than we do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from msgspec import Struct

from reconciler.incremental import changed_keys, indexed, only
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    Address,
    Bridge,
    IPAddress,
    Key,
    Macvlan,
    Neighbour,
    Seen,
    VethPair,
    Vxlan,
    seen_differ,
)

LinkRef = tuple[NsRef, str]
"""A link: its namespace, and its name there."""


class AddressHolder(NamedTuple):
    """Who answers for an address: with which MAC, and by which link the segment is informed."""

    mac: str
    sender: LinkRef


class Announcement(Struct, frozen=True, kw_only=True):
    """segment: our bridge, or the parent of macvlan links, where it is to be known."""

    segment: LinkRef
    address: IPAddress
    holder: AddressHolder


def announcements(before: Mapping[Key, Seen], after: Mapping[Key, Seen]) -> tuple[Announcement, ...]:
    """Compare what was seen before a change with what was seen after it.

    On a segment that is new nobody remembers anything; an address that only went is told to nobody.
    """
    changed = changed_keys(before, after, seen_differ)
    found = [(key, seen[key]) for seen in (before, after) for key in changed if key in seen]
    links = {link for each in found for link in _links(*each)}
    if not links:
        return ()
    by_link, ends = indexed(after, _links), {link for each in found for link in _ends(*each)}
    by_end = indexed(after, _ends)  # what else is on a link that is as it was stays
    beside = (key for link in links for key in (by_link if link in ends else by_end).get(link, ()))
    keys = dict.fromkeys((*changed, *beside))
    old, new = _holders(only(before, keys).values()), _holders(only(after, keys).values())
    moved = [
        Announcement(segment=segment, address=address, holder=holder)
        for (segment, address), holder in new.items()
        if _mac(old.get((segment, address))) != holder.mac
    ]
    known = _Known(before, after, changed)
    return tuple(each for each in moved if known.has(each.segment))


class _Known:
    """Tells on which segments somebody answered for an address before. A bridge's own address says so of most."""

    def __init__(self, before: Mapping[Key, Seen], after: Mapping[Key, Seen], changed: Set[Key]) -> None:
        self._before, self._after, self._changed = before, after, changed
        self._segments: dict[LinkRef, bool] = {}

    def has(self, segment: LinkRef) -> bool:
        if segment not in self._segments:
            self._segments[segment] = self._had(segment, {segment}) or self._had(segment, self._links_on(segment))
        return self._segments[segment]

    def _had(self, segment: LinkRef, links: Set[LinkRef]) -> bool:
        by_link = indexed(self._after, _links)
        keys = self._changed | {key for link in links for key in by_link.get(link, ())}
        return any(where == segment for where, _ in _holders(only(self._before, keys).values()))

    def _links_on(self, segment: LinkRef) -> Set[LinkRef]:
        keys = indexed(self._after, _segments).get(segment, ())
        return {link for key in keys for link in _links(key, self._after[key])}


def _segments(key: Key, seen: Seen) -> Iterator[LinkRef]:
    """Yield the segment that a link is on."""
    match seen.object:
        case VethPair(ns=ns, master=master) | Vxlan(ns=ns, master=master):
            yield ns, master
        case Macvlan(parent=parent):
            yield HOST, parent


def _ends(key: Key, seen: Seen) -> Iterator[LinkRef]:
    """Yield the link that an object is, its end in the sandbox of a pair."""
    match seen.object:
        case VethPair(peer_ns=ns, peer_ifname=ifname):
            yield ns, ifname
        case Macvlan() | Bridge() | Vxlan() as found:
            yield found.ns, found.ifname


def _links(key: Key, seen: Seen) -> Iterator[LinkRef]:
    """Yield the link that an object is or stands on."""
    match seen.object:
        case Address() | Neighbour() as found:
            yield found.ns, found.ifname
        case _:
            yield from _ends(key, seen)


def _mac(holder: AddressHolder | None) -> str | None:
    return None if holder is None else holder.mac


def _holders(seen: Iterable[Seen]) -> Mapping[tuple[LinkRef, IPAddress], AddressHolder]:
    """Return who answers for each address of our segments, as far as our own objects tell."""
    ends: dict[LinkRef, tuple[LinkRef, str]] = {}
    masters: dict[LinkRef, LinkRef] = {}
    addresses: list[Address] = []
    elsewhere: list[Neighbour] = []
    for found in seen:
        match found.object:
            case VethPair(ns=ns, master=master, peer_ns=peer_ns, peer_ifname=peer_ifname, peer_mac=mac):
                ends[peer_ns, peer_ifname] = ((ns, master), mac)
            case Macvlan(ns=ns, ifname=ifname, parent=parent, mac=mac):
                ends[ns, ifname] = ((HOST, parent), mac)
            case Bridge(ns=ns, ifname=ifname, mac=mac) if found.is_ours:
                ends[ns, ifname] = ((ns, ifname), mac)
            case Vxlan(ns=ns, ifname=ifname, master=master):
                masters[ns, ifname] = (ns, master)
            case Address() as address:
                addresses.append(address)
            case Neighbour() as neighbour:
                elsewhere.append(neighbour)
    return {**dict(_far(elsewhere, masters)), **dict(_near(addresses, ends))}


def _near(
    addresses: list[Address], ends: Mapping[LinkRef, tuple[LinkRef, str]]
) -> Iterator[tuple[tuple[LinkRef, IPAddress], AddressHolder]]:
    for address in addresses:
        end = ends.get((address.ns, address.ifname))
        if end is not None and end[1]:
            segment, mac = end
            yield (segment, address.interface.ip), AddressHolder(mac=mac, sender=(address.ns, address.ifname))


def _far(
    neighbours: list[Neighbour], masters: Mapping[LinkRef, LinkRef]
) -> Iterator[tuple[tuple[LinkRef, IPAddress], AddressHolder]]:
    """What broadcasts do not cross, the bridge on this side tells in the name of those on the other."""
    for neighbour in neighbours:
        bridge = masters.get((neighbour.ns, neighbour.ifname))
        if bridge is not None:
            yield (bridge, neighbour.address), AddressHolder(mac=neighbour.mac, sender=bridge)
