"""Real packets along a path: whether they arrive, and else at which step they fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.backends import Backends
from reconciler.explain.values import About, Explanation, Sentence, Verdict
from reconciler.explain.ways import left_by, said
from reconciler.model.objects import IPAddress
from reconciler.probe import answered
from reconciler.reach.probing import Probe
from reconciler.reach.site import interface_of
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE
from reconciler.reach.values import Packet, Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.questions import Found

_LOOPBACK: Final = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}
_SENDABLE: Final = ("icmp", "tcp")


class _Part(Struct, frozen=True, kw_only=True):
    """A packet of a part of the way, and what it shows when nobody answers."""

    packet: Packet
    server: Party
    shows: str


def probed(explanation: Explanation, found: Sequence[Found], walk: Walk, host: str, backends: Backends) -> Explanation:
    """Send the packet of the answer and of the parts of its way. found: what arrives by the specs, else all that was asked."""
    chosen = next(((one, packet) for one in found if (packet := _sendable(one, walk, host)) is not None), None)
    if chosen is None:
        text = "nobody here can be asked: packets are sent from this host, as pings and TCP, and not from or to the outside"
        return replace(explanation, probes=(Sentence(about=About.HOST, text=text),))
    one, packet = chosen
    whole = _Part(packet=packet, server=one.answer.server or one.server, shows="")
    parts = (*_parts(one, packet, walk), whole)
    probes = {part: Probe(packet=part.packet, server=part.server, answer=one.answer) for part in parts}
    replies = answered(dict.fromkeys(probes.values()), walk, backends)
    return _judged(explanation, whole, {part: replies.get(probe) for part, probe in probes.items()})


def _sendable(one: Found, walk: Walk, host: str) -> Packet | None:
    """Return the packet with a real address in the place of one that stands for the host's; None where none can be sent."""
    packet = one.packet
    if packet is None or packet.client.host != host or packet.client.kind is PartyKind.OUTSIDE:
        return None
    if packet.protocol not in _SENDABLE or packet.address in OUTSIDE.values():
        return None
    if packet.address not in OF_HOST.values():
        return packet
    address = _real_address(packet, walk)
    return None if address is None else replace(packet, address=address)


def _real_address(packet: Packet, walk: Walk) -> IPAddress | None:
    if packet.client.kind is PartyKind.HOST:
        return _LOOPBACK[packet.version]
    return next(walk.sites[packet.client.host].gateways_of(packet.client.name, packet.version), None)


def _parts(one: Found, packet: Packet, walk: Walk) -> Iterator[_Part]:
    """Yield pings of the host's address beside the client, and from the host to the server."""
    client, site = packet.client, walk.sites[packet.client.host]
    host = Party(PartyKind.HOST, client.host)
    if client.kind is PartyKind.ATTACHMENT:
        gateway = _beside(packet, walk)
        if gateway is not None:
            shows = f"the host's own address beside {client}, {gateway}, does not answer: its link, sandbox or bridge is at fault"
            yield _Part(packet=_ping(client, gateway), server=host, shows=shows)
    server = one.answer.server or one.server
    if server.kind is not PartyKind.ATTACHMENT or server.host != client.host or client.kind is PartyKind.HOST:
        return
    for endpoint in site.members[server.name].endpoints:
        interface, network = interface_of(endpoint, packet.version), site.networks[endpoint.network]
        if interface is not None and network.is_bridged and site.gateway(network, interface.ip) is not None:
            shows = (
                f"{server} does not answer the host itself at {interface.ip}: its link, sandbox or bridge is at fault"
            )
            yield _Part(packet=_ping(host, interface.ip), server=server, shows=shows)


def _beside(packet: Packet, walk: Walk) -> IPAddress | None:
    """Return the address that this host has on the network by which a packet leaves, if it has one there."""
    site = walk.sites[packet.client.host]
    endpoint = left_by(site, packet)
    interface = None if endpoint is None else interface_of(endpoint, packet.version)
    if endpoint is None or interface is None:
        return None
    network = site.networks[endpoint.network]
    has_bridge = network.is_bridged or network.wanted.traits.is_vxlan
    return site.gateway(network, interface.ip) if has_bridge else None


def _ping(client: Party, address: IPAddress) -> Packet:
    return Packet(client=client, address=address, protocol="icmp")


def _judged(explanation: Explanation, whole: _Part, replies: Mapping[_Part, bool | None]) -> Explanation:
    """Add what the replies show, None where a sandbox is not there to send."""
    probes = tuple(_sentence(part, is_answered) for part, is_answered in replies.items())
    arrives, is_expected = replies[whole], explanation.verdict is Verdict.YES
    if arrives is None:
        text = f"the sandbox of {whole.packet.client} is not there: nothing can be sent from it"
        why = Sentence(about=About.INTERFACE, text=text)
    elif arrives == is_expected:
        return replace(explanation, probes=probes)
    elif arrives:
        text = "packets arrive though they should not: somebody else lets them through, or this host is not as declared"
        return replace(
            explanation, probes=probes, notes=(*explanation.notes, Sentence(about=About.FIREWALL, text=text))
        )
    else:
        why = _failure(whole, replies)
    verdict = Verdict.NO if is_expected else explanation.verdict
    return replace(explanation, verdict=verdict, probes=probes, reasons=(*explanation.reasons, (why,)))


def _failure(whole: _Part, replies: Mapping[_Part, bool | None]) -> Sentence:
    """Return the first part of the way that fails; where none does, what is left of it."""
    parts = [part for part in replies if part is not whole]
    failed = next((part for part in parts if replies[part] is False), None)
    if failed is not None:
        return Sentence(about=About.INTERFACE, text=failed.shows)
    if len(parts) > 1:
        text = "both ends answer the host, and what passes between them is lost: rules of somebody else? `reconcile doctor` looks"
        return Sentence(about=About.FIREWALL, text=text)
    client = "the host" if whole.packet.client.kind is PartyKind.HOST else "the host's own address beside it"
    text = f"what goes beyond {client} is lost: on the way to {whole.server}, or there"
    return Sentence(about=About.INTERFACE, text=text)


def _sentence(part: _Part, is_answered: bool | None) -> Sentence:
    how = "answered" if is_answered else "not sent" if is_answered is None else "not answered"
    client = part.packet.client
    text = f"{client} to {said(part.packet)} ({part.packet.protocol}): {how}"
    return Sentence(about=About.HOST, text=text)
