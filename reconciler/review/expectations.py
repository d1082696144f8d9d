"""Whether the specs bring about what they expect: who reaches whom, asked of the desired state of all hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import ExpectationUnmet
from reconciler.model.desired import DesiredAttachment
from reconciler.model.expectation import Expectation
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.wanted import NetworkWanted, Source
from reconciler.reach.site import Site, interface_of
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer, Step, not_known, refused
from reconciler.reach.walk import Walk, of_plugin
from reconciler.review.parties import parties_of, untold
from reconciler.review.port_lines import port_source
from reconciler.spec.document import Document
from reconciler.spec.places import Places

_ANY_PORT = 1
"""Stands for a port that nobody publishes."""

_Asked = tuple[Packet, int]
"""A packet, and the port at which who gets it listens."""


class _Found(Struct, frozen=True, kw_only=True):
    """What came of asking. target: the port at which who gets it listens."""

    server: Party
    answer: ReachAnswer
    target: int = 0

    @property
    def is_reached(self) -> bool:
        found = self.answer.server
        return found == self.server or (found is not None and found.kind is self.server.kind is PartyKind.OUTSIDE)


class _Said(Struct, frozen=True):
    """places: the lines that are why, as the text names them."""

    text: str
    places: tuple[Source, ...] = ()


def unmet(expectations: Iterable[Expectation], walk: Walk, documents: Sequence[Document]) -> Iterator[ExpectationUnmet]:
    """Yield a fault for each expectation that is not met, with the first pair that shows it and the line that is why.

    What is not known is neither: the expectation is not proved, whichever it is.
    """
    for expectation in expectations:
        said = _contradiction(expectation, walk, documents) or _missing(expectation, walk, documents)
        if said is not None:
            why = f" ({expectation.why})" if expectation.why else ""
            at = expectation.source
            because = tuple((place.file, place.line, place.column) for place in said.places)
            yield ExpectationUnmet(at.file, at.line, at.column, f"{said.text}{why}", because)


def _contradiction(expectation: Expectation, walk: Walk, documents: Sequence[Document]) -> _Said | None:
    """Compare each client with each server. That one is wrong says more than that another is not known."""
    at = f" at {expectation.port}" if expectation.port else ""
    doubt = None
    for client, servers in _pairs(expectation, walk):
        found: list[_Found] = []
        for each in (each for server in servers for each in _asked(expectation, walk, client, server)):
            found.append(each)
            if each.is_reached:
                break
        reached = found[-1] if found and found[-1].is_reached else None
        unknown = next((each for each in found if not each.answer.is_known), None)
        if reached is not None:
            if not expectation.is_reached:
                return _said(f"{_named(client)} reaches {_named(reached.server)}{at}", reached, documents)
        elif unknown is not None:
            both = f"{_named(client)} reaches {_named(unknown.server)}{at}"
            doubt = doubt or _said(f"it is not known whether {both}", unknown, documents)
        elif expectation.is_reached:
            server, first = servers[0], next(iter(found), None)
            return _said(f"{_named(client)} does not reach {_named(server)}{at}", first, documents)
    return doubt


def _missing(expectation: Expectation, walk: Walk, documents: Sequence[Document]) -> _Said | None:
    for parties, verb in ((expectation.client, "reaches"), (expectation.server, "is reached by")):
        other = expectation.server if parties is expectation.client else expectation.client
        for one in untold(parties, walk, documents):
            at = f" ({one.source})" if one.source is not None else ""
            text = f"it is not known whether {one.name} {verb} {other}: {one.reason}{at}"
            return _Said(text, () if one.source is None else (one.source,))
    return None


def _pairs(expectation: Expectation, walk: Walk) -> Iterator[tuple[Party, list[Party]]]:
    """Yield clients with their servers; those that several hosts have stand together: to reach one of them is enough."""
    alike: defaultdict[tuple[PartyKind, str], list[Party]] = defaultdict(list)
    for server in parties_of(expectation.server, walk):
        alike[server.kind, server.name].append(server)
    for client in parties_of(expectation.client, walk):
        for servers in alike.values():
            others = [server for server in servers if _is_pair(client, server)]
            if others:
                yield client, others


def _is_pair(client: Party, server: Party) -> bool:
    """Nobody is asked about himself, and the outside and a host about their own host alone."""
    is_near = PartyKind.ATTACHMENT not in (client.kind, server.kind) or PartyKind.OUTSIDE in (client.kind, server.kind)
    return client != server and (client.host == server.host or not is_near)


def _named(party: Party) -> str:
    return f"{party} (on {party.host})" if party.kind is PartyKind.ATTACHMENT else f"{party} of {party.host}"


def _said(text: str, found: _Found | None, documents: Sequence[Document]) -> _Said:
    """Add the steps of the answer, if there is one."""
    if found is None:
        return _Said(text)
    steps = [*_reasons(found, documents)]
    reasons = (step if at is None else f"{step} ({at})" for step, at in steps)
    return _Said(f"{text}: {', '.join(reasons)}", tuple(at for _, at in steps if at is not None))


def _reasons(found: _Found, documents: Sequence[Document]) -> Iterator[tuple[str, Source | None]]:
    """Yield the steps; what is published stands at the line of its port."""
    places = Places(documents)
    for step in found.answer.steps:
        source = None if step.unit is None else places.get(step.unit)
        if source is not None and "published" in step.text and found.answer.server is not None:
            source = port_source(documents, found.answer.server.name, found.target) or source
        yield step.text, source if source is not None and source.line else None


def _asked(expectation: Expectation, walk: Walk, client: Party, server: Party) -> Iterator[_Found]:
    elsewhere = _told_elsewhere(walk, client, server)
    for packet, target in _packets(expectation, walk, client, server):
        answer = _across(walk, packet, server)
        if elsewhere is not None and not _is_near(walk, packet):
            answer = elsewhere
        yield _Found(server=server, target=target, answer=answer)
    for answer in _without_address(walk, server):
        yield _Found(server=server, answer=answer)


def _across(walk: Walk, packet: Packet, server: Party) -> ReachAnswer:
    """Ask. To another host leads a network that both share, else the outside of both."""
    client = packet.client
    if server.host == client.host:
        return walk.ask(packet)
    shared = _shared_network(walk.sites[server.host], packet.address)
    if shared is not None:
        if shared.traits.is_plugin:
            return of_plugin(shared)
        if client.kind is PartyKind.ATTACHMENT and shared.name in _joined(walk.sites[client.host], client):
            return ReachAnswer(server=server, steps=(Step(f"both are on {shared.name}", Unit(network=shared.name)),))
        return refused(f"{client} is not on {shared.name}", Unit(network=shared.name))
    way_out = Packet(client=client, address=OUTSIDE[packet.version], protocol=packet.protocol, port=packet.port)
    out = walk.ask(way_out)
    if out.is_known and (out.server is None or out.server.kind is not PartyKind.OUTSIDE):
        return out
    way_in = walk.ask(replace(packet, client=Party(PartyKind.OUTSIDE, server.host)))
    if not out.is_known and (way_in.server == server or not way_in.is_known):
        return out
    return way_in.after(*out.steps)


def _shared_network(site: Site, address: IPAddress) -> NetworkWanted | None:
    for network in site.networks.values():
        if network.scope == "global" and any(address in subnet.subnet for subnet in network.subnets):
            return network.wanted
    return None


def _joined(site: Site, client: Party) -> set[str]:
    return {endpoint.network for endpoint in site.members[client.name].endpoints}


def _is_near(walk: Walk, packet: Packet) -> bool:
    """Return whether the client has an address beside the one that it asks."""
    if packet.client.kind is not PartyKind.ATTACHMENT:
        return False
    endpoints = walk.sites[packet.client.host].members[packet.client.name].endpoints
    interfaces = (interface_of(endpoint, packet.version) for endpoint in endpoints)
    return any(interface is not None and packet.address in interface.network for interface in interfaces)


def _told_elsewhere(walk: Walk, client: Party, server: Party) -> ReachAnswer | None:
    """What is declared elsewhere may be internal or not, which decides about ways out and in that it alone gives."""
    for party in (client, server):
        site = walk.sites[party.host]
        endpoints = site.members[party.name].endpoints if party.kind is PartyKind.ATTACHMENT else ()
        if any(endpoint.wanted.is_gateway for endpoint in endpoints):
            for endpoint in endpoints:
                wanted = site.networks[endpoint.network].wanted
                if wanted.is_external:
                    return not_known(
                        f"{wanted.name} is declared elsewhere: it may be internal", Unit(network=wanted.name)
                    )
    return None


def _packets(expectation: Expectation, walk: Walk, client: Party, server: Party) -> Iterator[_Asked]:
    site = walk.sites[server.host]
    if server.kind is PartyKind.ATTACHMENT:
        member = site.members[server.name]
        for address in _addresses(member):
            yield from _directly(expectation, client, address)
            yield from _routed(expectation, client, member, address)
        yield from _published(expectation, client, member)
        yield from _linked(expectation, walk, client, server)
        return
    near = client.host == server.host and client.kind is PartyKind.ATTACHMENT and server.kind is PartyKind.HOST
    for version in (4, 6):
        yield from _directly(expectation, client, (OUTSIDE if server.kind is PartyKind.OUTSIDE else OF_HOST)[version])
        for gateway in site.gateways_of(client.name, version) if near else ():
            yield from _directly(expectation, client, gateway)


def _addresses(member: DesiredAttachment) -> Iterator[IPAddress]:
    for endpoint in member.endpoints:
        yield from (found.ip for found in (endpoint.ipv4, endpoint.ipv6) if found is not None)


def _directly(expectation: Expectation, client: Party, address: IPAddress) -> Iterator[_Asked]:
    if not expectation.protocol and not expectation.port:
        yield Packet(client=client, address=address, protocol="icmp"), 0
    port = expectation.port or _ANY_PORT
    for protocol in (
        (expectation.protocol,) if expectation.protocol else ("tcp", "udp") if expectation.port else ("tcp",)
    ):
        yield Packet(client=client, address=address, protocol=protocol, port=port), port


def _routed(expectation: Expectation, client: Party, server: DesiredAttachment, address: IPAddress) -> Iterator[_Asked]:
    """What is published may be open at the server's own addresses too; one port that is asked for is asked already."""
    for binding in (binding for endpoint in server.endpoints for binding in endpoint.ports):
        if not expectation.port and expectation.protocol in ("", binding.protocol):
            packet = Packet(client=client, address=address, protocol=binding.protocol, port=binding.target)
            yield packet, binding.target


