"""Who reaches whom on one host or on many, all at once: for each service of each server its clients, as a set of bits.

What `walk` answers depends on a few traits of the networks that client and server are on. Of those who share them one is asked
(`flows`), so that the work grows with networks and services, not with pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_address
from typing import Final

from msgspec import Struct

from reconciler.model.objects import IPAddress
from reconciler.model.words import before_port
from reconciler.reach.stand_ins import OF_HOST
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer, StepKind, refused
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


class Service(Struct, frozen=True, order=True):
    """What is reached of a server. protocol: `any`, `icmp`, or with ports. ports: the server's own, first and last.

    host_port, host_ip: where the host leads there from; 0 and "" at the server's own addresses.
    """

    version: int
    protocol: str = ANY
    ports: tuple[int, int] = (0, 0)
    host_port: int = 0
    host_ip: str = ""

    @property
    def what(self) -> str:
        """Return the port in words, "pings", or "" for all."""
        if self.protocol in (ANY, ICMP):
            return "" if self.protocol == ANY else "pings"
        first, last = self.ports
        return f"{first}/{self.protocol}" if first == last else f"{first}-{last}/{self.protocol}"

    @property
    def published(self) -> str:
        """Return where the host leads there from, in words, "" at the server's own addresses."""
        if not self.host_port:
            return ""
        at = f"{before_port(ip_address(self.host_ip))}:" if self.host_ip else ""
        return f"published at {at}{self.host_port}"


class Target(Struct, frozen=True):
    server: Party
    service: Service


Cell = tuple[Target, Manner, Bits, Manner | None]
"""What some clients reach and how, and how before."""


class FlowQuestion(Struct, frozen=True):
    """How a target is asked for. address None: at whatever address of the host."""

    address: IPAddress | None
    protocol: str
    port: int


class Flow(Struct, frozen=True, kw_only=True):
    """Each of `clients` reaches this service of each of `servers`; of one that is both nothing is said.

    was: how they reached it before, where that is what changes.
    """

    parties: tuple[Party, ...]
    bits: Bits
    servers: tuple[Party, ...]
    service: Service
    manner: Manner
    was: Manner | None = None

    @property
    def clients(self) -> tuple[Party, ...]:
        return tuple(chosen(self.parties, self.bits))


class Reachability(Struct, frozen=True, kw_only=True, dict=True):
    """parties: sorted. cells: by target, who reaches it. asked: how to ask the walk for the reasons."""

    walk: Walk
    parties: tuple[Party, ...]
    cells: Mapping[Target, Mapping[Manner, Bits]]
    asked: Mapping[Target, tuple[FlowQuestion, ...]]

    def flows(self) -> tuple[Flow, ...]:
        """Return all that is possible, servers that the same clients reach alike put together."""
        cells = ((target, manner, bits, None) for target, ways in self.cells.items() for manner, bits in ways.items())
        return grouped(self.parties, cells)

    def reasons(self, client: Party, target: Target) -> ReachAnswer:
        """Return why a client reaches a target, or does not. The target must be one of `asked`."""
        answers = [self.walk.ask(packet) for packet in self.packets(client, target)]
        nowhere = refused(
            f"{client} of {client.host} shares no network with {target.server} of {target.server.host}",
            StepKind.NETWORK,
        )
        return next((answer for answer in answers if answer.server == target.server), [nowhere, *answers][-1])

    def packets(self, client: Party, target: Target) -> tuple[Packet, ...]:
        """Return what a client would send to reach a target: one for each address that it may try.

        On another host that is an address on a network that both share; by all other ways it comes as part of the outside.
        """
        return tuple(
            Packet(client=client, address=address, protocol=each.protocol, port=each.port)
            for each in self.asked[target]
            for address in ((each.address,) if each.address is not None else self._at_host(client, target))
            if client.host == target.server.host or self.walk.sites[client.host].shares(client, address)
        )

    def _at_host(self, client: Party, target: Target) -> Iterable[IPAddress]:
        """Return where a client finds the host: at its networks' gateways; one that has none, at an address of the host's own."""
        site, version = self.walk.sites[target.server.host], target.service.version
        if client.kind is PartyKind.ATTACHMENT:
            return site.gateways_of(client.name, version) if client.host == site.name else ()
        return (OF_HOST[version],)

    @cached_property
    def _index(self) -> Mapping[Party, int]:
        return {party: index for index, party in enumerate(self.parties)}

    def manners(self, client: Party, target: Target) -> frozenset[Manner]:
        """Return how a client reaches a target, by whatever address; nothing when it does not."""
        bit = 1 << self._index[client]
        wide = Target(target.server, Service(target.service.version))
        places = (target,) if target.service.host_port else (target, wide)
        return frozenset(manner for place in places for manner, bits in self.cells.get(place, {}).items() if bits & bit)


def chosen(parties: tuple[Party, ...], bits: Bits) -> Iterator[Party]:
    """Yield those whose bits are set."""
    while bits:
        lowest = bits & -bits
        yield parties[lowest.bit_length() - 1]
        bits ^= lowest


def grouped(parties: tuple[Party, ...], cells: Iterable[Cell]) -> tuple[Flow, ...]:
    """Put servers together that the same clients reach alike."""
    found: dict[tuple[Service, Manner, Bits, Manner | None], list[Party]] = {}
    for target, manner, bits, was in cells:
        if bits:
            found.setdefault((target.service, manner, bits, was), []).append(target.server)
    return tuple(
        Flow(parties=parties, bits=bits, servers=tuple(sorted(set(servers))), service=service, manner=manner, was=was)
        for (service, manner, bits, was), servers in found.items()
    )
