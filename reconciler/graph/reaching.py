"""Who reaches whom, and why, for all pairs: of those that are alike one is asked, and reasons name the two by placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.words import before_port
from reconciler.reach.flows import reachability
from reconciler.reach.reachability import ANY, ICMP, Bits, Flow, Manner, Reachability, Service, Target, chosen
from reconciler.reach.site import Site, interface_of, way_out
from reconciler.reach.values import Party, PartyKind, ReachAnswer, Step
from reconciler.reach.walk import Walk

CLIENT: Final = "\ue000"
SERVER: Final = "\ue001"
PORT: Final = "\ue004"
"""Stand in reasons for the names of the two, and for the port of the host."""

_BEGIN, _BETWEEN, _END = "\ue002", "\ue003", "\ue005"
"""Around host and name of attachments while reasons are worked out: a network may have the same name, and so may one elsewhere."""

_REFUSALS_MAX: Final = 20_000
"""So many kinds of pairs that do not reach each other are asked why: about a second. With more kinds none are."""


class Why(NamedTuple):
    """The reason for each of some clients and each of some servers, by its number."""

    clients: Bits
    servers: Bits
    reason: int


class ReachFlow(Struct, frozen=True, kw_only=True):
    """Each of clients reaches this of each of servers; of one that is both nothing is said. how: "" where that goes without saying.

    place: what stands for `PORT` in the reasons. whys: the first that fits a pair is its reason.
    """

    clients: Bits
    servers: Bits
    what: str
    how: str
    place: str
    versions: tuple[int, ...]
    whys: tuple[Why, ...]


class Reaching(Struct, frozen=True, kw_only=True):
    """reasons: as steps, by number. refusals: why those do not reach each other of whom no flow says that they do; empty where
    there are too many kinds of them.
    """

    parties: tuple[Party, ...]
    flows: tuple[ReachFlow, ...]
    reasons: tuple[tuple[Step, ...], ...]
    refusals: tuple[Why, ...]


def reaching(walk: Walk) -> Reaching:
    """Return who reaches whom of all hosts."""
    return _Reasons(found=reachability(_marked(walk))).all()


_Way = Hashable
"""By which networks a client sends: all that the words of an answer depend on of a client, but for its name."""

_Ways = Mapping[_Way, Bits]


class _Reasons(Struct, frozen=True, dict=True):
    found: Reachability

    def all(self) -> Reaching:
        flows = tuple(self._flow(flow, versions) for flow, versions in _of_both_families(self.found.flows()))
        refusals = tuple(self._refusals())
        return Reaching(
            parties=tuple(replace(party, name=_bare(party.name)) for party in self.found.parties),
            flows=flows,
            reasons=tuple(self._numbers),
            refusals=refusals,
        )

    # --- kinds of parties

    @cached_property
    def _kinds(self) -> tuple[int, ...]:
        """Return the number of each party's kind: those of one kind are on the same networks in the same manner."""
        numbers: dict[Hashable, int] = {}
        return tuple(numbers.setdefault(self._kind(party), len(numbers)) for party in self.found.parties)

    def _kind(self, party: Party) -> Hashable:
        if party.kind is not PartyKind.ATTACHMENT:
            return party
        return party.host, tuple(map(_place, self._endpoints(party)))

    def _endpoints(self, party: Party) -> tuple[DesiredEndpoint, ...]:
        return self.found.walk.sites[party.host].members[party.name].endpoints

    @cached_property
    def _members(self) -> Mapping[int, Bits]:
        found: dict[int, Bits] = {}
        for index, kind in enumerate(self._kinds):
            found[kind] = found.get(kind, 0) | 1 << index
        return found

    @cached_property
    def _index(self) -> Mapping[Party, int]:
        return {party: index for index, party in enumerate(self.found.parties)}

    def _among(self, bits: Bits) -> Iterator[tuple[Party, Bits]]:
        """Yield by kind who of some parties is of it, and one of them."""
        while bits:
            first = (bits & -bits).bit_length() - 1
            same = bits & self._members[self._kinds[first]]
            yield self.found.parties[first], same
            bits &= ~same

    def _each(self, bits: Bits) -> Iterator[tuple[Party, Bits]]:
        return ((party, 1 << self._index[party]) for party in chosen(self.found.parties, bits))

    # --- by which way clients send

    def _by_way(self, clients: Bits, addresses: tuple[IPAddress | None, ...], version: int) -> Mapping[_Way, Bits]:
        """Part clients by all that the words of answers depend on: whose neighbours they are, else by which network they leave."""
        parts: dict[tuple[_Way, ...], Bits] = {(): clients & ~self._others}
        for address in addresses:
            near = self._to_host[version] if address is None else self._near(address)
            parts = {(*way, at): some for way, all_ in parts.items() for at, some in _split(all_, near)}
        found: dict[_Way, Bits] = {}
        for way, all_ in parts.items():
            outward = self._outward[version] if None in way else {}
            found.update(((way, at), some) for at, some in _split(all_, outward))
        found.update((party, bits) for party, bits in self._among(clients & self._others))
        return found

    @cached_property
    def _others(self) -> Bits:
        """Return who is no attachment: each has a way of its own."""
        kinds = enumerate(party.kind is not PartyKind.ATTACHMENT for party in self.found.parties)
        return sum(1 << index for index, is_other in kinds if is_other)

    def _near(self, address: IPAddress) -> _Ways:
        """Return those that have an address in a subnet that this one is in, by the first endpoint where they do."""
        net = self._net(address)
        if net not in self._known_near:
            self._known_near[net] = self._parted(lambda client: self._neighbour(client, address))
        return self._known_near[net]

    @cached_property
    def _known_near(self) -> dict[Hashable, _Ways]:
        return {}

    def _net(self, address: IPAddress) -> Hashable:
        """Return what an address has in common with its neighbours, whom the same clients ask in the same way."""
        return next((net for net in self._nets[address.version] if address in net), address)

    @cached_property
    def _nets(self) -> Mapping[int, tuple[IPNetwork, ...]]:
        """Return all subnets, by version; none where some overlap, so that each address is by itself."""
        sites = self.found.walk.sites.values()
        networks = (network for site in sites for network in site.networks.values())
        found = {one.subnet for network in networks for one in network.subnets}
        nets = {version: sorted(net for net in found if net.version == version) for version in (4, 6)}
        return {version: () if _overlap(some) else tuple(some) for version, some in nets.items()}

    def _neighbour(self, client: Party, address: IPAddress) -> _Way:
        for one in self._endpoints(client):
            interface = interface_of(one, address.version)
            if interface is not None and address in interface.network:
                return client.host, _place(one)
        return None

    @cached_property
    def _outward(self) -> Mapping[int, _Ways]:
        return {version: self._parted(partial(self._way_out, version=version)) for version in (4, 6)}

    def _way_out(self, client: Party, version: int) -> _Way:
        site = self.found.walk.sites[client.host]
        found = way_out(site.members[client.name], site.networks, version)
        return client.host, found and _place(found)

    @cached_property
    def _to_host(self) -> Mapping[int, _Ways]:
        return {version: self._parted(partial(self._gateways, version=version)) for version in (4, 6)}

    def _gateways(self, client: Party, version: int) -> _Way:
        return client.host, tuple(self._first_gateways(client, version))

    def _first_gateways(self, client: Party, version: int) -> Iterator[Hashable]:
        """Yield the networks by whose gateways a client asks the host, to the first from which that leads on."""
        site = self.found.walk.sites[client.host]
        for one in self._endpoints(client):
            interface, network = interface_of(one, version), site.networks[one.network]
            if interface is not None and network.is_bridged and site.gateway(network, interface.ip) is not None:
                yield _place(one)
                if not network.wanted.is_internal:
                    return

    def _parted(self, way_of: Callable[[Party], _Way]) -> _Ways:
        """Part all attachments by what is the same for those of a kind; those without a way are left out."""
        found: dict[_Way, Bits] = {}
        for party, some in self._among((1 << len(self.found.parties)) - 1 & ~self._others):
            way = way_of(party)
            if way is not None:
                found[way] = found.get(way, 0) | some
        return found

    # --- reasons

    @cached_property
    def _numbers(self) -> dict[tuple[Step, ...], int]:
        return {}

    def _flow(self, flow: Flow, versions: tuple[int, ...]) -> ReachFlow:
        servers: Bits = 0
        for server in flow.servers:
            servers |= 1 << self._index[server]
        service = flow.service
        host_ip: IPAddress = ip_address(service.host_ip) if service.host_ip else _UNSPECIFIED[service.version]
        place = f"{before_port(host_ip)}:{service.host_port}/{service.protocol}" if service.host_port else ""
        return ReachFlow(
            clients=flow.bits,
            servers=servers,
            what=service.what,
            how=", ".join(filter(None, (service.published, _how(flow.manner)))),
            place=place,
            versions=versions,
            whys=_merged(self._whys(flow.bits, servers, service, place)),
        )

    def _whys(self, clients: Bits, servers: Bits, service: Service, place: str) -> Iterator[Why]:
        alike = self._alike(service)
        for server, some_servers in self._among(servers) if alike is not None else self._each(servers):
            target = Target(server, service)
            addresses = tuple(question.address for question in self.found.asked[target])
            for way, some_clients in self._by_way(clients, addresses, service.version).items():
                key = (way, alike, None if service.host_port else self._kinds[self._index[server]])
                reason = self._known_reasons.get(key) if alike is not None else None
                if reason is None:
                    pair = self._pair(some_clients, some_servers)
                    if pair is None:
                        continue
                    answer = self.found.reasons(pair[0], Target(pair[1], service))
                    reason = self._known_reasons[key] = self._number(answer, *pair, place)
                yield Why(some_clients, some_servers, reason)

    @cached_property
    def _known_reasons(self) -> dict[Hashable, int]:
        return {}

    def _alike(self, service: Service) -> Hashable:
        """Return what services have in common whose reasons are the same but for their ports; None for one by itself."""
        if service.host_port:
            return service.version, service.protocol, service.host_ip
        return (service.version, service.protocol) if service.protocol in (ANY, ICMP) else None

    def _refusals(self) -> Iterator[Why]:
        """Yield why those of some kinds do not reach those of another at their own addresses, where that is so."""
        everybody = (1 << len(self.found.parties)) - 1
        kinds = [*self._among(everybody)]
        asked: list[tuple[Target, Bits, Bits]] = []
        for server, servers in kinds:
            target = next((one for one in self._own(server) if one in self.found.asked), None)
            if target is not None:
                addresses = tuple(question.address for question in self.found.asked[target])
                for clients in self._by_way(everybody, addresses, target.service.version).values():
                    asked.append((target, clients, servers))
            if len(asked) > _REFUSALS_MAX:
                return
        for target, clients, servers in asked:
            pair = self._pair(clients, servers)
            if pair is not None and _is_of_interest(*pair):
                answer = self.found.reasons(pair[0], Target(pair[1], target.service))
                if answer.server is None:
                    yield Why(clients, servers, self._number(answer, *pair, ""))

    def _own(self, server: Party) -> Iterator[Target]:
        return (Target(server, Service(version)) for version in (4, 6))

    def _pair(self, clients: Bits, servers: Bits) -> tuple[Party, Party] | None:
        """Return one of each that are not the same."""
        server = next(chosen(self.found.parties, servers))
        others = clients & ~(1 << self._index[server])
        if not others and servers != clients:
            server, others = next(chosen(self.found.parties, servers & ~clients)), clients
        return (next(chosen(self.found.parties, others)), server) if others else None

    def _number(self, answer: ReachAnswer, client: Party, server: Party, place: str) -> int:
        steps = tuple(_without_names(step, client, server, place) for step in answer.steps)
        if server.kind is PartyKind.ATTACHMENT:
            own = self.found.walk.sites[server.host].addresses_of(server.name)
            steps = tuple(replace(step, text=_without_addresses(step.text, own)) for step in steps)
        return self._numbers.setdefault(steps, len(self._numbers))


