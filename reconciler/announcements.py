"""Which addresses answer at a MAC at which they did not before, so that neighbours who remember must be told. Pure.

They would find out by themselves, but only after asking the old one in vain for up to a minute (neigh_timer_handler in
net/core/neighbour.c). Seen in what was there before a change and after it: a MAC that was changed, an address that moved to another
member, here or on another host, and one that is new on a segment that was there: who had it when it was there before is not known,
and neighbours remember that longer than we do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Bridge, IPAddress, Key, Macvlan, Neighbour, Seen, VethPair, Vxlan

Place = tuple[NsRef, str]
"""A link: its namespace, and its name there."""


class Answer(NamedTuple):
    """Who answers for an address: with which MAC, and by which link that is told to the segment."""

    mac: str
    teller: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """segment: our bridge, or the parent of macvlan links, where it is to be known."""

    segment: Place
    address: IPAddress
    answer: Answer


def announcements(before: Mapping[Key, Seen], after: Mapping[Key, Seen]) -> tuple[Announcement, ...]:
    """Compare what was seen before a change with what was seen after it.

    On a segment that is new nobody remembers anything; an address that only went is told to nobody.
    """
    if before is after:
        return ()
    old, new = _answers(before), _answers(after)
    known = {segment for segment, _ in old}
    return tuple(
        Announcement(segment=segment, address=address, answer=answer)
        for (segment, address), answer in new.items()
        if segment in known and _mac(old.get((segment, address))) != answer.mac
    )


def _mac(answer: Answer | None) -> str | None:
    return None if answer is None else answer.mac


def _answers(seen: Mapping[Key, Seen]) -> Mapping[tuple[Place, IPAddress], Answer]:
    """Return who answers for each address of our segments, as far as our own objects tell."""
    ends: dict[Place, tuple[Place, str]] = {}
    masters: dict[Place, Place] = {}
    addresses: list[Address] = []
    elsewhere: list[Neighbour] = []
    for found in seen.values():
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
    addresses: list[Address], ends: Mapping[Place, tuple[Place, str]]
) -> Iterator[tuple[tuple[Place, IPAddress], Answer]]:
    for address in addresses:
        end = ends.get((address.ns, address.ifname))
        if end is not None and end[1]:
            segment, mac = end
            yield (segment, address.interface.ip), Answer(mac=mac, teller=(address.ns, address.ifname))


def _far(
    neighbours: list[Neighbour], masters: Mapping[Place, Place]
) -> Iterator[tuple[tuple[Place, IPAddress], Answer]]:
    """What broadcasts do not cross, the bridge on this side tells in the name of those on the other."""
    for neighbour in neighbours:
        bridge = masters.get((neighbour.ns, neighbour.ifname))
        if bridge is not None:
            yield (bridge, neighbour.address), Answer(mac=neighbour.mac, teller=bridge)
