"""Who reaches whom on one host or on many, all at once: for each service of each server its clients, as a set of bits.

What `walk` answers depends on a few traits of the networks that client and server are on. Of those who share them one is asked
(`flows`), so that the work grows with networks and services, not with pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from reconciler.model.objects import IPAddress
from reconciler.reach.stand_ins import OF_HOST
from reconciler.reach.values import Answer, Packet, Party, PartyKind, refused
from reconciler.reach.walk import Walk

ANY: Final = "any"
"""Pings and every port; whoever may use this needs no port's own entry."""

ICMP: Final = "icmp"

Bits = int
"""A set of clients: bit n is that of `Reachability.parties[n]`."""


class Manner(StrEnum):
    """As whom the server sees the client."""

    OWN = "with its own address"
    GATEWAY = "as the network's gateway"
    HOST = "masqueraded"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True, order=True)
class Service:
    """What is reached of a server. protocol: `any`, `icmp`, or with ports. ports: the server's own, first and last.

    host_port, host_ip: where the host leads there from; 0 and "" at the server's own addresses.
    """

    version: int
    protocol: str = ANY
    ports: tuple[int, int] = (0, 0)
    host_port: int = 0
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    server: Party
    service: Service


@dataclass(frozen=True, slots=True)
class Question:
    """How a target is asked for. address None: at whatever address of the host."""

    address: IPAddress | None
    protocol: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Each of `clients` reaches this service of each of `servers`; of one that is both nothing is said."""

    parties: tuple[Party, ...]
    bits: Bits
    servers: tuple[Party, ...]
    service: Service
    manner: Manner

    @property
    def clients(self) -> tuple[Party, ...]:
        return tuple(chosen(self.parties, self.bits))


@dataclass(frozen=True, kw_only=True)
class Reachability:
    """parties: sorted. cells: by target, who reaches it. asked: how to ask the walk for the reasons."""

    walk: Walk
    parties: tuple[Party, ...]
    cells: Mapping[Target, Mapping[Manner, Bits]]
    asked: Mapping[Target, tuple[Question, ...]]

    def flows(self) -> tuple[Flow, ...]:
        """Give all that is possible, servers that the same clients reach alike put together."""
        return _grouped(
            self.parties,
            ((target, manner, bits) for target, ways in self.cells.items() for manner, bits in ways.items()),
        )

    def reasons(self, client: Party, target: Target) -> Answer:
        """Say why a client reaches a target, or does not. The target must be one of `asked`."""
        answers = [self.walk.ask(packet) for packet in self.packets(client, target)]
        nowhere = refused(f"{client} of {client.host} shares no network with {target.server} of {target.server.host}")
        return next((answer for answer in answers if answer.server == target.server), [nowhere, *answers][-1])

    def packets(self, client: Party, target: Target) -> tuple[Packet, ...]:
        """Give what a client would send to reach a target: one for each address that it may try.

        On another host that is an address on a network that both share; by all other ways it comes as part of the outside.
        """
        return tuple(
            Packet(client=client, address=address, protocol=each.protocol, port=each.port)
            for each in self.asked[target]
            for address in ((each.address,) if each.address is not None else self._at_host(client, target))
            if client.host == target.server.host or self.walk.sites[client.host].shares(client, address)
        )

    def _at_host(self, client: Party, target: Target) -> Iterable[IPAddress]:
        """Give where a client finds the host: at its networks' gateways; one that has none, at an address of the host's own."""
        site, version = self.walk.sites[target.server.host], target.service.version
        if client.kind is PartyKind.ATTACHMENT:
            return site.gateways_of(client.name, version) if client.host == site.name else ()
        return (OF_HOST[version],)

    @cached_property
    def _index(self) -> Mapping[Party, int]:
        return {party: index for index, party in enumerate(self.parties)}

    def manners(self, client: Party, target: Target) -> frozenset[Manner]:
        """Say how a client reaches a target, by whatever address; nothing when it does not."""
        bit = 1 << self._index[client]
        wide = Target(target.server, Service(target.service.version))
        places = (target,) if target.service.host_port else (target, wide)
        return frozenset(manner for place in places for manner, bits in self.cells.get(place, {}).items() if bits & bit)


def chosen(parties: tuple[Party, ...], bits: Bits) -> Iterator[Party]:
    """Give those whose bits are set."""
    while bits:
        lowest = bits & -bits
        yield parties[lowest.bit_length() - 1]
        bits ^= lowest


def _grouped(parties: tuple[Party, ...], cells: Iterable[tuple[Target, Manner, Bits]]) -> tuple[Flow, ...]:
    found: dict[tuple[Service, Manner, Bits], list[Party]] = {}
    for target, manner, bits in cells:
        if bits:
            found.setdefault((target.service, manner, bits), []).append(target.server)
    return tuple(
        Flow(parties=parties, bits=bits, servers=tuple(sorted(servers)), service=service, manner=manner)
        for (service, manner, bits), servers in found.items()
    )


# --- what a change gives and takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """gained: what was not possible by any address. lost: what is no longer. A flow that only goes another way is in neither."""

    gained: tuple[Flow, ...]
    lost: tuple[Flow, ...]


def compared(before: Reachability, after: Reachability) -> Change:
    """Say which flows a change gives and takes."""
    parties = tuple(sorted({*before.parties, *after.parties}))
    place = {party: index for index, party in enumerate(parties)}
    old, new = _Numbered(before, place), _Numbered(after, place)
    return Change(gained=_grouped(parties, new.beside(old)), lost=_grouped(parties, old.beside(new)))


class _Numbered:
    """The cells of a reachability in another numbering of the parties."""

    def __init__(self, reachability: Reachability, place: Mapping[Party, int]) -> None:
        self._runs = tuple(_runs([place[party] for party in reachability.parties]))
        self._moved: dict[Bits, Bits] = {}
        self.cells = {
            target: {manner: self._in_place(bits) for manner, bits in ways.items()}
            for target, ways in reachability.cells.items()
        }
        self._reached = {_unbound(target): 0 for target in self.cells}
        for target, ways in self.cells.items():
            for bits in ways.values():
                self._reached[_unbound(target)] |= bits

    def _in_place(self, bits: Bits) -> Bits:
        found = self._moved.get(bits)
        if found is None:
            found = 0
            for first, length, to in self._runs:
                found |= (bits >> first & (1 << length) - 1) << to
            self._moved[bits] = found
        return found

    def beside(self, other: _Numbered) -> Iterator[tuple[Target, Manner, Bits]]:
        """Give what is here and not there. What is there for every port is there for one."""
        for target, ways in self.cells.items():
            unbound = _unbound(target)
            there = other._reached.get(unbound, 0)
            if not target.service.host_port:
                there |= other._reached.get(Target(target.server, Service(target.service.version)), 0)
            for manner, bits in ways.items():
                yield unbound, manner, bits & ~there


def _unbound(target: Target) -> Target:
    """Give the target whatever address of the host leads there."""
    service = target.service
    if not service.host_ip:
        return target
    return Target(target.server, Service(service.version, service.protocol, service.ports, service.host_port))


def _runs(places: list[int]) -> Iterator[tuple[int, int, int]]:
    """Give first place, length and new place of what moves together."""
    first = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] != places[index - 1] + 1:
            yield first, index - first, places[first]
            first = index
