"""What people mistake: a port that is exposed and not published, another protocol, another address, the host's own macvlan."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.explain.known import all_known_as, known_as
from reconciler.explain.lines import Lines
from reconciler.explain.values import About, Question, Sentence
from reconciler.model.desired import DesiredAttachment, PortBinding
from reconciler.model.objects import Unit
from reconciler.model.words import before_port, without
from reconciler.reach.site import Site
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk


def hints(question: Question, walk: Walk, lines: Lines) -> Iterator[Sentence]:
    """Yield what there is to know of the two, whatever comes of their packets."""
    yield from _names(question, walk, lines)
    yield from _remarks(question, walk, lines)
    for server in question.servers[:1]:
        yield from _networks(question.client, server, walk, lines)
        if server.kind is PartyKind.ATTACHMENT:
            yield from _ports(question, walk.sites[server.host].members[server.name], lines)
        yield from _own_host(question.client, server, walk, lines)
        yield from _own_host(server, question.client, walk, lines)


def _names(question: Question, walk: Walk, lines: Lines) -> Iterator[Sentence]:
    """Yield what there is to say of a name that the client does not find."""
    client, server = question.client, question.servers[0] if question.servers else None
    if client.kind is not PartyKind.ATTACHMENT or server is None or server.kind is not PartyKind.ATTACHMENT:
        return
    if any(True for _ in known_as(walk, client, question.name)):
        return
    known = [*all_known_as(walk, question.name)]
    places = dict.fromkeys(f"{network} for {only_to} alone" if only_to else network for network, _, only_to in known)
    for network, attachment, _ in known[:1]:
        text = f"{client} does not find the name {question.name}: it is known on {', '.join(places)}"
        source = lines.of(Unit(network=network, attachment=attachment))
        yield Sentence(about=About.NAME, text=text, source=source)
    if not known:
        is_nowhere = not walk.sites[server.host].addresses_of(server.name)
        text = (
            f"{server} has no address: it is on {', '.join(_joined(walk.sites[server.host], server.name)) or 'no network'}"
            if is_nowhere
            else f"{client} does not find the name {question.name}: the default network has no names"
        )
        about = About.ADDRESS if is_nowhere else About.NAME
        yield Sentence(about=about, text=text, source=lines.of(Unit(attachment=server.name)))


def _remarks(question: Question, walk: Walk, lines: Lines) -> Iterator[Sentence]:
    """Yield what comes to nothing of what is declared for who is asked, as a port that nothing can publish."""
    for one in question.servers:
        for unit, text in walk.sites[one.host].desired.remarks if one.kind is PartyKind.ATTACHMENT else ():
            if unit.attachment == one.name:
                text = f"of what is declared for {one}: {without(text, *unit.names())}"
                yield Sentence(about=About.SPECS, text=text, source=lines.of(Unit(attachment=one.name)))


def _networks(client: Party, server: Party, walk: Walk, lines: Lines) -> Iterator[Sentence]:
    """Yield what there is to say of two that share no network."""
    if client.kind is not PartyKind.ATTACHMENT or server.kind is not PartyKind.ATTACHMENT:
        return
    of_client, of_server = (_joined(walk.sites[one.host], one.name) for one in (client, server))
    shared = [name for name in of_client if name in of_server]
    is_near = client.host == server.host
    if any(is_near or walk.sites[client.host].networks[name].scope == "global" for name in shared):
        return
    places = " and ".join(
        f"{one} is on {', '.join(on) or 'no network'}" for one, on in ((client, of_client), (server, of_server))
    )
    far = "" if is_near else f", {client} on host {client.host} and {server} on host {server.host}"
    yield Sentence(
        about=About.NETWORK, text=f"they share no network: {places}{far}", source=lines.of(Unit(attachment=client.name))
    )


def _joined(site: Site, name: str) -> list[str]:
    return [endpoint.network for endpoint in site.members[name].endpoints if not endpoint.wanted.is_gateway]


def _ports(question: Question, server: DesiredAttachment, lines: Lines) -> Iterator[Sentence]:
    port, protocol = question.at.port, question.at.protocol
    if not port:
        return
    bindings = [binding for endpoint in server.endpoints for binding in endpoint.ports]
    published = [one for one in bindings if one.target == port and one.protocol == protocol]
    if published:
        yield from _at_loopback(question, server, published, lines)
        return
    for other in dict.fromkeys(one.protocol for one in bindings if one.target == port):
        text = f"{server.name} publishes {port} over {other}, not over {protocol}"
        yield Sentence(about=About.PORT, text=text, source=lines.of_port(server.name, port))
    for target in dict.fromkeys(one.target for one in bindings if one.host_port == port and one.protocol == protocol):
        text = f"{port} is the host's port that leads to {server.name}'s {target}: ask {server.name}:{target} or host:{port}"
        yield Sentence(about=About.PORT, text=text, source=lines.of_port(server.name, target))
    if any(first <= port <= last and of == protocol for first, last, of in server.wanted.expose):
        text = f"{server.name} exposes {port}/{protocol} and does not publish it: that opens it to nobody but those who link to it"
        yield Sentence(about=About.PORT, text=text, source=lines.of_field(server.name, "expose"))


def _at_loopback(
    question: Question, server: DesiredAttachment, published: list[PortBinding], lines: Lines
) -> Iterator[Sentence]:
    """Yield what there is to say of a port that is published at some addresses alone."""
    if any(one.host_ip.is_unspecified or not one.host_port for one in published):
        return
    places = ", ".join(f"{before_port(one.host_ip)}:{one.host_port}" for one in published)
    who = ": only the host itself reaches that" if all(one.host_ip.is_loopback for one in published) else ""
    text = f"{question.at.port}/{question.at.protocol} of {server.name} is published at {places} alone{who}"
    yield Sentence(about=About.PORT, text=text, source=lines.of_port(server.name, question.at.port))


def _own_host(member: Party, host: Party, walk: Walk, lines: Lines) -> Iterator[Sentence]:
    """Yield what there is to say of a macvlan or ipvlan beside the host that has its parent."""
    if member.kind is not PartyKind.ATTACHMENT or host.kind is not PartyKind.HOST:
        return
    site = walk.sites[member.host]
    for endpoint in site.members[member.name].endpoints:
        sublink = site.networks[endpoint.network].wanted.sublink
        if sublink is not None and sublink.parent:
            text = (
                f"{member} has a link of its own on {sublink.parent}: "
                "the kernel passes nothing between such a link and the host that has its parent"
            )
            yield Sentence(about=About.NETWORK, text=text, source=lines.of(Unit(network=endpoint.network)))
