"""Makes a `Reachability` of a walk: which clients are alike to a server, and one question for each kind of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import Final

from msgspec import Struct

from reconciler.model.desired import PortBinding
from reconciler.model.objects import IPAddress
from reconciler.reach.askers import Askers
from reconciler.reach.members import Members
from reconciler.reach.places import Clients, Member, Server
from reconciler.reach.reachability import (
    ANY,
    ICMP,
    Bits,
    FlowQuestion,
    Manner,
    Reachability,
    Service,
    Target,
    chosen,
)
from reconciler.reach.site import Site
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE, with_stand_ins
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer
from reconciler.reach.walk import Walk

_UNPUBLISHED: Final = 0
"""What holds for this port holds for all that nobody publishes."""

_Ways = dict[Manner, Bits]


def reachability(walk: Walk) -> Reachability:
    """Return who reaches whom, of all parties of all hosts.

    A host without an address of its own is asked at one that stands for it.
    """
    walk = with_stand_ins(walk)
    own = {name: tuple(sorted({*_parties(site)})) for name, site in walk.sites.items()}
    parties = tuple(sorted({*chain.from_iterable(own.values())}))
    index = {party: number for number, party in enumerate(parties)}
    cells: dict[Target, _Ways] = {}
    asked: dict[Target, list[FlowQuestion]] = defaultdict(list)
    for name, site in walk.sites.items():
        for version in (4, 6):
            who = Members(walk=walk, site=site, version=version, parties=parties, own=own[name], index=index)
            for target, question, ways in _Family(who=who, clients=Askers(who=who)).all():
                asked[target].append(question)
                known = cells.setdefault(target, {})
                for manner, bits in ways.items():
                    known[manner] = known.get(manner, 0) | bits
    return Reachability(
        walk=walk, parties=parties, cells=cells, asked={target: tuple(found) for target, found in asked.items()}
    )


def _parties(site: Site) -> Iterator[Party]:
    yield Party(PartyKind.HOST, site.name)
    yield Party(PartyKind.OUTSIDE, site.name)
    named = {name for network in site.bridged for name in network.wanted.bridge_options.trusted_host_interfaces}
    for name in named - {network.link_name for network in site.bridged}:
        yield Party(PartyKind.OUTSIDE, site.name, name)
    for attachment in site.desired.members:
        yield site.party(attachment)


class _Family(Struct, frozen=True, kw_only=True, dict=True):
    """One address family: the flows to parties of one host, and from there to the outside."""

    who: Members
    clients: Askers

    def all(self) -> Iterator[tuple[Target, FlowQuestion, _Ways]]:
        yield self._to_outside()
        yield from self._to_host()
        for member in self.who.members:
            yield from self._to_member(member)
            for binding in member.endpoint.ports:
                if binding.host_port and binding.host_ip.version == self.who.version:
                    yield self._published(member, binding)

    # --- answers

    @cached_property
    def _answers(self) -> dict[Hashable, Manner | None]:
        return {}

    @cached_property
    def _found(self) -> dict[Hashable, tuple[object, _Ways]]:
        """Return ways by kind of server, clients and probe; the clients are kept, so that none others have their id."""
        return {}

    def _ways(
        self,
        target: Party,
        server: Server | None,
        question: FlowQuestion,
        probe: Hashable,
        clients: tuple[Clients, ...],
    ) -> _Ways:
        server_kind = server.kind if server is not None else target.kind
        known = self._found.get((server_kind, id(clients), probe))
        if known is not None:
            return known[1]
        ways: _Ways = {}
        itself, is_whole = 1 << self.who.index[target], True
        for each in clients:
            key = (server_kind, each.kind, probe)
            if key not in self._answers:
                sample = (each.sample or each.bits) & ~itself
                if not sample:
                    is_whole = False
                    continue
                client = next(chosen(self.who.parties, sample))
                self._answers[key] = self._manner(target, server, question, client, each.at)
            manner = self._answers[key]
            if manner is not None:
                ways[manner] = ways.get(manner, 0) | each.bits
        if is_whole:
            self._found[server_kind, id(clients), probe] = clients, ways
        return ways

    def _manner(
        self, target: Party, server: Server | None, question: FlowQuestion, client: Party, at: IPAddress | None
    ) -> Manner | None:
        address = question.address if question.address is not None else at
        assert address is not None
        packet = Packet(client=client, address=address, protocol=question.protocol, port=question.port)
        network = server.member.endpoint.network if server is not None else None
        return manner_of(self.who.walk, self.who.walk.ask(packet), packet, target, network)

    # --- flows

    def _to_outside(self) -> tuple[Target, FlowQuestion, _Ways]:
        target = Party(PartyKind.OUTSIDE, self.who.site.name)
        question = FlowQuestion(OUTSIDE[self.who.version], "tcp", _UNPUBLISHED)
        mine = [each for each in self.clients.of(OUTSIDE[self.who.version], None) if each not in self.who.outsides]
        ways = self._ways(target, None, question, "", (*mine, self.who.host))
        return Target(target, Service(self.who.version)), question, ways

    def _to_host(self) -> Iterator[tuple[Target, FlowQuestion, _Ways]]:
        target = Party(PartyKind.HOST, self.who.site.name)
        at_own = FlowQuestion(OF_HOST[self.who.version], "tcp", _UNPUBLISHED)
        at_gateway = FlowQuestion(None, "tcp", _UNPUBLISHED)
        own = self._ways(target, None, at_own, "own", self.clients.of(OF_HOST[self.who.version], None))
        by_gateway = tuple(self.clients.from_afar(self.who.with_gateway, None))
        near = self._ways(target, None, at_gateway, "gateway", by_gateway)
        yield Target(target, Service(self.who.version)), at_own, own
        yield Target(target, Service(self.who.version)), at_gateway, near

    def _to_member(self, member: Member) -> Iterator[tuple[Target, FlowQuestion, _Ways]]:
        """Yield flows to an address of its own: whatever is asked, pings, ports that are published or linked to."""
        target, server = self.who.site.party(member.attachment), self.who.server(member)
        address = member.address
        clients = self._with_host(self.clients.of(address, server))
        question = FlowQuestion(address, "tcp", _UNPUBLISHED)
        always = self._ways(target, server, question, ANY, clients)
        yield Target(target, Service(self.who.version)), question, always
        question = FlowQuestion(address, ICMP, _UNPUBLISHED)
        pings = self._ways(target, server, question, ICMP, clients)
        yield Target(target, Service(self.who.version, ICMP)), question, _beyond(pings, always)
        linked = self._linked.get(address, ())
        rest = _without(clients, (bit for bit, _ in linked))
        for protocol, port in sorted(self._targets(member)):
            question = FlowQuestion(address, protocol, port)
            is_routed, is_mapped = (
                self.who.site.publication_of(address, protocol, port, is_translated=each) is not None
                for each in (False, True)
            )
            ours = tuple(Clients((bit, address, port, protocol), bit) for bit, _ in linked)
            who = (*rest, *ours) if ours else rest
            ways = self._ways(target, server, question, (is_routed, is_mapped), who)
            yield Target(target, Service(self.who.version, protocol, (port, port))), question, _beyond(ways, always)
        for bit, (first, last, protocol) in linked:
            question = FlowQuestion(address, protocol, first)
            who = (Clients((bit, address, first, protocol), bit),)
            ways = self._ways(target, server, question, "linked", who)
            yield Target(target, Service(self.who.version, protocol, (first, last))), question, _beyond(ways, always)

    def _with_host(self, clients: tuple[Clients, ...]) -> tuple[Clients, ...]:
        return self._all.setdefault(id(clients), (*clients, self.who.host))

    @cached_property
    def _all(self) -> dict[int, tuple[Clients, ...]]:
        return {}

    def _targets(self, member: Member) -> set[tuple[str, int]]:
        ports = (one for one in member.endpoint.ports if one.host_ip.version == self.who.version)
        return {(one.protocol, one.target) for one in ports}

    @cached_property
    def _linked(self) -> dict[IPAddress, list[tuple[Bits, tuple[int, int, str]]]]:
        found: dict[IPAddress, list[tuple[Bits, tuple[int, int, str]]]] = defaultdict(list)
        for attachment in self.who.site.desired.members:
            bit = 1 << self.who.index[self.who.site.party(attachment)]
            for link in attachment.links:
                address = link.ipv4 if self.who.version == 4 else link.ipv6
                if address is not None:
                    found[address] += [(bit, ports) for ports in link.ports]
        return found

    def _published(self, member: Member, binding: PortBinding) -> tuple[Target, FlowQuestion, _Ways]:
        """Return flows by an address of the host; where all of them are published, also by the gateway of one's own network."""
        target, server = self.who.site.party(member.attachment), self.who.server(member)
        is_everywhere = binding.host_ip.is_unspecified
        address = OF_HOST[self.who.version] if is_everywhere else binding.host_ip
        found = self.who.site.published(address, binding.protocol, binding.host_port)
        probe = ("published", found is not None and found.binding == binding, is_everywhere)
        question = FlowQuestion(None if is_everywhere else address, binding.protocol, binding.host_port)
        ways = self._ways(target, server, question, probe, self._askers_of(binding, address, server))
        service = Service(
            self.who.version,
            binding.protocol,
            (binding.target, binding.target),
            binding.host_port,
            "" if is_everywhere else str(address),
        )
        return Target(target, service), question, ways

    def _askers_of(self, binding: PortBinding, address: IPAddress, server: Server) -> tuple[Clients, ...]:
        is_ours = self.who.site.home_of(address) is not None
        kind = ("host", address, server.member.attachment.name) if is_ours else ("host", address.is_loopback)
        host = self.who.host._replace(kind=kind, at=address)
        if address.is_loopback:
            return (host,)
        if not binding.host_ip.is_unspecified:
            return (host, *self.clients.of(address, server))
        others = self.clients.at_host(address, server)
        return (host, *others) if is_ours else self._by_ports.setdefault(id(others), (host, *others))

    @cached_property
    def _by_ports(self) -> dict[int, tuple[Clients, ...]]:
        return {}


