"""Named network namespaces of ours: sandboxes, and those of overlay networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.kinds.row import Row, SeenApart
from reconciler.kinds.world import World
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Namespace, Seen
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.model.wanted import SandboxKind

NAMED: Final = f"{SandboxKind.NETNS}:"


def seen_namespace(ns: NsRef) -> Seen:
    """Return one that carries our mark."""
    return Seen(Namespace(ns=ns, name=ns.removeprefix(NAMED)), is_ours=True)


def apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
    """Carry out operations on Namespace; one outcome each, in the same order; never raises for one of them."""
    deletions = [o for o in operations if o.action is Action.DELETE]
    creations = [o for o in operations if o.action is not Action.DELETE]
    errors: dict[int, ReconcilerError | None] = {}
    if deletions:
        errors.update(zip(map(id, deletions), world.namespaces.delete(map(_name, deletions)), strict=True))
    if creations:
        errors.update(zip(map(id, creations), world.namespaces.create(map(_name, creations)), strict=True))
    return [Outcome(operation=operation, error=errors[id(operation)]) for operation in operations]


def _name(operation: Operation) -> str:
    found = operation.object
    assert isinstance(found, Namespace)
    return found.name


ROWS = (Row(Namespace, SeenApart(seen_namespace), apply),)