_UNSPECIFIED: Final[Mapping[int, IPAddress]] = {4: IPv4Address(0), 6: IPv6Address(0)}


def _merged(whys: Iterable[Why]) -> tuple[Why, ...]:
    """Put together clients that have the same reason for the same servers, then servers that all of them are alike to."""
    by_servers: dict[Bits, dict[int, Bits]] = {}
    for why in whys:
        found = by_servers.setdefault(why.servers, {})
        found[why.reason] = found.get(why.reason, 0) | why.clients
    alike: dict[tuple[tuple[int, Bits], ...], Bits] = {}
    for servers, found in by_servers.items():
        key = tuple(found.items())
        alike[key] = alike.get(key, 0) | servers
    return tuple(Why(clients, servers, reason) for found, servers in alike.items() for reason, clients in found)


def _split(clients: Bits, ways: _Ways) -> Iterator[tuple[_Way, Bits]]:
    """Part clients; None is the way of the rest."""
    for way, bits in ways.items():
        if clients & bits:
            yield way, clients & bits
            clients &= ~bits
    if clients:
        yield None, clients


def _overlap(nets: Sequence[IPNetwork]) -> bool:
    """nets: sorted."""
    return any(int(one.broadcast_address) >= int(two.network_address) for one, two in pairwise(nets))


