"""Make and delete namespaces."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.errors import ReconcilerError
from reconciler.kernel.netns import Namespaces
from reconciler.model.objects import Namespace
from reconciler.model.plan import Action, Operation, Outcome


def apply_namespaces(operations: Sequence[Operation], namespaces: Namespaces) -> list[Outcome]:
    """Carry out operations on Namespace; one outcome each, in the same order; never raises for one of them."""
    deletions = [o for o in operations if o.action is Action.DELETE]
    creations = [o for o in operations if o.action is not Action.DELETE]
    errors: dict[int, ReconcilerError | None] = {}
    if deletions:
        errors.update(zip(map(id, deletions), namespaces.delete(map(_name, deletions)), strict=True))
    if creations:
        errors.update(zip(map(id, creations), namespaces.create(map(_name, creations)), strict=True))
    return [Outcome(operation=operation, error=errors[id(operation)]) for operation in operations]


def _name(operation: Operation) -> str:
    found = operation.object
    assert isinstance(found, Namespace)
    return found.name
