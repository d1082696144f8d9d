"""From what a host had and the plan from there, to what a reviewer is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.model.desired import DesiredEndpoint, DesiredState
from reconciler.model.plan import Disruption, Operation
from reconciler.model.wanted import SpecWarning
from reconciler.reach.site import interface_of
from reconciler.reach.walk import Walk
from reconciler.review.entries import DifferingEntry, differing_entries, entry_changes, shared_changes
from reconciler.review.names import names_of
from reconciler.review.shared import shared_networks
from reconciler.review.values import NO_CHANGES, EntryChange, FlowChanges, HostReview, Move, Planned, Review

_Place = tuple[str, str]
"""Attachment and network."""

_WORSE: Final = {disruption: rank for rank, disruption in enumerate(Disruption)}


def review_pass(planned: Planned, against: str) -> Review:
    """Review what a pass on one host would do. against: what it was planned from."""
    if planned.had is planned.report.desired or planned.report.spec_faults:
        review = _review_of(against, _changes([planned]), [_own_review(planned)], NO_CHANGES, planned.unmet)
    else:
        from reconciler.reach.stand_ins import walk_of  # imported by those who change something

        had, has = walk_of([planned.had]), walk_of([planned.report.desired])
        review = reviewed(against, [planned], had, has, planned.unmet)
    return replace(review, is_of_pass=True)


def reviewed(
    against: str, plans: Sequence[Planned], before: Walk, after: Walk, faults: Iterable[SpecError] = ()
) -> Review:
    """Review hosts. before, after: all of them, then and now. faults: of expectations, beside those of the specs."""
    from reconciler.review.flows import BETWEEN, flow_changes  # imported by those who change something

    flows, left = flow_changes(before, after), _left(before, after)
    reviews = [
        _host_review(planned, left, flows.get(planned.report.desired.host.name, NO_CHANGES)) for planned in plans
    ]
    review = _review_of(against, _changes(plans), reviews, flows[BETWEEN], faults)
    return review if review.faults else replace(review, shared=shared_networks(plans, reviews))


def _changes(plans: Sequence[Planned]) -> Mapping[str, tuple[EntryChange, ...]]:
    differing: dict[tuple[int, ...], tuple[DifferingEntry, ...]] = {}
    changes: dict[str, tuple[EntryChange, ...]] = {}
    for planned in plans:
        old, new = planned.before, planned.after
        documents = tuple(map(id, (*old.documents, *new.documents)))
        if documents not in differing:  # hosts differ by what their templates give alone
            differing[documents] = differing_entries(old.documents, new.documents)
        changes[planned.report.desired.host.name] = entry_changes(differing[documents], old.wanted, new.wanted)
    return changes


def _host_review(planned: Planned, left: Mapping[_Place, DesiredEndpoint], flows: FlowChanges) -> HostReview:
    """Review one host. left: the endpoints that went from the hosts where they were. flows: its own.

    What faults leave out of the specs stays as it is, so that nothing more can be said of it before they are mended.
    """
    if planned.report.spec_faults:
        return HostReview(host=planned.report.desired.host.name, report=planned.report)
    review, names_before = _own_review(planned), names_of(planned.had)
    names = names_of(planned.report.desired)
    return replace(
        review,
        flows=flows,
        names_gained=tuple(sorted(names - names_before)),
        names_lost=tuple(sorted(names_before - names)),
        moves=tuple(sorted(_moves({**left, **_endpoints(planned.had)}, planned.report.desired))),
    )


def _own_review(planned: Planned) -> HostReview:
    """Return what the plan alone tells: who is hit, and what drifted."""
    operations = planned.report.plan.operations
    return HostReview(
        host=planned.report.desired.host.name,
        report=planned.report,
        hit=tuple(sorted(_hit(operations).items())),
        drift=tuple(one for one in operations if one.key in planned.drift and not one.is_news),
    )


def _review_of(
    against: str,
    changes: Mapping[str, Iterable[EntryChange]],
    hosts: Iterable[HostReview],
    between: FlowChanges,
    faults: Iterable[SpecError] = (),
) -> Review:
    """Put the hosts together. between: flows that several have a part in. faults: of expectations, beside those of the specs."""
    reviews = tuple(hosts)
    said = chain(faults, *(review.report.spec_faults for review in reviews))
    places = {(fault.file, fault.line, fault.column, fault.message): fault for fault in said}
    warnings: set[SpecWarning] = set(chain.from_iterable(review.report.spec_warnings for review in reviews))
    return Review(
        against=against,
        changes=shared_changes(changes),
        hosts=reviews,
        between=between if not any(review.report.spec_faults for review in reviews) else NO_CHANGES,
        faults=tuple(places[place] for place in sorted(places)),
        warnings=tuple(sorted(warnings)),
    )


def _hit(operations: Iterable[Operation]) -> dict[str, Disruption]:
    worst: dict[str, Disruption] = {}
    for operation in operations:
        for name in operation.affects if operation.disruption is not Disruption.NONE else ():
            worst[name] = max(worst.get(name, Disruption.NONE), operation.disruption, key=_WORSE.__getitem__)
    return worst


def _left(before: Walk, after: Walk) -> Mapping[_Place, DesiredEndpoint]:
    found: dict[_Place, DesiredEndpoint] = {}
    for host, site in before.sites.items():
        there = after.sites[host].members
        found |= {place: one for place, one in _endpoints(site.desired).items() if place[0] not in there}
    return found


def _moves(before: Mapping[_Place, DesiredEndpoint], has: DesiredState) -> Iterator[Move]:
    """Yield endpoints that were there before. What a host chose itself is the same only where it stays on its host."""
    for place, now in _endpoints(has).items():
        was = before.get(place)
        for version in (4, 6) if was is not None else ():
            assert was is not None
            old, new = interface_of(was, version), interface_of(now, version)
            if old is not None and new is not None and (old != new or was.id != now.id):
                move = Move(
                    attachment=place[0],
                    network=place[1],
                    before=_declared(was, version),
                    after=_declared(now, version),
                )
                if move.before != move.after or not move.after:
                    yield move


def _declared(endpoint: DesiredEndpoint, version: int) -> str:
    address = endpoint.wanted.ipv4_address if version == 4 else endpoint.wanted.ipv6_address
    return "" if address is None else str(address)


def _endpoints(desired: DesiredState) -> dict[_Place, DesiredEndpoint]:
    return {(a.name, e.network): e for a in desired.attachments for e in a.endpoints if not e.wanted.is_gateway}
