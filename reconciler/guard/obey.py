"""Take out of a plan what must be left as it is, and say so in its problems. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from reconciler.errors import DriftLeft, ReconcilerError
from reconciler.model.holds import OnDrift
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import Record
from reconciler.model.objects import FirewallRules, Unit
from reconciler.model.observed import SandboxFact
from reconciler.model.plan import Action, Operation, Plan
from reconciler.model.wanted import WantedState
from reconciler.model.words import some
from reconciler.plan.ownership import Owners

_SHOWN: Final = 3


def obeyed(plan: Plan, wanted: WantedState, owners: Owners, sandboxes: Mapping[NsRef, SandboxFact]) -> Plan:
    """Return what of the plan may be carried out. wanted: its `holds` say what may not."""
    holds = wanted.holds
    if not (holds.refused or holds.suspended or holds.on_drift):
        return plan
    operations = [] if holds.are_all_suspended else list(_unsuspended(plan.operations, wanted, owners))
    drift = _Drift.of(operations, wanted, sandboxes) if holds.on_drift else None
    left = [operation for operation in operations if drift is not None and drift.covers(operation)]
    problems: list[tuple[Unit, ReconcilerError]] = [*plan.problems, *holds.refused, *holds.suspended]
    problems += _warnings(left, holds.on_drift)
    return Plan(
        operations=tuple(operation for operation in operations if drift is None or not drift.covers(operation)),
        problems=tuple(sorted(problems, key=lambda problem: (problem[0], str(problem[1])))),
    )


def _unsuspended(operations: Sequence[Operation], wanted: WantedState, owners: Owners) -> Iterator[Operation]:
    """A suspended network stands still with the attachments on it: their sandbox must not be taken from under it."""
    networks = {unit.network for unit, _ in wanted.holds.suspended}
    members = owners.members() if networks else {}
    attachments = {name for network in networks for name in members.get(network, ())}
    for operation in operations:
        is_suspended = operation.unit.network in networks or operation.unit.attachment in attachments
        # A table that is made anew or goes would take the suspended networks' elements along.
        is_felt = isinstance(operation.object, FirewallRules) and operation.action is not Action.CREATE
        if not is_suspended and not (networks and is_felt):
            yield operation


class _Drift(Struct, frozen=True, kw_only=True):
    """Tells drift from changes: whose promise changes, or whose sandbox is another one now, was not tampered with."""

    on_drift: Mapping[str, OnDrift]
    changed: frozenset[Unit]

    @classmethod
    def of(cls, operations: Sequence[Operation], wanted: WantedState, sandboxes: Mapping[NsRef, SandboxFact]) -> _Drift:
        holds = wanted.holds
        changed = {operation.unit for operation in operations if isinstance(operation.object, Record)}
        for attachment in wanted.attachments:
            fact = sandboxes.get(attachment.sandbox.ns)
            if fact is None or fact.inode == 0 or fact.inode != holds.sandboxes.get(attachment.sandbox.ns):
                changed.add(Unit(attachment=attachment.name))
        return cls(on_drift=holds.on_drift, changed=frozenset(changed))

    def covers(self, operation: Operation) -> bool:
        unit = operation.unit
        is_changed = unit in self.changed or any(parent in self.changed for parent in unit.parents())
        return unit.network in self.on_drift and not is_changed and not operation.is_news


def _warnings(left: Sequence[Operation], on_drift: Mapping[str, OnDrift]) -> Iterator[tuple[Unit, ReconcilerError]]:
    differences: dict[str, list[str]] = {}
    for operation in left:
        if on_drift[operation.unit.network] is OnDrift.WARN:
            differences.setdefault(operation.unit.network, []).append(operation.describe())
    for network, found in differences.items():
        yield (
            Unit(network=network),
            DriftLeft(
                f"network {network} drifted and is left so (onDrift: warn), to put it back: {some(found, _SHOWN)}"
            ),
        )
