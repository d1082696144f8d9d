"""Take out of the cluster's store what speaks of a host that will not come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from reconciler.cluster.nodes import is_living, records_of
from reconciler.cluster.records import NETWORKS_FOLDER, REVISIONS_FOLDER
from reconciler.errors import KvError, ReconcilerError, Refused
from reconciler.kinds.cluster_record import apply_cluster_records
from reconciler.kv.protocol import KvEntry, KvStore
from reconciler.model.objects import CLUSTER_UNIT, ClusterRecord
from reconciler.model.plan import Action, Operation

_NETWORK_FOLDERS: Final = "network/"


def cluster_entries(kv: KvStore, nodes_folder: str) -> Mapping[str, KvEntry]:
    """Return all records that hosts share; not the claims that go with them."""
    folders = (nodes_folder, NETWORKS_FOLDER, _NETWORK_FOLDERS, REVISIONS_FOLDER)
    return {entry.key: entry for folder in folders for entry in kv.list(folder)}


def texts(entries: Mapping[str, KvEntry]) -> Mapping[str, str]:
    return {key: entry.value.decode(errors="replace") for key, entry in entries.items()}


def remove_nodes(kv: KvStore, hosts: Sequence[str], nodes_folder: str) -> None:
    """Delete the records of hosts and free their addresses. Harmless to repeat, and to be killed at.

    Raises Refused when one of them is alive, ReconcilerError when one is not known; nothing is deleted then.
    """
    entries = cluster_entries(kv, nodes_folder)
    records = texts(entries)
    found = {host: tuple(records_of(host, records, nodes_folder)) for host in hosts}
    for host in hosts:
        if is_living(host, records, nodes_folder):
            raise Refused(
                f"node {host} is alive: stop its watcher before it is removed, or it would join again at once"
            )
        if not found[host]:
            raise ReconcilerError(f"No such node: {host}")
    looked_at = _LookedAt(kv, entries)
    for host in hosts:
        for operations in _steps(found[host]):
            _carry_out(operations, looked_at)


def _steps(records: Sequence[ClusterRecord]) -> Iterator[list[Operation]]:
    """What is of one kind goes together; the order of kinds stays."""
    for _, group in groupby(records, key=_kind):
        yield [Operation(action=Action.DELETE, before=each, after=None, unit=CLUSTER_UNIT) for each in group]


def _kind(record: ClusterRecord) -> tuple[str, ...]:
    return tuple(record.path.split("/")[:1]) + tuple(record.path.split("/")[2:3])


def _carry_out(operations: Sequence[Operation], store: _LookedAt) -> None:
    for outcome in apply_cluster_records(operations, store):
        if outcome.error is not None:
            raise outcome.error


class _LookedAt:
    """The store as it was listed once."""

    def __init__(self, kv: KvStore, entries: Mapping[str, KvEntry]) -> None:
        self.kv = kv
        self.outage = None
        self._entries = entries

    def version(self, path: str) -> int:
        return self._entries[path].version

    def forget(self, paths: Iterable[str]) -> None:
        """Nothing is remembered."""

    def contend(self, network: str) -> None:
        """Deleting claims nothing."""

    def suffer(self, outage: KvError) -> None:
        """The first failure ends it."""
