"""What somebody does not want to see in a change: by name, and what of a review is it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct

from reconciler.model.desired import DesiredState
from reconciler.model.objects import HOST_UNIT, Unit
from reconciler.model.plan import Action, Disruption
from reconciler.review.values import FlowChanges, HostReview, Review, ReviewFlow, SharedChange


class FailCondition(StrEnum):
    """In the words of `--fail-on`."""

    DELETE = "delete"
    RECREATE = "recreate"
    FLAP = "flap"
    DRIFT = "drift"
    REACH_GAINED = "reach-gained"
    REACH_LOST = "reach-lost"
    EXPOSED = "exposed"


class Match(Struct, frozen=True, kw_only=True):
    """What is there of a condition: entries that go, attachments that are hit, units that drifted, or flows.

    host: whose it is, "" for several.
    """

    condition: FailCondition
    host: str = ""
    found: tuple[str, ...] = ()
    flows: tuple[ReviewFlow, ...] = ()


def matches(review: Review, conditions: Iterable[FailCondition]) -> tuple[Match, ...]:
    """Return all that is there of these conditions."""
    wanted = frozenset(conditions)
    found = (*_deleted(review), *(one for host in review.hosts for one in _on(host)), *_flows("", review.between))
    return tuple(one for one in found if one.condition in wanted and (one.found or one.flows))


def _deleted(review: Review) -> Iterator[Match]:
    """Yield entries that go, but for those that move; and of what a host has that no specs tell of any more."""
    gone = [str(change.unit) for change in review.changes if _goes(change)]
    yield Match(condition=FailCondition.DELETE, found=tuple(gone))
    known = {change.unit for change in review.changes}
    for host in review.hosts:
        left = _deleted_units(host) - _declared(host.report.desired) - known
        yield Match(condition=FailCondition.DELETE, host=host.host, found=tuple(map(str, sorted(left))))


def _deleted_units(host: HostReview) -> set[Unit]:
    """Return the networks and attachments of which something is deleted."""
    deleted = (one.unit for one in host.report.plan.operations if one.action.is_removal)
    whole = (unit.entry() for unit in deleted)
    return {unit for unit in whole if unit != HOST_UNIT and not unit.network.startswith("<")}


def _declared(desired: DesiredState) -> set[Unit]:
    networks, attachments = (*desired.networks, *desired.held_networks), (*desired.attachments, *desired.held)
    return {each.unit for each in networks} | {each.unit for each in attachments}


def _goes(change: SharedChange) -> bool:
    return bool(change.on(Action.DELETE)) and not change.on(Action.CREATE)


def _on(host: HostReview) -> Iterator[Match]:
    for condition, disruption in ((FailCondition.RECREATE, Disruption.RECREATE), (FailCondition.FLAP, Disruption.FLAP)):
        hit = tuple(name for name, noticed in host.hit if noticed is disruption)
        yield Match(condition=condition, host=host.host, found=hit)
    drifted = tuple(sorted({str(operation.unit) for operation in host.drift}))
    yield Match(condition=FailCondition.DRIFT, host=host.host, found=drifted)
    yield from _flows(host.host, host.flows)


def _flows(host: str, changes: FlowChanges) -> Iterator[Match]:
    yield Match(condition=FailCondition.REACH_GAINED, host=host, flows=changes.gained)
    yield Match(condition=FailCondition.REACH_LOST, host=host, flows=changes.lost)
    exposed = tuple(flow for flow in changes.gained if flow.is_from_outside)
    yield Match(condition=FailCondition.EXPOSED, host=host, flows=exposed)
