"""Makes a `Reachability` of a walk: which clients are alike to a server, and one question for each kind of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, PortBinding
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress, IPInterface, IPNetwork
from reconciler.reach.reachability import (
    ANY,
    ICMP,
    Bits,
    Manner,
    Question,
    Reachability,
    Service,
    Target,
    chosen,
)
from reconciler.reach.site import Site, gateway_of, interface_of, way_out
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE, with_stand_ins
from reconciler.reach.values import Answer, Packet, Party, PartyKind
from reconciler.reach.walk import Walk

_UNPUBLISHED: Final = 0
"""What holds for this port holds for all that nobody publishes."""

_Ways = dict[Manner, Bits]


def reachability(walk: Walk) -> Reachability:
    """Say who reaches whom, of all parties of all hosts.

    A host without an address of its own is asked at one that stands for it.
    """
    walk = with_stand_ins(walk)
    parties = tuple(sorted({party for site in walk.sites.values() for party in _parties(site)}))
    index = {party: number for number, party in enumerate(parties)}
    cells: dict[Target, _Ways] = {}
    asked: dict[Target, list[Question]] = defaultdict(list)
    for site in walk.sites.values():
        for version in (4, 6):
            family = _Family(walk=walk, site=site, version=version, parties=parties, index=index)
            for target, question, ways in family.all():
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


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A subnet of a network. gateway: the host's own address there. There is one value for each."""

    network: str
    subnet: IPNetwork
    gateway: IPAddress | None


@dataclass(frozen=True, slots=True, eq=False)
class _WayOut:
    """By which gateway of a place some come to the host."""

    place: _Place
    gateway: IPAddress | None


class _Member(NamedTuple):
    attachment: DesiredAttachment
    endpoint: DesiredEndpoint
    address: IPAddress
    place: _Place
    bit: Bits


class _Clients(NamedTuple):
    """Some that are alike to a server. kind: what their answer depends on.

    sample: who of them may be asked, 0 for any. at: where that one asks, None for where all do.
    """

    kind: Hashable
    bits: Bits
    sample: Bits = 0
    at: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class _Server:
    """What answers depend on of a member that is asked. kind: all but who asks; exactly: it shares that with nobody."""

    member: _Member
    default: str
    places: frozenset[_Place]
    networks: frozenset[str]
    kind: Hashable
    exactly: str

    def relation(self, place: _Place) -> Hashable:
        network = place.network
        is_same = network == self.member.endpoint.network
        return is_same, network == self.default, place in self.places, network in self.networks, self.exactly


