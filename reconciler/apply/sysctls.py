"""Set sysctls, one visit per namespace, and note what the kernel makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.errors import KvError, ReconcilerError
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.sysctl import read_sysctl, write_sysctl
from reconciler.kv.protocol import KvStore, Put
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Sysctl
from reconciler.model.plan import Operation, Outcome
from reconciler.sandbox.readings import Reading


def apply_sysctls(operations: Sequence[Operation], namespaces: Namespaces, kv: KvStore) -> list[Outcome]:
    """Carry out operations on Sysctl; one outcome each, in the same order; never raises for one of them."""
    by_ns: dict[NsRef, list[int]] = {}
    for number, operation in enumerate(operations):
        by_ns.setdefault(_sysctl(operation).ns, []).append(number)
    errors: dict[int, ReconcilerError] = {}
    readings: dict[int, Reading] = {}
    for ns, members in by_ns.items():
        try:
            with namespaces.enter(ns):
                for number in members:
                    _set(number, _sysctl(operations[number]), errors, readings)
        except ReconcilerError as error:
            errors.update(dict.fromkeys(members, error))
    errors.update(_noted(readings, kv))
    return [Outcome(operation=operation, error=errors.get(number)) for number, operation in enumerate(operations)]


def _set(number: int, sysctl: Sysctl, errors: dict[int, ReconcilerError], readings: dict[int, Reading]) -> None:
    try:
        write_sysctl(sysctl.name, sysctl.value)
        given = read_sysctl(sysctl.name)
    except ReconcilerError as error:
        errors[number] = error
    else:
        if given is not None and given != sysctl.value:
            readings[number] = Reading(ns=sysctl.ns, name=sysctl.name, typed=sysctl.value, given=given)


def _noted(readings: dict[int, Reading], kv: KvStore) -> Iterable[tuple[int, ReconcilerError]]:
    for number, reading in readings.items():
        try:
            kv.transact((), [Put(key=reading.path, value=reading.text().encode())])
        except KvError as error:
            yield number, error


def _sysctl(operation: Operation) -> Sysctl:
    found = operation.after
    assert isinstance(found, Sysctl), "a setting is never deleted"
    return found
