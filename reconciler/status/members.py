"""Who is listed on one network, in pieces of text: of thousands a change makes few anew. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.model.objects import IPNetwork

LISTED_DEPTH: Final = 3
"""Of the members of `Containers` in the array that is printed."""

_BEFORE: Final = ",\n" + LISTED_DEPTH * "    "
_BEGINNING: Final = 2
"""Ids with so many characters in common are put together: hexadecimal ones make 256 pieces."""

Place = tuple[bool, str]
"""Where one is listed: behind those of this host, and by the id."""


class Listed(Struct, frozen=True):
    """An endpoint as its network's document lists it. text: the member of `Containers`; ipv4, ipv6: its addresses as numbers."""

    text: str
    ipv4: int | None
    ipv6: int | None


class Taken:
    """The addresses of a network's members that are in one pool."""

    def __init__(self, pool: IPNetwork, members: Iterable[Listed]) -> None:
        self._version, self._first, self._last = pool.version, int(pool[0]), int(pool[-1])
        self._counts: Counter[int] = Counter()
        for each in members:
            self.count(each, 1)

    def count(self, each: Listed, by: int) -> None:
        address = each.ipv4 if self._version == 4 else each.ipv6
        if address is not None and self.is_inside(address):
            self._counts[address] += by
            if not self._counts[address]:
                del self._counts[address]

    def is_inside(self, address: int) -> bool:
        return self._first <= address <= self._last

    def with_others(self, addresses: Iterable[int]) -> int:
        """Return how many there are with these, each named once."""
        return len(self._counts) + sum(address not in self._counts for address in addresses)


class Members:
    """Those listed on one network, sorted by place."""

    def __init__(self) -> None:
        self._groups: dict[Place, dict[str, Listed]] = {}
        self._pieces: dict[Place, bytes] = {}
        self._taken: dict[IPNetwork, Taken] = {}

    def __contains__(self, place: Place) -> bool:
        return place[1] in self._groups.get(_group(place), ())

    def put(self, place: Place, listed: Listed) -> None:
        self.drop(place)
        self._groups.setdefault(_group(place), {})[place[1]] = listed
        self._changed(place, listed, 1)

    def drop(self, place: Place) -> bool:
        """Return whether it was there."""
        listed = self._groups.get(_group(place), {}).pop(place[1], None)
        if listed is None:
            return False
        if not self._groups[_group(place)]:
            del self._groups[_group(place)]
        self._changed(place, listed, -1)
        return True

    def pieces(self) -> tuple[bytes, ...]:
        """Return the text of them all but for the brackets around it. A piece that is as before is the very same bytes."""
        known = self._pieces
        found = [known[group] if group in known else self._piece(group) for group in sorted(self._groups)]
        found[:1] = [each.removeprefix(b",") for each in found[:1]]
        return tuple(found)

    def taken(self, pools: Iterable[IPNetwork]) -> Mapping[IPNetwork, Taken]:
        """Return what they have of each pool. It is counted on for those that are asked for each time."""
        known = self._taken
        self._taken = {pool: known.get(pool) or Taken(pool, self._all()) for pool in pools}
        return self._taken

    def _all(self) -> Iterator[Listed]:
        return (each for group in self._groups.values() for each in group.values())

    def _changed(self, place: Place, listed: Listed, by: int) -> None:
        self._pieces.pop(_group(place), None)
        for taken in self._taken.values():
            taken.count(listed, by)

    def _piece(self, group: Place) -> bytes:
        members = self._groups[group]
        found = "".join(f"{_BEFORE}{members[id_].text}" for id_ in sorted(members)).encode()
        self._pieces[group] = found
        return found


def _group(place: Place) -> Place:
    return place[0], place[1][:_BEGINNING]
