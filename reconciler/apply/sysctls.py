"""Set sysctls, one visit per namespace."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.errors import ReconcilerError
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.sysctl import write_sysctl
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Sysctl
from reconciler.model.plan import Operation, Outcome


def apply_sysctls(operations: Sequence[Operation], namespaces: Namespaces) -> list[Outcome]:
    """Carry out operations on Sysctl; one outcome each, in the same order; never raises for one of them."""
    by_ns: dict[NsRef, list[int]] = {}
    for number, operation in enumerate(operations):
        by_ns.setdefault(_sysctl(operation).ns, []).append(number)
    errors: dict[int, ReconcilerError] = {}
    for ns, members in by_ns.items():
        try:
            with namespaces.enter(ns):
                errors.update(_set([(number, _sysctl(operations[number])) for number in members]))
        except ReconcilerError as error:
            errors.update(dict.fromkeys(members, error))
    return [Outcome(operation=operation, error=errors.get(number)) for number, operation in enumerate(operations)]


def _set(sysctls: Sequence[tuple[int, Sysctl]]) -> dict[int, ReconcilerError]:
    errors: dict[int, ReconcilerError] = {}
    for number, sysctl in sysctls:
        try:
            write_sysctl(sysctl.name, sysctl.value)
        except ReconcilerError as error:
            errors[number] = error
    return errors


def _sysctl(operation: Operation) -> Sysctl:
    found = operation.after
    assert isinstance(found, Sysctl), "a setting is never deleted"
    return found