def manner_of(walk: Walk, answer: ReachAnswer, packet: Packet, target: Party, network: str | None) -> Manner | None:
    """Return as whom the target sees the client; None when somebody else answers, or nobody. network: the target's, asked on."""
    if not answer.is_known:
        return Manner.UNKNOWN
    if answer.server != target:
        return None
    seen, client = answer.seen_as, packet.client
    if seen is None:
        return Manner.HOST if client.kind is PartyKind.ATTACHMENT else Manner.OWN
    site = walk.sites[target.host]
    if network is not None and seen in (subnet.gateway for subnet in site.networks[network].subnets):
        return Manner.GATEWAY
    if client.kind is PartyKind.ATTACHMENT and seen not in walk.sites[client.host].addresses_of(client.name):
        return Manner.HOST
    return Manner.OWN


def _without(clients: tuple[Clients, ...], bits: Iterable[Bits]) -> tuple[Clients, ...]:
    left_out = sum(set(bits))
    if not left_out:
        return clients
    return tuple(
        each._replace(bits=each.bits & ~left_out, sample=each.sample & ~left_out)
        for each in clients
        if each.bits & ~left_out
    )


def _beyond(ways: _Ways, always: _Ways) -> _Ways:
    """Leave out those to whom everything is open."""
    left_out: Bits = 0
    for bits in always.values():
        left_out |= bits
    return {manner: bits & ~left_out for manner, bits in ways.items() if bits & ~left_out}
