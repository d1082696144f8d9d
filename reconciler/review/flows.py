"""Who reaches whom then and no longer, and who in another manner, in a few words that a person reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from reconciler.reach import reachability as reach
from reconciler.reach.change import compared
from reconciler.reach.flows import reachability
from reconciler.reach.reachability import ANY, Manner
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.values import FlowChanges, ReviewFlow

BETWEEN: Final = ""
"""Stands for the host of flows between hosts."""

_ORDER: Final = (PartyKind.OUTSIDE, PartyKind.HOST, PartyKind.ATTACHMENT)
_NOT_KNOWN: Final = "not known: a plugin decides"


def flow_changes(before: Walk, after: Walk) -> Mapping[str, FlowChanges]:
    """Compare what is possible on all hosts; by host, and `BETWEEN` for those flows that concern several."""
    before, after = _differing(before, after)
    change = compared(reachability(before), reachability(after))
    gained, lost = _Telling(after).by_host(change.gained), _Telling(before).by_host(change.lost)
    altered = _Telling(after).by_host(change.altered)
    return {
        host: FlowChanges(gained=gained.get(host, ()), lost=lost.get(host, ()), altered=altered.get(host, ()))
        for host in (BETWEEN, *after.sites)
    }


def _differing(before: Walk, after: Walk) -> tuple[Walk, Walk]:
    """Leave out hosts that stay as they are and share no network with others."""
    left = {
        name
        for name, site in after.sites.items()
        if site.desired is not before.sites[name].desired
        or any(network.scope == "global" for network in site.networks.values())
    }
    chosen = (Walk(sites={name: walk.sites[name] for name in walk.sites if name in left}) for walk in (before, after))
    return next(chosen), next(chosen)


class _Way(NamedTuple):
    host: str
    servers: tuple[Party, ...]
    what: str
    how: str
    versions: tuple[int, ...]


class _Telling(Struct, frozen=True, dict=True):
    """What words for a flow depend on."""

    walk: Walk

    def by_host(self, flows: Iterable[reach.Flow]) -> Mapping[str, tuple[ReviewFlow, ...]]:
        clients: defaultdict[_Way, list[Party]] = defaultdict(list)
        for flow, versions in _of_both_families(flows):
            hosts = {party.host for party in (*flow.clients, *flow.servers)}
            host = next(iter(hosts)) if len(hosts) == 1 else BETWEEN
            for (how, servers), some in self._alike(flow).items():
                clients[_Way(host, servers, flow.service.what, how, versions)] += some
        found: defaultdict[str, list[ReviewFlow]] = defaultdict(list)
        for way, some in clients.items():
            found[way.host] += _told(way, some)
        return {host: tuple(sorted(each)) for host, each in found.items()}

    def _alike(self, flow: reach.Flow) -> Mapping[tuple[str, tuple[Party, ...]], list[Party]]:
        """Put clients together that reach the same servers in the same way."""
        clients, servers = self._by_networks(flow.clients), self._by_networks(flow.servers)
        found: defaultdict[tuple[str, tuple[Party, ...]], list[Party]] = defaultdict(list)
        for (client_networks, _), some_clients in clients.items():
            ways: defaultdict[str, list[Party]] = defaultdict(list)
            for (server_networks, _), some_servers in servers.items():
                how = self._how(flow, some_clients[0], some_servers[0], client_networks & server_networks)
                ways[how] += some_servers
            for how, reached in ways.items():
                found[how, tuple(reached)] += some_clients
        return found

    def _by_networks(self, parties: Iterable[Party]) -> Mapping[tuple[frozenset[str], PartyKind], list[Party]]:
        found: defaultdict[tuple[frozenset[str], PartyKind], list[Party]] = defaultdict(list)
        for party in parties:
            found[self._networks.get(party, frozenset()), party.kind].append(party)
        return found

    @cached_property
    def _networks(self) -> Mapping[Party, frozenset[str]]:
        """Return by attachment the networks where its neighbours are open to it."""
        return {
            site.party(member): frozenset(
                endpoint.network
                for endpoint in member.endpoints
                if site.networks[endpoint.network].wanted.bridge_options.is_icc_enabled
            )
            for site in self.walk.sites.values()
            for member in site.members.values()
        }

    def _how(self, flow: reach.Flow, client: Party, server: Party, shared: frozenset[str]) -> str:
        service, manner = flow.service, str(flow.manner)
        if flow.was is not None:
            manner = f"{flow.was} -> {manner}"
        elif flow.manner is Manner.UNKNOWN:
            manner = _NOT_KNOWN
        elif client.kind is PartyKind.OUTSIDE and server.kind is PartyKind.ATTACHMENT:
            manner = "at its own address"
        elif shared and service.protocol == ANY:
            return f"on {' and '.join(sorted(shared))}"
        elif client.kind is server.kind is PartyKind.ATTACHMENT and self._is_linked(client, server):
            manner = "linked"
        published = service.published
        if not published:
            return manner
        return f"{published}, {manner}" if flow.was is not None or flow.manner is Manner.UNKNOWN else published

    def _is_linked(self, client: Party, server: Party) -> bool:
        links = self.walk.sites[client.host].members[client.name].links
        return any(link.target == server.name for link in links)


def _of_both_families(flows: Iterable[reach.Flow]) -> Iterator[tuple[reach.Flow, tuple[int, ...]]]:
    """Put together what differs in the version of IP alone."""
    alike: defaultdict[tuple[object, ...], list[reach.Flow]] = defaultdict(list)
    for flow in flows:  # all of them number the same parties, which are too many to compare each time
        service = replace(flow.service, version=0)
        alike[flow.bits, flow.servers, service, flow.manner, flow.was].append(flow)
    for found in alike.values():
        yield found[0], tuple(sorted({flow.service.version for flow in found}))


def _told(way: _Way, clients: Iterable[Party]) -> Iterator[ReviewFlow]:
    """Name who they are; nothing is said of one that is both, and nobody else."""
    from_, to = set(clients), set(way.servers)
    from_ -= to if len(to) == 1 else set()
    to -= from_ if len(from_) == 1 else set()
    if from_ and to:
        yield ReviewFlow(
            clients=_names(from_, is_between=way.host == BETWEEN),
            servers=_names(to, is_between=way.host == BETWEEN),
            what=way.what,
            how=way.how,
            versions=way.versions,
            count=len(from_) * len(to) - len(from_ & to),
            is_from_outside=any(party.kind is PartyKind.OUTSIDE for party in from_),
        )


def _names(parties: Iterable[Party], *, is_between: bool) -> tuple[str, ...]:
    """Name those first that matter most."""
    ordered = sorted(parties, key=lambda party: (_ORDER.index(party.kind), party.name, party.host))
    return tuple(_name(party, is_between=is_between) for party in ordered)


def _name(party: Party, *, is_between: bool) -> str:
    name = f"{party} beyond {party.name}" if party.kind is PartyKind.OUTSIDE and party.name else str(party)
    return f"{name} on {party.host}" if is_between else name