@dataclass(frozen=True, kw_only=True)
class _Family:
    """One address family: the flows to parties of one host, and from there to the outside."""

    walk: Walk
    site: Site
    version: int
    parties: tuple[Party, ...]
    index: dict[Party, int]

    def all(self) -> Iterator[tuple[Target, Question, _Ways]]:
        yield self._to_outside()
        yield from self._to_host()
        for member in self._members:
            yield from self._to_member(member)
            for binding in member.endpoint.ports:
                if binding.host_port and binding.host_ip.version == self.version:
                    yield self._published(member, binding)

    # --- who there is

    @cached_property
    def _members(self) -> tuple[_Member, ...]:
        return tuple(self._of(self.site, self.site.networks))

    @cached_property
    def _known(self) -> dict[str, list[_Member]]:
        """Give by network its members on all hosts that share it."""
        found: dict[str, list[_Member]] = defaultdict(list)
        for member in self._members:
            found[member.endpoint.network].append(member)
        shared = {name for name, network in self.site.networks.items() if network.scope == "global"}
        for other in self.walk.sites.values():
            if other is not self.site:
                for member in self._of(other, shared):
                    found[member.endpoint.network].append(member)
        return found

    def _of(self, site: Site, networks: Iterable[str]) -> Iterator[_Member]:
        wanted = frozenset(networks)
        for attachment in site.desired.members:
            bit = 1 << self.index[site.party(attachment)]
            for endpoint in attachment.endpoints:
                interface = interface_of(endpoint, self.version)
                if interface is not None and endpoint.network in wanted:
                    place = self._place(endpoint.network, interface)
                    yield _Member(attachment, endpoint, interface.ip, place, bit)

    def _place(self, network: str, interface: IPInterface) -> _Place:
        known = self._interned.get((network, interface.network))
        if known is None:
            wanted = self.site.networks[network]
            gateway = self.site.gateway(wanted, interface.ip) if wanted.is_bridged and wanted.ns == HOST else None
            known = self._interned[network, interface.network] = _Place(network, interface.network, gateway)
        return known

    @cached_property
    def _interned(self) -> dict[tuple[str, IPNetwork], _Place]:
        return {}

    @cached_property
    def _near(self) -> dict[_Place, Bits]:
        found: dict[_Place, Bits] = defaultdict(int)
        for members in self._known.values():
            for member in members:
                found[member.place] |= member.bit
        return found

    @cached_property
    def _leaving(self) -> _Some:
        """Give those of this host by where their default route leads: each one way."""
        leaving = (member for member in self._members if self._is_default(member))
        return self._by_way((member, gateway_of(member.endpoint, self.version)) for member in leaving)

    @cached_property
    def _with_gateway(self) -> _Some:
        """Give those of this host by the networks whose gateway is the host's, whatever their default route."""
        return self._by_way((member, member.place.gateway) for member in self._members if member.place.gateway)

    def _is_default(self, member: _Member) -> bool:
        return way_out(member.attachment, self.site.networks, self.version) is member.endpoint

    def _by_way(self, members: Iterable[tuple[_Member, IPAddress | None]]) -> _Some:
        found: dict[tuple[_Place, IPAddress | None], Bits] = defaultdict(int)
        for member, gateway in members:
            found[member.place, gateway] |= member.bit
        return _Some((_WayOut(*way), self._kind(*way), bits) for way, bits in found.items())

    def _kind(self, place: _Place, gateway: IPAddress | None) -> int:
        """Number what answers to those depend on who come by a gateway."""
        return self._number((self._traits[place.network], gateway is not None and gateway == place.gateway))

    @cached_property
    def _outsides(self) -> tuple[_Clients, ...]:
        mine = (party for party in self.parties if party.host == self.site.name)
        outside = (party for party in mine if party.kind is PartyKind.OUTSIDE)
        return tuple(_Clients(("outside", party.name), 1 << self.index[party]) for party in outside)

    @cached_property
    def _host(self) -> _Clients:
        return _Clients("host", 1 << self.index[Party(PartyKind.HOST, self.site.name)])

    # --- what answers depend on

    @cached_property
    def _trusted(self) -> frozenset[str]:
        networks = self.site.bridged
        return frozenset(name for each in networks for name in each.wanted.bridge_options.trusted_host_interfaces)

    @cached_property
    def _traits(self) -> dict[str, int]:
        """Give by network all of it that an answer may depend on."""
        return {name: self._number(self._traits_of(name)) for name in self.site.networks}

    def _traits_of(self, name: str) -> Hashable:
        network = self.site.networks[name]
        wanted, options = network.wanted, network.wanted.bridge_options
        return (
            wanted.driver,
            wanted.is_internal,
            wanted.is_source_validated,
            wanted.sublink,
            network.is_bridged and network.ns == HOST,
            options.gateway_mode(self.version),
            options.is_masquerade_enabled,
            options.is_icc_enabled,
            options.is_ipv4_inhibited,
            options.source_address(self.version),
            options.trusted_host_interfaces,
            network.link_name if network.link_name in self._trusted else "",
            frozenset(subnet.gateway is None for subnet in network.subnets),
        )

    @cached_property
    def _overlapping(self) -> dict[IPNetwork, tuple[IPNetwork, ...]]:
        nets = sorted({place.subnet for place in self._near}, key=lambda net: (int(net.network_address), net.prefixlen))
        found: dict[IPNetwork, set[IPNetwork]] = {net: {net} for net in nets}
        open_: list[IPNetwork] = []
        for net in nets:
            open_ = [each for each in open_ if int(each.broadcast_address) >= int(net.network_address)]
            for each in open_:
                found[each].add(net)
                found[net].add(each)
            open_.append(net)
        return {net: tuple(each) for net, each in found.items()}

    @cached_property
    def _awkward(self) -> frozenset[_Place]:
        """Give where a subnet meets another, or has an address that packets of elsewhere come with: nobody is alike there."""
        options = (network.wanted.bridge_options for network in self.site.networks.values())
        sources = {*(each.source_address(self.version) for each in options), *self.site.addresses} - {None}
        return frozenset(
            place
            for place in self._near
            if len(self._overlapping[place.subnet]) > 1 or any(each in place.subnet for each in sources if each)
        )

    def _server(self, member: _Member) -> _Server:
        known = self._servers.get((member.attachment.name, member.place))
        if known is not None:
            return known
        mine = self._members_by_name[member.attachment.name]
        places = frozenset(other.place for other in mine)
        exactly = "" if places.isdisjoint(self._awkward) else member.attachment.name
        default = next((other for other in mine if self._is_default(other)), None)
        kind = (
            self._traits[member.endpoint.network],
            member.place.gateway is not None,
            default is not None and self._kind(default.place, gateway_of(default.endpoint, self.version)),
            default is not None and default.endpoint.network == member.endpoint.network,
            exactly,
        )
        name = "" if default is None else default.endpoint.network
        found = _Server(member, name, places, frozenset(place.network for place in places), self._number(kind), exactly)
        self._servers[member.attachment.name, member.place] = found
        return found

    @cached_property
    def _servers(self) -> dict[tuple[str, _Place], _Server]:
        return {}

    @cached_property
    def _numbers(self) -> dict[Hashable, int]:
        return {}

    def _number(self, kind: Hashable) -> int:
        return self._numbers.setdefault(kind, len(self._numbers))

    @cached_property
    def _members_by_name(self) -> dict[str, list[_Member]]:
        found: dict[str, list[_Member]] = defaultdict(list)
        for member in self._members:
            found[member.attachment.name].append(member)
        return found

    # --- clients of an address

    def _neighbours(self, address: IPAddress, server: _Server | None) -> Iterator[_Clients]:
        """Give those with an address in a subnet that this one is in, by the first such place that they are in."""
        for place, bits in self._nearest(address):
            relation = server.relation(place) if server is not None else ""
            yield _Clients(("near", self._traits[place.network], place.gateway == address, relation), bits)

    def _nearest(self, address: IPAddress) -> tuple[tuple[_Place, Bits], ...]:
        places = tuple(self._places_at(address))
        if len(places) < 2:
            return tuple((place, self._near[place]) for place in places)
        return self._by_first(places)

    def _places_at(self, address: IPAddress) -> Iterator[_Place]:
        number, bits = int(address), address.max_prefixlen
        for length in self._lengths:
            yield from self._places_of.get((length, number >> bits - length), ())

    @cached_property
    def _places_of(self) -> dict[tuple[int, int], list[_Place]]:
        """Give by prefix length and prefix."""
        found: dict[tuple[int, int], list[_Place]] = defaultdict(list)
        for place in self._near:
            net = place.subnet
            found[net.prefixlen, int(net.network_address) >> net.max_prefixlen - net.prefixlen].append(place)
        return found

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({length for length, _ in self._places_of}))

    def _by_first(self, places: tuple[_Place, ...]) -> tuple[tuple[_Place, Bits], ...]:
        known = self._firsts.get(places)
        if known is not None:
            return known
        found: dict[_Place, Bits] = {}
        for bit, order in self._order:
            first = next((place for place in order if place in places), None)
            if first is not None:
                found[first] = found.get(first, 0) | bit
        return self._firsts.setdefault(places, tuple(found.items()))

    @cached_property
    def _firsts(self) -> dict[tuple[_Place, ...], tuple[tuple[_Place, Bits], ...]]:
        return {}

    @cached_property
    def _order(self) -> tuple[tuple[Bits, tuple[_Place, ...]], ...]:
        """Give of each that may be a neighbour here where it is, in the order in which it looks."""
        found: dict[Bits, tuple[_Place, ...]] = {}
        for site in self.walk.sites.values():
            for member in self._of(site, site.networks):
                found[member.bit] = (*found.get(member.bit, ()), member.place)
        return tuple(found.items())

    def _from_afar(self, some: _Some, server: _Server | None, *, left_out: Bits = 0) -> Iterator[_Clients]:
        """Give those who come by the host; one by one the networks that the server is on, by kind the others."""
        own = [way for name in server.networks for way in some.of_network.get(name, ())] if server else []
        for way in own:
            assert server is not None
            bits = some.bits[way] & ~left_out
            if bits:
                yield _Clients(("own", some.kinds[way], server.relation(way.place)), bits, bits, way.gateway)
        for kind, ways in some.of_kind.items():
            is_touched = any(some.kinds[way] == kind for way in own)
            rest = [way for way in ways if way not in own] if is_touched else ways
            bits = (some.union(rest) if is_touched else some.bits_of_kind[kind]) & ~left_out
            if bits:
                sample = next(way for way in rest if some.bits[way] & ~left_out)
                yield _Clients(("far", kind), bits, some.bits[sample] & ~left_out, sample.gateway)

    def _clients_of(self, address: IPAddress, server: _Server | None) -> Iterator[_Clients]:
        """Give all that may ask an address, but for the host: neighbours, those who come by the host, the outside."""
        near: Bits = 0
        for clients in self._neighbours(address, server):
            near |= clients.bits
            yield clients
        yield from self._from_afar(self._leaving, server, left_out=near)
        yield from self._outsides

    # --- answers

    @cached_property
    def _answers(self) -> dict[Hashable, Manner | None]:
        return {}

    def _ways(
        self, target: Party, server: _Server | None, question: Question, probe: Hashable, clients: Iterable[_Clients]
    ) -> _Ways:
        ways: _Ways = {}
        itself = 1 << self.index[target]
        server_kind = server.kind if server is not None else target.kind
        for each in clients:
            key = (server_kind, each.kind, probe)
            if key not in self._answers:
                sample = (each.sample or each.bits) & ~itself
                if not sample:
                    continue
                self._answers[key] = self._manner(target, server, question, next(chosen(self.parties, sample)), each.at)
            manner = self._answers[key]
            if manner is not None:
                ways[manner] = ways.get(manner, 0) | each.bits
        return ways

    def _manner(
        self, target: Party, server: _Server | None, question: Question, client: Party, at: IPAddress | None
    ) -> Manner | None:
        address = question.address if question.address is not None else at
        assert address is not None
        packet = Packet(client=client, address=address, protocol=question.protocol, port=question.port)
        network = server.member.endpoint.network if server is not None else None
        return manner_of(self.walk, self.walk.ask(packet), packet, target, network)

    # --- flows

    def _to_outside(self) -> tuple[Target, Question, _Ways]:
        target = Party(PartyKind.OUTSIDE, self.site.name)
        question = Question(OUTSIDE[self.version], "tcp", _UNPUBLISHED)
        mine = [each for each in self._clients_of(OUTSIDE[self.version], None) if each not in self._outsides]
        ways = self._ways(target, None, question, "", (*mine, self._host))
        return Target(target, Service(self.version)), question, ways

    def _to_host(self) -> Iterator[tuple[Target, Question, _Ways]]:
        target = Party(PartyKind.HOST, self.site.name)
        at_own = Question(OF_HOST[self.version], "tcp", _UNPUBLISHED)
        at_gateway = Question(None, "tcp", _UNPUBLISHED)
        own = self._ways(target, None, at_own, "own", self._clients_of(OF_HOST[self.version], None))
        near = self._ways(target, None, at_gateway, "gateway", self._from_afar(self._with_gateway, None))
        yield Target(target, Service(self.version)), at_own, own
        yield Target(target, Service(self.version)), at_gateway, near

    def _to_member(self, member: _Member) -> Iterator[tuple[Target, Question, _Ways]]:
        """Give flows to an address of its own: whatever is asked, pings, ports that are published or linked to."""
        target, server = self.site.party(member.attachment), self._server(member)
        address = member.address
        clients = [*self._clients_of(address, server), self._host]
        question = Question(address, "tcp", _UNPUBLISHED)
        always = self._ways(target, server, question, ANY, clients)
        yield Target(target, Service(self.version)), question, always
        question = Question(address, ICMP, _UNPUBLISHED)
        pings = self._ways(target, server, question, ICMP, clients)
        yield Target(target, Service(self.version, ICMP)), question, _beyond(pings, always)
        linked = self._linked.get(address, ())
        rest = _without(clients, (bit for bit, _ in linked))
        for protocol, port in sorted(self._targets(member)):
            question = Question(address, protocol, port)
            is_routed, is_mapped = (
                self.site.publication_of(address, protocol, port, is_translated=each) is not None
                for each in (False, True)
            )
            who = [*rest, *(_Clients((bit, address, port, protocol), bit) for bit, _ in linked)]
            ways = self._ways(target, server, question, (is_routed, is_mapped), who)
            yield Target(target, Service(self.version, protocol, (port, port))), question, _beyond(ways, always)
        for bit, (first, last, protocol) in linked:
            question = Question(address, protocol, first)
            who = [_Clients((bit, address, first, protocol), bit)]
            ways = self._ways(target, server, question, "linked", who)
            yield Target(target, Service(self.version, protocol, (first, last))), question, _beyond(ways, always)

    def _targets(self, member: _Member) -> set[tuple[str, int]]:
        ports = (one for one in member.endpoint.ports if one.host_ip.version == self.version)
        return {(one.protocol, one.target) for one in ports}

    @cached_property
    def _linked(self) -> dict[IPAddress, list[tuple[Bits, tuple[int, int, str]]]]:
        found: dict[IPAddress, list[tuple[Bits, tuple[int, int, str]]]] = defaultdict(list)
        for attachment in self.site.desired.members:
            bit = 1 << self.index[self.site.party(attachment)]
            for link in attachment.links:
                address = link.ipv4 if self.version == 4 else link.ipv6
                if address is not None:
                    found[address] += [(bit, ports) for ports in link.ports]
        return found

    def _published(self, member: _Member, binding: PortBinding) -> tuple[Target, Question, _Ways]:
        """Give flows by an address of the host; where it is published at all of them, also by the gateway of one's own network."""
        target, server = self.site.party(member.attachment), self._server(member)
        is_everywhere = binding.host_ip.is_unspecified
        address = OF_HOST[self.version] if is_everywhere else binding.host_ip
        found = self.site.published(address, binding.protocol, binding.host_port)
        probe = ("published", found is not None and found.binding == binding, is_everywhere)
        question = Question(None if is_everywhere else address, binding.protocol, binding.host_port)
        ways = self._ways(target, server, question, probe, self._askers(binding, address, server))
        service = Service(
            self.version,
            binding.protocol,
            (binding.target, binding.target),
            binding.host_port,
            "" if is_everywhere else str(address),
        )
        return Target(target, service), question, ways

    def _askers(self, binding: PortBinding, address: IPAddress, server: _Server) -> Iterator[_Clients]:
        is_ours = self.site.home_of(address) is not None
        kind = ("host", address, server.member.attachment.name) if is_ours else ("host", address.is_loopback)
        yield _Clients(kind, self._host.bits, at=address)
        if address.is_loopback:
            return
        if not binding.host_ip.is_unspecified:
            yield from self._clients_of(address, server)
            return
        yield from self._from_afar(self._with_gateway, server)
        for clients in self._outsides:
            yield clients._replace(at=address)


