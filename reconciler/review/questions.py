"""All packets that show whether one party reaches another, and what comes of each: for expectations, and for who asks why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.wanted import NetworkWanted, Source
from reconciler.reach.site import Site, interface_of
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer, Step, StepKind, not_known, refused
from reconciler.reach.walk import Walk, of_plugin
from reconciler.review.port_lines import port_source
from reconciler.spec.document import Document
from reconciler.spec.places import Places

_ANY_PORT = 1
"""Stands for a port that nobody publishes."""

_Asked = tuple[Packet, int]
"""A packet, and the port at which who gets it listens."""


class AskedPort(Struct, frozen=True):
    """What is asked for. port: where the server listens, 0 for any. protocol: "" for any."""

    port: int = 0
    protocol: str = ""


class Found(Struct, frozen=True, kw_only=True):
    """What came of asking. target: the port at which who gets it listens. packet: None where there was none to send."""

    server: Party
    answer: ReachAnswer
    target: int = 0
    packet: Packet | None = None

    @property
    def is_reached(self) -> bool:
        found = self.answer.server
        return found == self.server or (found is not None and found.kind is self.server.kind is PartyKind.OUTSIDE)


def asked(at: AskedPort, walk: Walk, client: Party, server: Party) -> Iterator[Found]:
    """Ask in each way that there is: directly, at what is published, by links; in both families."""
    elsewhere = _told_elsewhere(walk, client, server)
    for packet, target in _packets(at, walk, client, server):
        answer = across(walk, packet, server)
        if elsewhere is not None and not _is_near(walk, packet):
            answer = elsewhere
        yield Found(server=server, target=target, answer=answer, packet=packet)
    for answer in _without_address(walk, server):
        yield Found(server=server, answer=answer)


def is_pair(client: Party, server: Party) -> bool:
    """Nobody is asked about himself, and the outside and a host about their own host alone."""
    is_near = PartyKind.ATTACHMENT not in (client.kind, server.kind) or PartyKind.OUTSIDE in (client.kind, server.kind)
    return client != server and (client.host == server.host or not is_near)


def lined_steps(found: Found, documents: Sequence[Document]) -> Iterator[tuple[Step, Source | None]]:
    """Yield the steps, each with its line; what is published stands at the line of its port."""
    places = Places(documents)
    for step in found.answer.steps:
        source = None if step.unit is None else places.of_field(step.unit, step.field)
        if source is not None and step.kind is StepKind.PORT and found.answer.server is not None:
            source = port_source(documents, found.answer.server.name, found.target) or source
        yield step, source if source is not None and source.line else None


def across(walk: Walk, packet: Packet, server: Party) -> ReachAnswer:
    """Ask. To another host leads a network that both share, else the outside of both."""
    client = packet.client
    if server.host == client.host:
        return walk.ask(packet)
    shared = _shared_network(walk.sites[server.host], packet.address)
    if shared is not None:
        if shared.traits.is_plugin:
            return of_plugin(shared)
        unit = Unit(network=shared.name)
        if client.kind is PartyKind.ATTACHMENT and shared.name in _joined(walk.sites[client.host], client):
            return ReachAnswer(server=server, steps=(Step(f"both are on {shared.name}", StepKind.NETWORK, unit),))
        return refused(f"{client} is not on {shared.name}", StepKind.NETWORK, unit)
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


def _packets(at: AskedPort, walk: Walk, client: Party, server: Party) -> Iterator[_Asked]:
    site = walk.sites[server.host]
    if server.kind is PartyKind.ATTACHMENT:
        member = site.members[server.name]
        for address in _addresses(member):
            yield from _directly(at, client, address)
            yield from _routed(at, client, member, address)
        yield from _published(at, client, member)
        yield from _linked(at, walk, client, server)
        return
    near = client.host == server.host and client.kind is PartyKind.ATTACHMENT and server.kind is PartyKind.HOST
    for version in (4, 6):
        yield from _directly(at, client, (OUTSIDE if server.kind is PartyKind.OUTSIDE else OF_HOST)[version])
        for gateway in site.gateways_of(client.name, version) if near else ():
            yield from _directly(at, client, gateway)


def _addresses(member: DesiredAttachment) -> Iterator[IPAddress]:
    for endpoint in member.endpoints:
        yield from (found.ip for found in (endpoint.ipv4, endpoint.ipv6) if found is not None)


def _directly(at: AskedPort, client: Party, address: IPAddress) -> Iterator[_Asked]:
    if not at.protocol and not at.port:
        yield Packet(client=client, address=address, protocol="icmp"), 0
    port = at.port or _ANY_PORT
    for protocol in (at.protocol,) if at.protocol else ("tcp", "udp") if at.port else ("tcp",):
        yield Packet(client=client, address=address, protocol=protocol, port=port), port


def _routed(at: AskedPort, client: Party, server: DesiredAttachment, address: IPAddress) -> Iterator[_Asked]:
    """What is published may be open at the server's own addresses too; one port that is asked for is asked already."""
    for binding in (binding for endpoint in server.endpoints for binding in endpoint.ports):
        if not at.port and at.protocol in ("", binding.protocol):
            packet = Packet(client=client, address=address, protocol=binding.protocol, port=binding.target)
            yield packet, binding.target


def _published(at: AskedPort, client: Party, server: DesiredAttachment) -> Iterator[_Asked]:
    for binding in (binding for endpoint in server.endpoints for binding in endpoint.ports):
        fits = at.port in (0, binding.target) and at.protocol in ("", binding.protocol)
        if fits and binding.host_port:
            address = OF_HOST[binding.host_ip.version] if binding.host_ip.is_unspecified else binding.host_ip
            packet = Packet(client=client, address=address, protocol=binding.protocol, port=binding.host_port)
            yield packet, binding.target


def _linked(at: AskedPort, walk: Walk, client: Party, server: Party) -> Iterator[_Asked]:
    """Links open ports on the default bridge; for any port the first of each is asked."""
    if at.port or client.kind is not PartyKind.ATTACHMENT:
        return
    for link in walk.sites[client.host].members[client.name].links:
        for address in (link.ipv4, link.ipv6) if link.target == server.name else ():
            for first, _, protocol in link.ports if address is not None else ():
                if address is not None and at.protocol in ("", protocol):
                    yield Packet(client=client, address=address, protocol=protocol, port=first), first


def _without_address(walk: Walk, server: Party) -> Iterator[ReachAnswer]:
    """There is nothing to ask of an endpoint whose address only its plugin may tell."""
    site = walk.sites[server.host]
    for endpoint in site.members[server.name].endpoints if server.kind is PartyKind.ATTACHMENT else ():
        network = site.networks[endpoint.network].wanted
        if endpoint.ipv4 is None and endpoint.ipv6 is None and network.traits.is_plugin:
            text = f"{server} has no address on {network.name}, a plugin's network, that a spec tells of"
            yield not_known(text, endpoint.unit)
