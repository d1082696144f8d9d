"""Whether the specs bring about what they expect: who reaches whom, asked of the desired state of all hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from reconciler.errors import ExpectationUnmet
from reconciler.model.expectation import Expectation
from reconciler.model.wanted import Source
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.review.parties import parties_of, untold
from reconciler.review.questions import AskedPort, Found, asked, is_pair, lined_steps
from reconciler.spec.document import Document


class _Said(Struct, frozen=True):
    """places: the lines that are why, as the text names them."""

    text: str
    places: tuple[Source, ...] = ()


def unmet(expectations: Iterable[Expectation], walk: Walk, documents: Sequence[Document]) -> Iterator[ExpectationUnmet]:
    """Yield a fault for each expectation that is not met, with the first pair that shows it and the line that is why.

    What is not known is neither: the expectation is not proved, whichever it is.
    """
    for expectation in expectations:
        said = _contradiction(expectation, walk, documents) or _missing(expectation, walk, documents)
        if said is not None:
            why = f" ({expectation.why})" if expectation.why else ""
            at = expectation.source
            because = tuple((place.file, place.line, place.column) for place in said.places)
            yield ExpectationUnmet(at.file, at.line, at.column, f"{said.text}{why}", because)


def _contradiction(expectation: Expectation, walk: Walk, documents: Sequence[Document]) -> _Said | None:
    """Compare each client with each server. That one is wrong says more than that another is not known."""
    at = f" at {expectation.port}" if expectation.port else ""
    port = AskedPort(expectation.port, expectation.protocol)
    doubt = None
    for client, servers in _pairs(expectation, walk):
        found: list[Found] = []
        for each in (each for server in servers for each in asked(port, walk, client, server)):
            found.append(each)
            if each.is_reached:
                break
        reached = found[-1] if found and found[-1].is_reached else None
        unknown = next((each for each in found if not each.answer.is_known), None)
        if reached is not None:
            if not expectation.is_reached:
                return _said(f"{_named(client)} reaches {_named(reached.server)}{at}", reached, documents)
        elif unknown is not None:
            both = f"{_named(client)} reaches {_named(unknown.server)}{at}"
            doubt = doubt or _said(f"it is not known whether {both}", unknown, documents)
        elif expectation.is_reached:
            server, first = servers[0], next(iter(found), None)
            return _said(f"{_named(client)} does not reach {_named(server)}{at}", first, documents)
    return doubt


def _missing(expectation: Expectation, walk: Walk, documents: Sequence[Document]) -> _Said | None:
    for parties, verb in ((expectation.client, "reaches"), (expectation.server, "is reached by")):
        other = expectation.server if parties is expectation.client else expectation.client
        for one in untold(parties, walk, documents):
            at = f" ({one.source})" if one.source is not None else ""
            text = f"it is not known whether {one.name} {verb} {other}: {one.reason}{at}"
            return _Said(text, () if one.source is None else (one.source,))
    return None


def _pairs(expectation: Expectation, walk: Walk) -> Iterator[tuple[Party, list[Party]]]:
    """Yield clients with their servers; those that several hosts have stand together: to reach one of them is enough."""
    alike: defaultdict[tuple[PartyKind, str], list[Party]] = defaultdict(list)
    for server in parties_of(expectation.server, walk):
        alike[server.kind, server.name].append(server)
    for client in parties_of(expectation.client, walk):
        for servers in alike.values():
            others = [server for server in servers if is_pair(client, server)]
            if others:
                yield client, others


def _named(party: Party) -> str:
    return f"{party} (on {party.host})" if party.kind is PartyKind.ATTACHMENT else f"{party} of {party.host}"


def _said(text: str, found: Found | None, documents: Sequence[Document]) -> _Said:
    """Add the steps of the answer, if there is one."""
    if found is None:
        return _Said(text)
    steps = [*lined_steps(found, documents)]
    reasons = (step.text if at is None else f"{step.text} ({at})" for step, at in steps)
    return _Said(f"{text}: {', '.join(reasons)}", tuple(at for _, at in steps if at is not None))