def _place(endpoint: DesiredEndpoint) -> Hashable:
    return (
        endpoint.network,
        endpoint.ipv4 and endpoint.ipv4.network,
        endpoint.ipv6 and endpoint.ipv6.network,
        endpoint.gateway_ipv4,
        endpoint.gateway_ipv6,
        endpoint.is_default_ipv4,
        endpoint.is_default_ipv6,
    )


def _how(manner: Manner) -> str:
    return "" if manner is Manner.OWN else str(manner)


def _is_of_interest(client: Party, server: Party) -> bool:
    """Nobody wonders why the outside is not reached by way of another host."""
    return client.host == server.host or client.kind is server.kind is PartyKind.ATTACHMENT


def _of_both_families(flows: Iterable[Flow]) -> Iterator[tuple[Flow, tuple[int, ...]]]:
    alike: dict[Hashable, list[Flow]] = {}
    for flow in flows:
        key = flow.bits, flow.servers, replace(flow.service, version=0), flow.manner
        alike.setdefault(key, []).append(flow)
    for found in alike.values():
        yield found[0], tuple(sorted({flow.service.version for flow in found}))


def _without_names(step: Step, client: Party, server: Party, place: str) -> Step:
    text, unit = step.text.replace(place, PORT) if place else step.text, step.unit
    attachment = unit.attachment if unit is not None else ""
    for party, place in ((client, CLIENT), (server, SERVER)):
        if party.kind is PartyKind.ATTACHMENT:
            text, attachment = (each.replace(party.name, place) for each in (text, attachment))
    return replace(step, text=_bare(text), unit=None if unit is None else replace(unit, attachment=_bare(attachment)))