def _published(expectation: Expectation, client: Party, server: DesiredAttachment) -> Iterator[_Asked]:
    for binding in (binding for endpoint in server.endpoints for binding in endpoint.ports):
        fits = expectation.port in (0, binding.target) and expectation.protocol in ("", binding.protocol)
        if fits and binding.host_port:
            address = OF_HOST[binding.host_ip.version] if binding.host_ip.is_unspecified else binding.host_ip
            packet = Packet(client=client, address=address, protocol=binding.protocol, port=binding.host_port)
            yield packet, binding.target


def _linked(expectation: Expectation, walk: Walk, client: Party, server: Party) -> Iterator[_Asked]:
    """Links open ports on the default bridge; for any port the first of each is asked."""
    if expectation.port or client.kind is not PartyKind.ATTACHMENT:
        return
    for link in walk.sites[client.host].members[client.name].links:
        for address in (link.ipv4, link.ipv6) if link.target == server.name else ():
            for first, _, protocol in link.ports if address is not None else ():
                if address is not None and expectation.protocol in ("", protocol):
                    yield Packet(client=client, address=address, protocol=protocol, port=first), first


def _without_address(walk: Walk, server: Party) -> Iterator[ReachAnswer]:
    """There is nothing to ask of an endpoint whose address only its plugin may tell."""
    site = walk.sites[server.host]
    for endpoint in site.members[server.name].endpoints if server.kind is PartyKind.ATTACHMENT else ():
        network = site.networks[endpoint.network].wanted
        if endpoint.ipv4 is None and endpoint.ipv6 is None and network.traits.is_plugin:
            text = f"{server} has no address on {network.name}, a plugin's network, that a spec tells of"
            yield not_known(text, endpoint.unit)
