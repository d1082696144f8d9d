"""Whether the specs bring about what they expect: who reaches whom, asked of the desired state of all hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from reconciler.errors import SpecError
from reconciler.model.desired import DesiredAttachment
from reconciler.model.expectation import Expectation, Parties
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import NetworkWanted, Source
from reconciler.reach.site import Site
from reconciler.reach.values import Answer, Packet, Party, PartyKind, Step, refused
from reconciler.reach.walk import Walk
from reconciler.review.reachability import OF_HOST, OUTSIDE
from reconciler.spec.document import Document, Path, Tree

_ANY_PORT = 1
"""Stands for a port that nobody publishes."""

_Asked = tuple[Packet, int]
"""A packet, and the port at which who gets it listens."""


def unmet(expectations: Iterable[Expectation], walk: Walk, documents: Sequence[Document]) -> Iterator[SpecError]:
    """Give a fault for each expectation that is not met, with the first pair that shows it and the line that is why."""
    for expectation in expectations:
        said = _contradiction(expectation, walk, documents)
        if said:
            why = f" ({expectation.why})" if expectation.why else ""
            at = expectation.source
            yield SpecError(at.file, at.line, at.column, f"{said}{why}")


def _contradiction(expectation: Expectation, walk: Walk, documents: Sequence[Document]) -> str:
    """Compare each client with each server; of servers that several hosts have, to reach one is enough."""
    at = f" at {expectation.port}" if expectation.port else ""
    alike: defaultdict[tuple[PartyKind, str], list[Party]] = defaultdict(list)
    for server in _parties(expectation.server, walk):
        alike[server.kind, server.name].append(server)
    for client in _parties(expectation.client, walk):
        for servers in alike.values():
            others = [server for server in servers if _is_pair(client, server)]
            found = [(server, *_asked(expectation, walk, client, server)) for server in others]
            reached = next(((server, told) for server, told, _ in found if told is not None), None)
            if not found or (reached is not None) == expectation.is_reached:
                continue
            server, told = reached or (found[0][0], next(iter(found[0][2]), None))
            because = f": {', '.join(_told(told[1], documents, told[0]))}" if told is not None else ""
            verb = "does not reach" if expectation.is_reached else "reaches"
            return f"{_named(client)} {verb} {_named(server)}{at}{because}"
    return ""


def _is_pair(client: Party, server: Party) -> bool:
    """Nobody is asked about himself, and the outside and a host about their own host alone."""
    is_near = PartyKind.ATTACHMENT not in (client.kind, server.kind) or PartyKind.OUTSIDE in (client.kind, server.kind)
    return client != server and (client.host == server.host or not is_near)


def _named(party: Party) -> str:
    return f"{party} (on {party.host})" if party.kind is PartyKind.ATTACHMENT else f"{party} of {party.host}"


def _told(answer: Answer, documents: Sequence[Document], asked: _Asked) -> Iterator[str]:
    """Give the reasons; what is published stands at the line of its port."""
    for step in answer.steps:
        source = step.source
        if source is not None and "published" in step.text and answer.server is not None:
            source = _port_source(documents, answer.server.name, asked[1]) or source
        yield step.text if source is None or not source.line else f"{step.text} ({source})"


def _asked(
    expectation: Expectation, walk: Walk, client: Party, server: Party
) -> tuple[tuple[_Asked, Answer] | None, list[tuple[_Asked, Answer]]]:
    """Give the packet that reaches the server with its answer, if one does, and all that did not."""
    refused: list[tuple[_Asked, Answer]] = []
    for asked in _packets(expectation, walk, client, server):
        answer = _across(walk, asked[0], server)
        if answer.server is not None and _is_same(answer.server, server):
            return (asked, answer), refused
        refused.append((asked, answer))
    return None, refused


def _is_same(found: Party, server: Party) -> bool:
    return found == server or (found.kind is server.kind is PartyKind.OUTSIDE)


def _across(walk: Walk, packet: Packet, server: Party) -> Answer:
    """Ask. To another host leads a network that both share, else the outside of both."""
    client = packet.client
    if server.host == client.host:
        return walk.ask(packet)
    shared = _shared_network(walk.sites[server.host], packet.address)
    if shared is not None:
        if client.kind is PartyKind.ATTACHMENT and shared.name in _joined(walk.sites[client.host], client):
            return Answer(server=server, steps=(Step(f"both are on {shared.name}", shared.source),))
        return refused(f"{client} is not on {shared.name}", shared.source)
    way_out = Packet(client=client, address=OUTSIDE[packet.version], protocol=packet.protocol, port=packet.port)
    out = walk.ask(way_out)
    if out.server is None or out.server.kind is not PartyKind.OUTSIDE:
        return out
    way_in = replace(packet, client=Party(PartyKind.OUTSIDE, server.host))
    return walk.ask(way_in).after(*out.steps)


def _shared_network(site: Site, address: IPAddress) -> NetworkWanted | None:
    for network in site.networks.values():
        if network.scope == "global" and any(address in subnet.subnet for subnet in network.subnets):
            return network.wanted
    return None


def _joined(site: Site, client: Party) -> set[str]:
    return {endpoint.network for endpoint in site.members[client.name].endpoints}


def _packets(expectation: Expectation, walk: Walk, client: Party, server: Party) -> Iterator[_Asked]:
    protocols = (
        (expectation.protocol,) if expectation.protocol else ("tcp", "udp") if expectation.port else ("icmp", "tcp")
    )
    site = walk.sites[server.host]
    for address in _addresses(site, server):
        for protocol in protocols:
            port = 0 if protocol == "icmp" else expectation.port or _ANY_PORT
            yield Packet(client=client, address=address, protocol=protocol, port=port), port
    if server.kind is PartyKind.ATTACHMENT:
        yield from _published(expectation, site.members[server.name], client)
        yield from _linked(expectation, walk, client, server)


def _addresses(site: Site, server: Party) -> Iterator[IPAddress]:
    if server.kind is not PartyKind.ATTACHMENT:
        yield from (OUTSIDE if server.kind is PartyKind.OUTSIDE else OF_HOST).values()
        return
    for endpoint in site.members[server.name].endpoints:
        yield from (found.ip for found in (endpoint.ipv4, endpoint.ipv6) if found is not None)


def _published(expectation: Expectation, server: DesiredAttachment, client: Party) -> Iterator[_Asked]:
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


def _parties(parties: Parties, walk: Walk) -> list[Party]:
    """Give whom an expectation means, on all hosts."""
    if parties.name in ("host", "outside"):
        kind = PartyKind.HOST if parties.name == "host" else PartyKind.OUTSIDE
        return [Party(kind, host) for host in walk.sites]
    members = [(site, a) for site in walk.sites.values() for a in site.members.values() if a.ns != HOST]
    if parties.name:
        named = [site.party(a) for site, a in members if fnmatchcase(a.name, parties.name)]
        if named:
            return named
    return [site.party(a) for site, a in members if any(_is_meant(parties, n) for n in _networks(site, a))]


def _networks(site: Site, attachment: DesiredAttachment) -> Iterator[NetworkWanted]:
    for endpoint in attachment.endpoints:
        yield site.networks[endpoint.network].wanted


def _is_meant(parties: Parties, network: NetworkWanted) -> bool:
    if parties.labels:
        return set(parties.labels) <= set(network.labels)
    return fnmatchcase(network.name, parties.network or parties.name)


def _port_source(documents: Sequence[Document], attachment: str, target: int) -> Source | None:
    """Give the line that publishes a port of an attachment."""
    for document in documents:
        entry: Tree = document.data
        place: Path = ("attachments", attachment, "ports")
        for step in place:
            entry = entry.get(str(step)) if isinstance(entry, dict) else None
        for index, port in enumerate(entry if isinstance(entry, list) else ()):
            if _publishes(port, target):
                return document.source((*place, index))
    return None


def _publishes(port: Tree, target: int) -> bool:
    text = str(port.get("target") if isinstance(port, dict) else port).partition("/")[0].rpartition(":")[2]
    first, _, last = text.partition("-")
    return first.isdecimal() and int(first) <= target <= int(last if last.isdecimal() else first)
