"""Whom somebody means: an attachment, a name that one answers to, an address, `host` or `outside`, and the port there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from reconciler.explain.declared import DeclaredHosts
from reconciler.explain.values import Question
from reconciler.model.ip import address_or_none
from reconciler.model.objects import IPAddress
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.names import names_of
from reconciler.review.questions import AskedPort, is_pair

OUTSIDE, HOST = "outside", "host"
_PORT: Final = re.compile(r"(?P<name>.*?)(?::(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp|sctp))?)?\Z")
_BRACKETS: Final = re.compile(r"\[(?P<address>[^]]*)\](?P<rest>(?::.*)?)\Z")


class NobodyMeant(ValueError):
    """What was typed is nobody who can be asked about."""


class TypedTarget(Struct, frozen=True, kw_only=True):
    """name: as typed. address: when it is one."""

    name: str
    at: AskedPort = AskedPort()
    address: IPAddress | None = None


def read_target(text: str) -> TypedTarget:
    """Read `OTHER[:PORT[/udp]]`. Raises NobodyMeant."""
    bracketed = _BRACKETS.match(text)
    if bracketed is None and text.count(":") > 1:
        address = address_or_none(text)
        if address is None:
            raise NobodyMeant(f"{text!r}: an IPv6 address before a port stands in brackets, as in [fd00::1]:80")
        return TypedTarget(name=text, address=address)
    name = bracketed["address"] if bracketed else text
    found = _PORT.match(bracketed["rest"] if bracketed else text)
    assert found is not None
    name = name if bracketed else found["name"]
    port = int(found["port"] or 0)
    if not name or port > 0xFFFF or (found["port"] and not port) or (bracketed and found["name"]):
        raise NobodyMeant(f"{text!r} is nobody: expected NAME, NAME:PORT or NAME:PORT/udp, as db:5432")
    return TypedTarget(
        name=name, at=AskedPort(port, found["protocol"] or "tcp" if port else ""), address=address_or_none(name)
    )


def question(specs: DeclaredHosts, client: str, target: TypedTarget) -> Question:
    """Find the parties. Raises LookupError with who is not there, on any host."""
    walk, host = specs.walk, specs.settings.host
    servers = tuple(_servers(specs.walk, target, client))
    clients = _called(walk, client) if client not in (OUTSIDE, HOST) else _beside(walk, client, servers)
    if target.address is not None:
        return Question(client=_nearest(clients, host, client), address=target.address, at=target.at, name=target.name)
    if not servers:
        raise LookupError(target.name)
    chosen = _nearest(clients, host, client)
    others = tuple(each for each in servers if is_pair(chosen, each) and each.name != client)
    if not others:
        raise NobodyMeant(f"{client} and {target.name} are one, or do not ask each other: name another one")
    near = tuple(each for each in others if each.host == chosen.host)
    is_alias = servers[0].kind is PartyKind.ATTACHMENT and servers[0].name != target.name
    return Question(client=chosen, servers=near or others, at=target.at, name=target.name, is_alias=is_alias)


def _nearest(parties: Sequence[Party], host: str, name: str) -> Party:
    """Choose the one on this host, else the first."""
    if not parties:
        raise LookupError(name)
    return min(parties, key=lambda party: (party.host != host, party.host))


def _beside(walk: Walk, name: str, servers: Sequence[Party]) -> list[Party]:
    """Return the hosts, or the outsides of them, that may be asked about these servers: those where the servers are."""
    there = {server.host for server in servers}
    return [one for one in _hosts(walk, name) if not there or one.host in there]


def _hosts(walk: Walk, name: str) -> list[Party]:
    kind = PartyKind.HOST if name == HOST else PartyKind.OUTSIDE
    return [Party(kind, host) for host in walk.sites]


def _called(walk: Walk, name: str) -> list[Party]:
    """Return the attachments of this name. One in its host's own namespace is that host."""
    return [site.party(site.members[name]) for site in walk.sites.values() if name in site.members]


def _servers(walk: Walk, target: TypedTarget, client: str) -> Iterator[Party]:
    if target.name in (OUTSIDE, HOST):
        yield from _hosts(walk, target.name)
        return
    found = _called(walk, target.name)
    yield from found or dict.fromkeys(_answering(walk, target.name.lower(), client))


def _answering(walk: Walk, name: str, client: str) -> Iterator[Party]:
    """Yield who answers to a name: first on networks that the client is on."""
    for site in walk.sites.values():
        member = site.members.get(client)
        joined = {endpoint.network for endpoint in member.endpoints} if member else set()
        known = [one for one in names_of(site.desired) if one.name == name and one.only_to in ("", client)]
        for one in sorted(known, key=lambda one: (one.network not in joined, one)):
            yield site.party(site.members[one.attachment])


def similar(specs: DeclaredHosts, name: str) -> str:
    """Return a hint at what was meant, "" for none."""
    known = {name for site in specs.walk.sites.values() for name in site.members}
    near = get_close_matches(name, known, n=1)
    return f": did you mean {near[0]!r}?" if near else ""
