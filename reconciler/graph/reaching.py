"""Who reaches whom, and why, for all pairs: of those that are alike one is asked, and reasons name the two by placeholders."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from reconciler.graph.placeholders import bare, marked, without_addresses, without_names
from reconciler.graph.ways import Parties
from reconciler.model.objects import IPAddress
from reconciler.model.words import before_port
from reconciler.reach.flows import reachability
from reconciler.reach.reachability import ANY, ICMP, Bits, Flow, Manner, Reachability, Service, Target, chosen
from reconciler.reach.values import Party, PartyKind, ReachAnswer, Step
from reconciler.reach.walk import Walk

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
    found = reachability(marked(walk))
    return _Reasons(found=found, who=Parties(found.walk, found.parties)).all()


class _Reasons(Struct, frozen=True, dict=True):
    found: Reachability
    who: Parties

    def all(self) -> Reaching:
        flows = tuple(self._flow(flow, versions) for flow, versions in _of_both_families(self.found.flows()))
        refusals = tuple(self._refusals())
        return Reaching(
            parties=tuple(replace(party, name=bare(party.name)) for party in self.found.parties),
            flows=flows,
            reasons=tuple(self._numbers),
            refusals=refusals,
        )

    # --- reasons

    @cached_property
    def _numbers(self) -> dict[tuple[Step, ...], int]:
        return {}

    def _flow(self, flow: Flow, versions: tuple[int, ...]) -> ReachFlow:
        servers: Bits = 0
        for server in flow.servers:
            servers |= 1 << self.who.index[server]
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
        for server, some_servers in self.who.among(servers) if alike is not None else self.who.each(servers):
            target = Target(server, service)
            addresses = tuple(question.address for question in self.found.asked[target])
            for way, some_clients in self.who.by_way(clients, addresses, service.version).items():
                key = (way, alike, None if service.host_port else self.who.kinds[self.who.index[server]])
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
        kinds = [*self.who.among(everybody)]
        asked: list[tuple[Target, Bits, Bits]] = []
        for server, servers in kinds:
            target = next((one for one in self._own(server) if one in self.found.asked), None)
            if target is not None:
                addresses = tuple(question.address for question in self.found.asked[target])
                for clients in self.who.by_way(everybody, addresses, target.service.version).values():
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
        others = clients & ~(1 << self.who.index[server])
        if not others and servers != clients:
            server, others = next(chosen(self.found.parties, servers & ~clients)), clients
        return (next(chosen(self.found.parties, others)), server) if others else None

    def _number(self, answer: ReachAnswer, client: Party, server: Party, place: str) -> int:
        steps = tuple(without_names(step, client, server, place) for step in answer.steps)
        if server.kind is PartyKind.ATTACHMENT:
            own = self.found.walk.sites[server.host].addresses_of(server.name)
            steps = tuple(replace(step, text=without_addresses(step.text, own)) for step in steps)
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
