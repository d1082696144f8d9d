"""Carry out a plan: step by step, each step's operations as batches, one failure harming only what depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import groupby

from reconciler.errors import ReconcilerError
from reconciler.kinds.world import Handler
from reconciler.model.kinds.base import Kind
from reconciler.model.objects import Key, Unit
from reconciler.model.plan import Operation, Outcome
from reconciler.plan.make_plan import Blocked
from reconciler.plan.ordering import is_forgetting, step

Progress = Callable[[int, int, Operation], None]
"""Told after each operation: how many are finished, of how many, and which one."""


def carry_out(
    operations: Sequence[Operation], handlers: Mapping[type[Kind], Handler], progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Apply the operations in their order and say what became of each.

    Once an operation fails, what else its unit or a unit that needs it would do is skipped, naming the cause. A network that goes
    is not forgotten, neither here nor by its plugins and the cluster, before its endpoints are: what is left of one is found by it.
    """
    failed: dict[Unit, ReconcilerError] = {}
    left: dict[str, ReconcilerError] = {}
    again = frozenset(operation.object.key for operation in operations if not operation.action.is_removal)
    outcomes: list[Outcome] = []
    for batch in _batches(operations, handlers):
        for outcome in _carry_out_batch(batch, handlers, failed, left, again):
            outcomes.append(outcome)
            _note_left(outcome, left)
            if outcome.error is not None and not outcome.skipped:
                failed.setdefault(outcome.operation.unit, outcome.error)
            if progress is not None:
                progress(len(outcomes), len(operations), outcome.operation)
    return tuple(outcomes)


def failures(outcomes: Iterable[Outcome]) -> tuple[tuple[Unit, ReconcilerError], ...]:
    """Return the units that failed by themselves, each with its first error."""
    first: dict[Unit, ReconcilerError] = {}
    for outcome in outcomes:
        if outcome.error is not None and not outcome.skipped:
            first.setdefault(outcome.operation.unit, outcome.error)
    return tuple(first.items())


def _batches(operations: Sequence[Operation], handlers: Mapping[type[Kind], Handler]) -> Iterator[list[Operation]]:
    def batch_key(operation: Operation) -> tuple[tuple[int, int], int]:
        return step(operation), id(handlers[type(operation.object)])

    for _, batch in groupby(operations, key=batch_key):
        yield list(batch)


def _note_left(outcome: Outcome, left: dict[str, ReconcilerError]) -> None:
    """left: networks of which an endpoint should have gone, and why it has not."""
    unit = outcome.operation.unit
    if outcome.error is not None and outcome.operation.action.is_removal and unit.network and unit.attachment:
        left.setdefault(unit.network, outcome.error)


def _carry_out_batch(
    batch: Sequence[Operation],
    handlers: Mapping[type[Kind], Handler],
    failed: Mapping[Unit, ReconcilerError],
    left: Mapping[str, ReconcilerError],
    again: Set[Key],
) -> Iterator[Outcome]:
    """left: grows by each outcome that is given. again: what is made anew."""
    blocked = Blocked(failed)
    free = []
    for operation in batch:
        if blocked.covers(operation.unit):
            yield Outcome(operation=operation, error=_cause(operation.unit, failed), skipped=True)
        else:
            free.append(operation)
    runnable = []
    for operation in free:
        is_forgotten = operation.action.is_removal and operation.object.key not in again
        if is_forgotten and operation.unit.network in left and is_forgetting(operation.unit, operation.object):
            yield Outcome(operation=operation, error=left[operation.unit.network], skipped=True)
        else:
            runnable.append(operation)
    if runnable:
        yield from handlers[type(batch[0].object)](runnable)


def _cause(unit: Unit, failed: Mapping[Unit, ReconcilerError]) -> ReconcilerError:
    """Return the error that `unit` is skipped for: its own, that of what it needs, else that of its attachment."""
    for candidate in (unit, *unit.parents()):
        if candidate in failed:
            return failed[candidate]
    return next(error for other, error in failed.items() if other.attachment == unit.attachment)