def _without_addresses(text: str, addresses: Iterable[IPAddress]) -> str:
    """Name the server where its address is named: that of the others is another."""
    for address in addresses:
        if str(address) in text:
            text = re.sub(rf"(?<![\w.:]){re.escape(str(address))}(?![\w.:])", SERVER, text)
    return text


def _marked(walk: Walk) -> Walk:
    """Return the same with names of attachments that nothing else in a sentence can be."""
    return Walk(sites={name: _marked_site(site) for name, site in walk.sites.items()})


def _marked_site(site: Site) -> Site:
    desired = site.desired
    mark = partial(_marked_attachment, host=site.name)
    attachments, held = (tuple(map(mark, some)) for some in (desired.attachments, desired.held))
    return replace(site, desired=replace(desired, attachments=attachments, held=held))


def _marked_attachment(attachment: DesiredAttachment, host: str) -> DesiredAttachment:
    name = f"{_BEGIN}{host}{_BETWEEN}{attachment.name}{_END}"
    endpoints = tuple(replace(one, attachment=name) for one in attachment.endpoints)
    return replace(attachment, wanted=replace(attachment.wanted, name=name), endpoints=endpoints)


def _bare(text: str) -> str:
    return re.sub(f"{_BEGIN}[^{_BETWEEN}]*{_BETWEEN}|{_END}", "", text) if _BEGIN in text else text
