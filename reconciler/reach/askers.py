"""Who may ask an address: neighbours, those who come by the host, the outside; each kind of them once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from functools import cached_property

from msgspec import Struct

from reconciler.model.objects import IPAddress
from reconciler.reach.members import Members
from reconciler.reach.places import Clients, ReachPlace, Server, Some
from reconciler.reach.reachability import Bits


class Askers(Struct, frozen=True, kw_only=True, dict=True):
    """Finds them among those that there are."""

    who: Members

    def _neighbours(
        self, address: IPAddress, places: tuple[ReachPlace, ...], server: Server | None
    ) -> Iterator[Clients]:
        """Yield those with an address in a subnet that this one is in, by the first such place that they are in."""
        nearest = ((place, self.who.near[place]) for place in places) if len(places) < 2 else self._by_first(places)
        for place, bits in nearest:
            relation = server.relation(place) if server is not None else ""
            yield Clients(("near", self.who.traits[place.network], place.gateway == address, relation), bits)

    def _places_at(self, address: IPAddress) -> Iterator[ReachPlace]:
        number, bits = int(address), address.max_prefixlen
        for length in self._lengths:
            yield from self._places_of.get((length, number >> bits - length), ())

    @cached_property
    def _places_of(self) -> dict[tuple[int, int], list[ReachPlace]]:
        """Return by prefix length and prefix."""
        found: dict[tuple[int, int], list[ReachPlace]] = defaultdict(list)
        for place in self.who.near:
            net = place.subnet
            found[net.prefixlen, int(net.network_address) >> net.max_prefixlen - net.prefixlen].append(place)
        return found

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({length for length, _ in self._places_of}))

    def _by_first(self, places: tuple[ReachPlace, ...]) -> tuple[tuple[ReachPlace, Bits], ...]:
        known = self._firsts.get(places)
        if known is not None:
            return known
        found: dict[ReachPlace, Bits] = {}
        for bit, order in self._order:
            first = next((place for place in order if place in places), None)
            if first is not None:
                found[first] = found.get(first, 0) | bit
        return self._firsts.setdefault(places, tuple(found.items()))

    @cached_property
    def _firsts(self) -> dict[tuple[ReachPlace, ...], tuple[tuple[ReachPlace, Bits], ...]]:
        return {}

    @cached_property
    def _order(self) -> tuple[tuple[Bits, tuple[ReachPlace, ...]], ...]:
        """Return of each that may be a neighbour here where it is, in the order in which it looks."""
        found: dict[Bits, tuple[ReachPlace, ...]] = {}
        for site in self.who.walk.sites.values():
            for member in self.who.of(site, site.networks.keys() & self.who.site.networks.keys()):
                found[member.bit] = (*found.get(member.bit, ()), member.place)
        return tuple(found.items())

    def from_afar(self, some: Some, server: Server | None, *, left_out: Bits = 0) -> Iterator[Clients]:
        """Yield those who come by the host; one by one the networks that the server is on, by kind the others."""
        own = [way for name in server.networks for way in some.of_network.get(name, ())] if server else []
        for way in own:
            assert server is not None
            bits = some.bits[way] & ~left_out
            if bits:
                yield Clients(("own", some.kinds[way], server.relation(way.place)), bits, bits, way.gateway)
        for kind, ways in some.of_kind.items():
            is_touched = any(some.kinds[way] == kind for way in own)
            rest = [way for way in ways if way not in own] if is_touched else ways
            bits = (some.union(rest) if is_touched else some.bits_of_kind[kind]) & ~left_out
            if bits:
                sample = next(way for way in rest if some.bits[way] & ~left_out)
                yield Clients(("far", kind), bits, some.bits[sample] & ~left_out, sample.gateway)

    def of(self, address: IPAddress, server: Server | None) -> tuple[Clients, ...]:
        """Return all that may ask an address, but for the host: neighbours, those who come by the host, the outside.

        The same tuple for all that the same may ask.
        """
        places = tuple(self._places_at(address))
        key = (places, tuple(place.gateway == address for place in places), server and server.alike)
        if key not in self._known:
            self._known[key] = tuple(self._found(address, places, server))
        return self._known[key]

    @cached_property
    def _known(self) -> dict[Hashable, tuple[Clients, ...]]:
        return {}

    def _found(self, address: IPAddress, places: tuple[ReachPlace, ...], server: Server | None) -> Iterator[Clients]:
        near: Bits = 0
        for clients in self._neighbours(address, places, server):
            near |= clients.bits
            yield clients
        yield from self.from_afar(self.who.leaving, server, left_out=near)
        yield from self.who.outsides

    def at_host(self, address: IPAddress, server: Server) -> tuple[Clients, ...]:
        """Return all that may ask the host itself, at an address that stands for all of its own: the same tuple as above."""
        key = ("at host", address, server.alike)
        if key not in self._known:
            outsides = (clients._replace(at=address) for clients in self.who.outsides)
            self._known[key] = (*self.from_afar(self.who.with_gateway, server), *outsides)
        return self._known[key]
