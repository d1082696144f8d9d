"""The answer to a question: yes with the path, or no with every different reason. Asks no host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from reconciler.explain.hints import hints
from reconciler.explain.known import known_as
from reconciler.explain.lines import Lines
from reconciler.explain.path import Teller
from reconciler.explain.values import About, Explanation, Question, Reason, Sentence, Verdict
from reconciler.reach.stand_ins import OF_HOST
from reconciler.reach.values import Packet, Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.questions import Found, across, asked

_ANY: Final = "icmp"


def answer(question: Question, walk: Walk, lines: Lines, *, is_foreseen: bool = True) -> Explanation:
    """Ask in every way that there is, and tell what came of it. is_foreseen: no host was looked at."""
    found = tuple(all_found(question, walk))
    teller = Teller(walk=walk, lines=lines, is_foreseen=is_foreseen)
    reached = first_reached(question, walk, found)
    explanation = Explanation(client=_client(question), server=server_text(question), verdict=Verdict.YES)
    notes = tuple(hints(question, walk, lines))
    if reached is not None:
        path = tuple(teller.path(question, reached))
        notes = tuple(note for note in notes if note.about is not About.PORT)
        version = reached.packet.version if reached.packet is not None else 0
        return replace(explanation, path=path, version=version, notes=(*_only_ports(question, found, lines), *notes))
    unknown = [each for each in found if not each.answer.is_known]
    verdict = Verdict.UNKNOWN if unknown else Verdict.NO
    because = tuple(_reasons(question, teller, unknown or found))
    return replace(explanation, verdict=verdict, reasons=(*((note,) for note in notes), *because))


def all_found(question: Question, walk: Walk) -> Iterator[Found]:
    if question.address is not None:
        yield from _at_address(question, walk)
        return
    for server in question.servers:
        if server.kind is PartyKind.HOST and question.at.port:
            yield from (_whoever(walk, packet, server) for packet in _to_host(question, walk, server))
        else:
            yield from asked(question.at, walk, question.client, server)


def first_reached(question: Question, walk: Walk, found: Iterable[Found]) -> Found | None:
    """Return what arrives, unless whoever asks finds nobody by that name."""
    if is_unknown_name(question, walk):
        return None
    return next((each for each in found if is_reached(question, each)), None)


def is_reached(question: Question, found: Found) -> bool:
    """Return whether it arrives. At an address, and at a port of the host, whoever is there is meant."""
    is_anybody = question.address is not None or (found.server.kind is PartyKind.HOST and question.at.port)
    return found.answer.server is not None if is_anybody else found.is_reached


def is_unknown_name(question: Question, walk: Walk) -> bool:
    is_named = question.is_alias and question.client.kind is PartyKind.ATTACHMENT
    return is_named and not any(True for _ in known_as(walk, question.client, question.name))


def _at_address(question: Question, walk: Walk) -> Iterator[Found]:
    assert question.address is not None
    packet = Packet(
        client=question.client,
        address=question.address,
        protocol=question.at.protocol or _ANY,
        port=question.at.port,
    )
    yield _whoever(walk, packet, None)


def _to_host(question: Question, walk: Walk, server: Party) -> Iterator[Packet]:
    for version in (4, 6):
        addresses = [OF_HOST[version]]
        if question.client.kind is PartyKind.ATTACHMENT and question.client.host == server.host:
            addresses += walk.sites[server.host].gateways_of(question.client.name, version)
        for address in addresses:
            protocol, port = question.at.protocol, question.at.port
            yield Packet(client=question.client, address=address, protocol=protocol, port=port)


def _whoever(walk: Walk, packet: Packet, asked_of: Party | None) -> Found:
    """Ask, and take whoever answers for the one who is meant."""
    found = walk.ask(packet) if asked_of is None else across(walk, packet, asked_of)
    server = asked_of or found.server or Party(PartyKind.OUTSIDE, packet.client.host)
    target = packet.port
    if found.server is not None and found.server.kind is PartyKind.ATTACHMENT:
        published = walk.sites[packet.client.host].published(packet.address, packet.protocol, packet.port)
        target = published.binding.target if published is not None else packet.port
    return Found(server=server, answer=found, target=target, packet=packet)


# --- reasons


def _reasons(question: Question, teller: Teller, found: Sequence[Found]) -> Iterator[Reason]:
    """Yield each different one. One about a family that the client has no address of is none where there are others."""
    told: dict[str, Reason] = {}
    for each in sorted(found, key=lambda one: not _has_family(question, teller.walk, one)):
        if told and not _has_family(question, teller.walk, each):
            break
        reason = tuple(teller.way(each))
        if each.answer.server is not None and not is_reached(question, each):
            reason = (*reason, _other(question, each))
        told.setdefault(reason[-1].text, reason)
    yield from told.values()


def _has_family(question: Question, walk: Walk, found: Found) -> bool:
    client, packet = question.client, found.packet
    if client.kind is not PartyKind.ATTACHMENT or packet is None:
        return True
    return any(address.version == packet.version for address in walk.sites[client.host].addresses_of(client.name))


def _other(question: Question, found: Found) -> Sentence:
    """Return who answers instead."""
    server = found.answer.server
    who = "it is led outside" if server is not None and server.kind is PartyKind.OUTSIDE else f"{server} answers there"
    return Sentence(about=About.ADDRESS, text=f"{who}, not {server_text(question)}")


def _only_ports(question: Question, found: Sequence[Found], lines: Lines) -> Iterator[Sentence]:
    """Yield at which ports alone it is reached, where whoever asks named none."""
    reached = [each for each in found if is_reached(question, each) and each.packet is not None]
    if question.at.port or any(not each.target for each in reached):
        return
    ports = dict.fromkeys((each.target, each.packet.protocol) for each in reached if each.packet)
    for port, protocol in ports:
        source = lines.of_port(question.servers[0].name, port) if question.servers else None
        yield Sentence(about=About.PORT, text=f"only what is published arrives: {port}/{protocol}", source=source)


def _client(question: Question) -> str:
    return str(question.client)


def server_text(question: Question) -> str:
    at = f":{question.at.port}/{question.at.protocol}" if question.at.port else ""
    is_bare = question.address is None or question.address.version == 4 or not at
    return f"{question.name if is_bare else f'[{question.name}]'}{at}"
