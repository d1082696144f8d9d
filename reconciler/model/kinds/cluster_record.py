"""A record in the cluster's store, where other hosts read it. value: JSON with sorted keys."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.kinds.base import (
    IsOwnLink,
    Kind,
    OwnerLookup,
    Phase,
    PlanStep,
    Record,
    Traits,
    kept_record,
)
from reconciler.model.units import CLUSTER_UNIT, Unit


class ClusterRecord(Record, frozen=True, kw_only=True):
    """A record in the cluster's store, where other hosts read it. value: JSON with sorted keys.

    With some records other keys are claimed in the same transaction (an endpoint's addresses, a network's VNIs); these follow from
    path and value and are no objects of their own.
    """

    kind: ClassVar[str] = "ClusterRecord"
    traits: ClassVar[Traits] = kept_record(1)
    path: str
    value: str

    @property
    def is_common(self) -> bool:
        """Return whether several hosts may write it: a network's own record, once all agree on what it shall say."""
        return self.path.startswith("networks/")

    def describe(self) -> str:
        return f"cluster record {self.path}"

    def step(self, *, is_delete: bool) -> PlanStep:
        """Records deeper in the tree speak of those above: `networks/N` before `network/N/members/H`."""
        depth = self.path.count("/")
        return PlanStep(Phase.WITHDRAW, -depth) if is_delete else PlanStep(Phase.PROMISE, depth)

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return cluster_record_unit(self.path)

    def is_barred_by(self, found: Kind, is_own_link: IsOwnLink) -> bool:
        return self != found and not self.is_common


def cluster_record_unit(path: str) -> Unit:
    """Return the unit that a record in the cluster's store belongs to.

    Paths: `networks/<name>`, `network/<name>/members/<host>`, `network/<name>/endpoints/<attachment>`; others speak of hosts.
    """
    match path.split("/"):
        case ["networks", network] | ["network", network, "members", _]:
            return Unit(network=network)
        case ["network", network, "endpoints", attachment]:
            return Unit(network=network, attachment=attachment)
    return CLUSTER_UNIT