class _Some:
    """Clients by their way to the host, arranged by network and by kind."""

    def __init__(self, ways: Iterable[tuple[_WayOut, int, Bits]]) -> None:
        self.bits: dict[_WayOut, Bits] = {}
        self.kinds: dict[_WayOut, int] = {}
        self.of_network: dict[str, list[_WayOut]] = defaultdict(list)
        self.of_kind: dict[int, list[_WayOut]] = defaultdict(list)
        for way, kind, bits in ways:
            self.bits[way], self.kinds[way] = bits, kind
            self.of_network[way.place.network].append(way)
            self.of_kind[kind].append(way)
        self.bits_of_kind = {kind: self.union(found) for kind, found in self.of_kind.items()}

    def union(self, ways: Iterable[_WayOut]) -> Bits:
        found: Bits = 0
        for way in ways:
            found |= self.bits[way]
        return found


def manner_of(walk: Walk, answer: Answer, packet: Packet, target: Party, network: str | None) -> Manner | None:
    """Say as whom the target sees the client; None when somebody else answers, or nobody. network: the target's, asked on."""
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


def _without(clients: list[_Clients], bits: Iterable[Bits]) -> list[_Clients]:
    left_out = sum(set(bits))
    if not left_out:
        return clients
    return [
        each._replace(bits=each.bits & ~left_out, sample=each.sample & ~left_out)
        for each in clients
        if each.bits & ~left_out
    ]


def _beyond(ways: _Ways, always: _Ways) -> _Ways:
    """Leave out those to whom everything is open."""
    left_out: Bits = 0
    for bits in always.values():
        left_out |= bits
    return {manner: bits & ~left_out for manner, bits in ways.items() if bits & ~left_out}
