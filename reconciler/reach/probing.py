"""What is to be asked with real packets on one host, and who should get them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from reconciler.model.desired import DesiredAttachment
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress
from reconciler.model.words import before_port
from reconciler.reach.site import Site, interface_of
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer
from reconciler.reach.walk import Walk


class Probe(Struct, frozen=True, kw_only=True):
    """One packet of a client. answer: what the specs say comes of it."""

    packet: Packet
    server: Party
    answer: ReachAnswer

    @property
    def is_expected(self) -> bool:
        return self.answer.server == self.server

    def difference(self) -> str:
        """Return a line on a packet that did not go as expected."""
        packet = self.packet
        where = f"{before_port(packet.address)}:{packet.port}" if packet.port else str(packet.address)
        said = "does not arrive, and should" if self.is_expected else "arrives, and should not"
        reasons = ", ".join(step.text for step in self.answer.steps)
        return f"{packet.client} → {self.server} at {where} ({packet.protocol}): {said}: {reasons}"


def probes(walk: Walk, host: str, port: int = 0) -> Iterator[Probe]:
    """Yield pings of all members of a host and of the host itself to all others, and TCP to what they publish.

    port: TCP to this port of each, instead. What nobody knows is not asked.
    """
    site = walk.sites[host]
    members = [member for member in site.members.values() if member.ns != HOST and member.endpoints]
    for client in (Party(PartyKind.HOST, host), *map(site.party, members)):
        for member in members:
            server = site.party(member)
            if server != client:
                yield from _known(walk, server, _to_member(site, client, member, port))
        if client.kind is PartyKind.ATTACHMENT:
            yield from _known(walk, Party(PartyKind.HOST, host), _to_host(site, client, port))


def _known(walk: Walk, server: Party, packets: Iterator[Packet]) -> Iterator[Probe]:
    for packet in packets:
        answer = walk.ask(packet)
        if answer.is_known:
            yield Probe(packet=packet, server=server, answer=answer)


def _to_member(site: Site, client: Party, member: DesiredAttachment, port: int) -> Iterator[Packet]:
    for endpoint in member.endpoints:
        for interface in (endpoint.ipv4, endpoint.ipv6):
            if interface is not None:
                yield _packet(client, interface.ip, port)
        for binding in endpoint.ports:
            if binding.protocol == "tcp" and binding.host_port and port in (0, binding.target):
                for address in _published_at(site, client, binding.host_ip):
                    yield _packet(client, address, binding.host_port)


def _published_at(site: Site, client: Party, host_ip: IPAddress) -> Iterator[IPAddress]:
    """Yield where a client asks; what is published at all addresses of the host a member finds at its gateways."""
    if not host_ip.is_unspecified:
        yield host_ip
    elif client.kind is PartyKind.ATTACHMENT:
        yield from site.gateways_of(client.name, host_ip.version)


def _to_host(site: Site, client: Party, port: int) -> Iterator[Packet]:
    for endpoint in site.members[client.name].endpoints:
        for version in (4, 6):
            if interface_of(endpoint, version) is not None:
                yield from (_packet(client, gateway, port) for gateway in site.gateways_of(client.name, version))


def _packet(client: Party, address: IPAddress, port: int) -> Packet:
    return Packet(client=client, address=address, protocol="tcp" if port else "icmp", port=port)
