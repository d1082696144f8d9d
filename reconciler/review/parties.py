"""Whom an expectation means, on all hosts: those who are there, and those of whom nothing can be said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from reconciler.model.expectation import Parties
from reconciler.model.wanted import Source
from reconciler.reach.site import Site
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.spec.document import Document, Tree
from reconciler.spec.places import Places


class Untold(NamedTuple):
    """An attachment that is meant and that nobody can be asked about. name: with its host where it has one."""

    name: str
    reason: str
    source: Source | None


def parties_of(parties: Parties, walk: Walk) -> list[Party]:
    """Return whom an expectation means. Who is in a host's own namespace is that host."""
    if parties.name in ("host", "outside"):
        kind = PartyKind.HOST if parties.name == "host" else PartyKind.OUTSIDE
        return [Party(kind, host) for host in walk.sites]
    members = [(site, member) for site in walk.sites.values() for member in site.members.values()]
    by_name = [site.party(member) for site, member in members if _is_named(parties, member.name)]
    by_network = (
        site.party(member)
        for site, member in members
        if any(_fits(parties, site, endpoint.network) for endpoint in member.endpoints)
    )
    return list(dict.fromkeys(by_name or by_network))


def untold(parties: Parties, walk: Walk, documents: Sequence[Document]) -> Iterator[Untold]:
    """Yield those meant that are on no host: nothing could be decided for them, or no host that is known has them."""
    if parties.name in ("host", "outside"):
        return
    decided = {name for site in walk.sites.values() for name in site.members}
    places = Places(documents)
    is_by_name = any(_is_named(parties, name) for name in (*decided, *(name for name, _, _ in _declared(documents))))
    for site in walk.sites.values():
        reasons = {unit.attachment: str(error) for unit, error in site.desired.failures if unit.attachment}
        decided |= reasons.keys()
        for one in site.desired.held:
            joined = (endpoint.network for endpoint in one.wanted.endpoints)
            if one.name in reasons and _may_be_meant(parties, one.name, (site,), joined, is_by_name=is_by_name):
                yield Untold(f"{one.name} (on {site.name})", reasons[one.name], places.get(one.unit))
    sites = tuple(walk.sites.values())
    for name, networks, source in _declared(documents):
        if name not in decided and _may_be_meant(parties, name, sites, networks, is_by_name=is_by_name):
            yield Untold(name, "no host that is known has it", source)


def _may_be_meant(
    parties: Parties, name: str, sites: Sequence[Site], networks: Iterable[str], *, is_by_name: bool
) -> bool:
    if is_by_name:
        return _is_named(parties, name)
    return any(_fits(parties, site, network) for network in networks for site in sites)


def _is_named(parties: Parties, name: str) -> bool:
    return bool(parties.name) and fnmatchcase(name, parties.name)


def _fits(parties: Parties, site: Site, network: str) -> bool:
    """Return whether a network's members are meant; of one that is not there, whether they may be."""
    if not parties.labels:
        return fnmatchcase(network, parties.network or parties.name)
    found = site.networks.get(network)
    return found is None or set(parties.labels) <= set(found.wanted.labels)


def _declared(documents: Iterable[Document]) -> Iterator[tuple[str, tuple[str, ...], Source]]:
    """Yield all attachments, of whatever host, with their networks and lines."""
    for document in documents:
        for name, entry in document.entries("attachments"):
            if not name.startswith("x-"):
                yield name, tuple(_networks(entry)), document.source(("attachments", name), at_key=True)


def _networks(entry: Tree) -> Iterator[str]:
    networks = entry.get("networks") if isinstance(entry, dict) else None
    return (name for name in (networks if isinstance(networks, dict | list) else ()) if isinstance(name, str))
