"""One attachment, without anybody in particular to reach: its interfaces, its way out, its ports, and whom it reaches."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from reconciler.explain.absent import absences
from reconciler.explain.declared import DeclaredHosts
from reconciler.explain.lines import Lines
from reconciler.explain.target import NobodyMeant, TypedTarget, question, similar
from reconciler.explain.values import About, Reason, Sentence
from reconciler.explain.ways import medium
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint
from reconciler.model.words import before_port
from reconciler.reach.site import Site, gateway_of, interface_of, way_out
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.names import names_of
from reconciler.review.questions import AskedPort, asked

_ELSEWHERE = (PartyKind.OUTSIDE, PartyKind.HOST)


class Overview(Struct, frozen=True, kw_only=True):
    """reached, not_reached: `outside`, `host` and all other attachments. reasons: why it is on no host, where it is on none."""

    attachment: str
    host: str = ""
    about: tuple[Sentence, ...] = ()
    reached: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = ()
    not_known: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()


def overview(specs: DeclaredHosts, name: str) -> Overview:
    """Return what there is to say of an attachment. Raises NobodyMeant when the specs do not speak of it."""
    try:
        client = question(specs, name, TypedTarget(name="outside")).client
    except LookupError:
        reasons = tuple(absences(specs, name))
        if not reasons:
            raise NobodyMeant(f"attachment {name!r} not found{similar(specs, name)}") from None
        return Overview(attachment=name, reasons=reasons)
    walk, lines = specs.walk, Lines(specs.documents)
    answers = {str(other): is_reached for other, is_reached in _others(client, walk)}
    return Overview(
        attachment=name,
        host=client.host,
        about=tuple(_about(walk.sites[client.host], name, lines)),
        reached=tuple(other for other, is_reached in answers.items() if is_reached),
        not_reached=tuple(other for other, is_reached in answers.items() if is_reached is False),
        not_known=tuple(other for other, is_reached in answers.items() if is_reached is None),
    )


def _others(client: Party, walk: Walk) -> Iterator[tuple[Party, bool | None]]:
    """Yield the outside, the host and the others, and whether they are reached: None where that is not known."""
    for kind in _ELSEWHERE:
        yield _answered(client, Party(kind, client.host), walk)
    near = {client.name}
    for site in sorted(walk.sites.values(), key=lambda site: (site.name != client.host, site.name)):
        for member in site.members.values():
            if member.name not in near and site.party(member).kind is PartyKind.ATTACHMENT:
                near.add(member.name)
                yield _answered(client, site.party(member), walk)


def _answered(client: Party, server: Party, walk: Walk) -> tuple[Party, bool | None]:
    is_known = True
    for found in asked(AskedPort(), walk, client, server):
        if found.is_reached:
            return server, True
        is_known = is_known and found.answer.is_known
    return server, False if is_known else None


def _about(site: Site, name: str, lines: Lines) -> Iterator[Sentence]:
    member = site.members[name]
    for endpoint in member.endpoints:
        yield from _interface(site, endpoint, lines)
    for version in (4, 6):
        yield from _way_out(site, member, version, lines)
    for endpoint in member.endpoints:
        for binding in endpoint.ports:
            place = f"{before_port(binding.host_ip)}:{binding.host_port}" if binding.host_port else "its own address"
            text = f"{binding.target}/{binding.protocol} is published at {place}"
            yield Sentence(about=About.PORT, text=text, source=lines.of_port(name, binding.target), unit=endpoint.unit)


def _interface(site: Site, endpoint: DesiredEndpoint, lines: Lines) -> Iterator[Sentence]:
    network = site.networks[endpoint.network]
    addresses = [str(interface) for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None]
    known = [
        one.name
        for one in sorted(names_of(site.desired))
        if (one.network, one.attachment, one.only_to) == (endpoint.network, endpoint.attachment, "")
    ]
    names = f"; its names there: {', '.join(known)}" if known else ""
    where = f"{endpoint.ifname} on {network.name}, {medium(network)}" if endpoint.ifname else f"on {network.name}"
    text = f"{where}: {', '.join(addresses) or 'no address'}{names}"
    yield Sentence(about=About.INTERFACE, text=text, source=lines.of(endpoint.unit), unit=endpoint.unit)


def _way_out(site: Site, member: DesiredAttachment, version: int, lines: Lines) -> Iterator[Sentence]:
    if not any(interface_of(endpoint, version) is not None for endpoint in member.endpoints):
        return
    endpoint = way_out(member, site.networks, version)
    if endpoint is None:
        text = f"no IPv{version} default route: none of its networks leads outside"
        yield Sentence(about=About.ROUTE, text=text, source=lines.of(member.unit))
        return
    gateway = gateway_of(endpoint, version)
    by = f"by {gateway} on {endpoint.network}" if gateway is not None else f"on {endpoint.network}"
    yield Sentence(
        about=About.ROUTE, text=f"IPv{version} default route {by}", source=lines.of(endpoint.unit), unit=endpoint.unit
    )
