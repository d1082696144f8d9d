"""Carry out a plan: step by step, each step's operations as batches, one failure harming only what depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from reconciler.errors import ReconcilerError
from reconciler.kinds.world import Handler
from reconciler.model.kinds.base import Kind
from reconciler.model.objects import Unit
from reconciler.model.plan import Operation, Outcome
from reconciler.plan.make_plan import Blocked
from reconciler.plan.ordering import step

Progress = Callable[[int, int, Operation], None]
"""Told after each operation: how many are finished, of how many, and which one."""


def carry_out(
    operations: Sequence[Operation], handlers: Mapping[type[Kind], Handler], progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Apply the operations in their order and say what became of each.

    Once an operation fails, what else its unit or a unit that needs it would do is skipped, naming the cause.
    """
    failed: dict[Unit, ReconcilerError] = {}
    outcomes: list[Outcome] = []
    for batch in _batches(operations, handlers):
        for outcome in _carry_out_batch(batch, handlers, failed):
            outcomes.append(outcome)
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


def _carry_out_batch(
    batch: Sequence[Operation], handlers: Mapping[type[Kind], Handler], failed: Mapping[Unit, ReconcilerError]
) -> Iterator[Outcome]:
    blocked = Blocked(failed)
    runnable = [operation for operation in batch if not blocked.covers(operation.unit)]
    for operation in batch:
        if blocked.covers(operation.unit):
            yield Outcome(operation=operation, error=_cause(operation.unit, failed), skipped=True)
    if runnable:
        yield from handlers[type(batch[0].object)](runnable)


def _cause(unit: Unit, failed: Mapping[Unit, ReconcilerError]) -> ReconcilerError:
    """Return the error that `unit` is skipped for: its own, that of what it needs, else that of its attachment."""
    for candidate in (unit, *unit.parents()):
        if candidate in failed:
            return failed[candidate]
    return next(error for other, error in failed.items() if other.attachment == unit.attachment)
