"""The shortest change of the specs by which one reaches another: candidates, each tried by asking again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from reconciler.explain.answer import all_found, first_reached
from reconciler.explain.candidates import Asked, candidates
from reconciler.explain.declared import DeclaredHosts
from reconciler.explain.edits import Edit, at, changed
from reconciler.explain.target import NobodyMeant, TypedTarget, question
from reconciler.explain.values import SpecEdit
from reconciler.reach.values import PartyKind

_TOGETHER_MAX: Final = 10
"""Candidates of which two are tried together."""
_CHECKED_MAX: Final = 4
"""Changes that are tried on all specs: those that did well among the few attachments that have a part in it."""


def changes(specs: DeclaredHosts, client: str, target: TypedTarget) -> tuple[SpecEdit, ...]:
    """Return the shortest change that makes it a yes; () where none is known."""
    found = _shortest(specs, client, target)
    return () if found is None else tuple(edit.change(specs.documents) for edit in found[0])


def changed_by(specs: DeclaredHosts, client: str, target: TypedTarget) -> DeclaredHosts | None:
    """Return what all hosts have after that change, None where none is known."""
    found = _shortest(specs, client, target)
    return None if found is None else found[1]


def _shortest(specs: DeclaredHosts, client: str, target: TypedTarget) -> tuple[tuple[Edit, ...], DeclaredHosts] | None:
    server = _server(specs, client, target)
    there = {name for site in specs.walk.sites.values() for name in site.members}
    asked = Asked(
        documents=specs.documents,
        client=client,
        server=server,
        target=target,
        absent=frozenset({client, server} - there),
    )
    kept = {client, server, *_linked(specs, client), *_linked(specs, server)}
    tried = 0
    for edits in _shortest_first([*candidates(asked)]):
        if _is_reached(changed(specs, edits, kept), client, target):
            whole = changed(specs, edits)
            if _has_all(whole, specs) and _is_reached(whole, client, target):
                return edits, whole
            tried += 1
        if tried == _CHECKED_MAX:
            break
    return None


def _shortest_first(single: Sequence[Edit]) -> Iterator[tuple[Edit, ...]]:
    yield from ((edit,) for edit in single)
    yield from (pair for pair in combinations(single[:_TOGETHER_MAX], 2) if pair[0].path != pair[1].path)


def _server(specs: DeclaredHosts, client: str, target: TypedTarget) -> str:
    """Return the attachment that is meant, whether any host has it or not."""
    if any(at([document], ("attachments", target.name)) is not None for document in specs.documents):
        return target.name
    if target.address is not None:
        for site in specs.walk.sites.values():
            for name in site.members:
                if target.address in site.addresses_of(name):
                    return name
        return ""
    try:
        found = question(specs, client, target).servers[0]
    except (LookupError, NobodyMeant):
        return ""
    return found.name if found.kind is PartyKind.ATTACHMENT else ""


def _linked(specs: DeclaredHosts, name: str) -> Iterator[str]:
    links = at(specs.documents, ("attachments", name, "links")) if name else None
    yield from (str(link).partition(":")[0] for link in (links if isinstance(links, list) else ()))


def _has_all(specs: DeclaredHosts, before: DeclaredHosts) -> bool:
    """Return whether nobody is left out for an edit, as one whose port another takes."""
    there, was = ({name for site in each.walk.sites.values() for name in site.members} for each in (specs, before))
    return was <= there and len(specs.faults) <= len(before.faults)


def _is_reached(specs: DeclaredHosts, client: str, target: TypedTarget) -> bool:
    try:
        asked = question(specs, client, target)
    except (LookupError, NobodyMeant):
        return False
    return first_reached(asked, specs.walk, all_found(asked, specs.walk)) is not None
