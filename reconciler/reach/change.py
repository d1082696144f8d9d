"""What a change gives and takes of all that is possible, and what goes on in another manner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from msgspec import Struct

from reconciler.reach.reachability import Bits, Cell, Flow, Manner, Reachability, Service, Target, grouped
from reconciler.reach.values import Party


class Change(Struct, frozen=True, kw_only=True):
    """gained: what was not possible by any address. lost: what is no longer. altered: what goes on, but is seen in another manner.

    What becomes known or unknown is in both gained and lost, once with its manner and once as not known.
    """

    gained: tuple[Flow, ...] = ()
    lost: tuple[Flow, ...] = ()
    altered: tuple[Flow, ...] = ()


def compared(before: Reachability, after: Reachability) -> Change:
    """Return which flows a change gives, takes and alters."""
    parties = tuple(sorted({*before.parties, *after.parties}))
    place = {party: index for index, party in enumerate(parties)}
    old, new = _Numbered(before, place), _Numbered(after, place)
    return Change(
        gained=grouped(parties, new.beside(old)),
        lost=grouped(parties, old.beside(new)),
        altered=grouped(parties, new.altered(old)),
    )


class _Numbered:
    """The cells of a reachability in another numbering of the parties."""

    def __init__(self, reachability: Reachability, place: Mapping[Party, int]) -> None:
        self._runs = tuple(_runs([place[party] for party in reachability.parties]))
        self._moved: dict[Bits, Bits] = {}
        self._cells = {
            target: {manner: self._in_place(bits) for manner, bits in ways.items()}
            for target, ways in reachability.cells.items()
        }
        self._ways: defaultdict[Target, dict[Manner, Bits]] = defaultdict(dict)
        self._known: defaultdict[Target, Bits] = defaultdict(int)
        for target, ways in self._cells.items():
            unbound = _unbound(target)
            for manner, bits in ways.items():
                self._ways[unbound][manner] = self._ways[unbound].get(manner, 0) | bits
                self._known[unbound] |= bits if manner is not Manner.UNKNOWN else 0

    def _in_place(self, bits: Bits) -> Bits:
        found = self._moved.get(bits)
        if found is None:
            found = 0
            for first, length, to in self._runs:
                found |= (bits >> first & (1 << length) - 1) << to
            self._moved[bits] = found
        return found

    def beside(self, other: _Numbered) -> Iterator[Cell]:
        """Yield what is here and not there."""
        for target, ways in self._cells.items():
            known, unknown = other._reached(target), self._reached(target) | other._unknown(target)
            for manner, bits in ways.items():
                yield target, manner, bits & ~(unknown if manner is Manner.UNKNOWN else known), None

    def _reached(self, target: Target) -> Bits:
        """Return those who reach a target for sure. What is open for every port, or at the server's own address, is so for one."""
        found = self._known.get(_unbound(target), 0)
        return found if target == _wide(target) else found | self._directly(target)

    def _directly(self, target: Target) -> Bits:
        return self._known.get(_wide(target), 0) | self._known.get(_direct(target), 0)

    def _unknown(self, target: Target) -> Bits:
        return self._ways.get(_unbound(target), {}).get(Manner.UNKNOWN, 0)

    def altered(self, before: _Numbered) -> Iterator[Cell]:
        """Yield what was there before, but in another manner, for those who have no other way."""
        for target, ways in self._ways.items():
            old = before._ways.get(target)
            if old is None or old == ways:
                continue
            same = before._directly(target) & self._directly(target) if target.service.host_port else 0
            for manner, bits in ways.items():
                same |= bits & old.get(manner, 0)
            for manner, was in _known_pairs(ways, old):
                yield target, manner, ways[manner] & old[was] & ~same, was


def _known_pairs(ways: Mapping[Manner, Bits], old: Mapping[Manner, Bits]) -> Iterator[tuple[Manner, Manner]]:
    for manner in ways:
        for was in old:
            if manner is not was and Manner.UNKNOWN not in (manner, was):
                yield manner, was


def _unbound(target: Target) -> Target:
    """Return the target whatever address of the host leads there."""
    service = target.service
    if not service.host_ip:
        return target
    return Target(target.server, Service(service.version, service.protocol, service.ports, service.host_port))


def _direct(target: Target) -> Target:
    """Return the same port at the server's own address."""
    service = target.service
    return Target(target.server, Service(service.version, service.protocol, service.ports))


def _wide(target: Target) -> Target:
    return Target(target.server, Service(target.service.version))


def _runs(places: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield first place, length and new place of what moves together."""
    first = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] != places[index - 1] + 1:
            yield first, index - first, places[first]
            first = index
