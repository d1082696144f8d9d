"""What this host wants in the cluster's store beside what is there, and what waits while the store cannot be asked. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from reconciler.errors import ReconcilerError
from reconciler.model.cluster import ClusterState
from reconciler.model.desired import DesiredState
from reconciler.model.objects import CLUSTER_UNIT, ClusterRecord, Key, Seen, Unit


class Shared(Struct, frozen=True, kw_only=True):
    """One host's part of the cluster: the state that it sees, and the records that it wants to be there."""

    cluster: ClusterState
    wanted: Mapping[Key, ClusterRecord]

    def seen(self) -> Mapping[Key, Seen]:
        """Return the records that are there. In an outage those that could go are not told: they wait."""
        found = self.cluster.seen
        if self.cluster.outage is None:
            return found
        return {key: found[key] for key in self.wanted if key in found}

    def waiting(self) -> Iterator[tuple[Unit, ReconcilerError]]:
        """Yield the units that would have to tell the others something first, and cannot; nothing of theirs is begun."""
        if self.cluster.outage is None:
            return
        found = self.cluster.seen
        for key, record in self.wanted.items():
            there = found.get(key)
            if there is None or there.object != record:
                yield record.unit, self.cluster.outage

    def told(self, desired: DesiredState) -> Iterator[tuple[Unit, ReconcilerError]]:
        """Yield this host's place in the cluster, and the networks that go on with what was known last."""
        if self.cluster.outage is not None and self.cluster.is_known:
            yield CLUSTER_UNIT, self.cluster.outage
            for network in desired.networks:
                if network.wanted.is_shared and not network.wanted.is_listed:
                    yield network.unit, self.cluster.outage
