"""Whose process loses its network by a plan: sandboxes that lose a link for good, or go. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Namespace, Unit
from reconciler.model.plan import Action, Operation, Plan


def vacated(plan: Plan) -> frozenset[NsRef]:
    """Return the sandboxes in which a plan ends something."""
    return frozenset(ns for ns, _ in _ended(plan))


def vacated_remarks(plan: Plan, occupants: Mapping[NsRef, str]) -> Iterator[tuple[Unit, str]]:
    """Yield whom it hits, once per attachment. occupants: a process in each sandbox that has one, in words."""
    lost: defaultdict[tuple[str, NsRef], list[Operation]] = defaultdict(list)
    for ns, operation in _ended(plan):
        if ns in occupants:
            lost[operation.unit.attachment, ns].append(operation)
    for (attachment, ns), operations in sorted(lost.items(), key=lambda item: item[0]):
        yield Unit(attachment=attachment), f"{occupants[ns]} runs in its sandbox, {_loss(operations)}"


def _loss(operations: Iterable[Operation]) -> str:
    if any(isinstance(operation.object, Namespace) for operation in operations):
        return "which goes with its last process only; its networks go now"
    return f"and loses {', '.join(sorted(f'network {operation.unit.network}' for operation in operations))}"


def _ended(plan: Plan) -> Iterator[tuple[NsRef, Operation]]:
    """Yield what goes and does not come again, with the sandbox that has it."""
    made = {operation.key for operation in plan.operations if operation.action is Action.CREATE}
    for operation in plan.operations:
        if operation.action is Action.DELETE and operation.unit.attachment and operation.key not in made:
            ns = operation.object.sandbox()
            if ns != HOST:
                yield ns, operation
