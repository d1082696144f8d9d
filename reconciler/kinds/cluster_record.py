"""Write and take back records in the cluster's store, where other hosts write at the same time.

Every write is a compare-and-swap by the version that was looked at, in one transaction with the claims of the record: the keys
that stand for an address, a VNI or a pool, whose value is the path of the record they belong to. So there never are two
endpoints with one address, whatever hosts, connections or processes fail in between. A claim whose record is not there, or
does not need it any more, is stale and can be taken over; so can one of a record that this pass takes back in the end.

The last host that leaves a network takes the network along, in the same step. All that leave write one key of the network's, so
that of two who leave at the same time one comes second, and sees that it is the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from reconciler.cluster.reading import endpoint_host
from reconciler.cluster.records import claimed, claims, leaving_path, network_folder, network_path
from reconciler.cluster.state import StateDecoder
from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kinds.row import Row, SeenApart
from reconciler.kinds.world import World
from reconciler.kv.protocol import (
    MUST_NOT_EXIST,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    Check,
    Delete,
    KvEntry,
    KvStore,
    Put,
    Write,
    is_key,
)
from reconciler.model.identifiers import is_name
from reconciler.model.objects import ClusterRecord, Object
from reconciler.model.plan import Operation, Outcome

_ATTEMPTS_MAX: Final = 3
"""Of one record, while others keep changing what its transaction depends on."""

_LEAVING_ATTEMPTS_MAX: Final = 50
"""As many hosts may leave one network at once; each lost attempt means that another has left."""


class LookedAtStore(Protocol):
    """The cluster's store as it was looked at before these operations were planned."""

    @property
    def kv(self) -> KvStore: ...

    @property
    def outage(self) -> KvError | None: ...

    def version(self, path: str) -> int: ...

    def forget(self, paths: Iterable[str]) -> None: ...

    def contend(self, network: str) -> None: ...

    def suffer(self, outage: KvError) -> None: ...


def withdrawn(operations: Iterable[Operation]) -> frozenset[str]:
    """Return the paths of the records that these operations take back."""
    return frozenset(o.object.path for o in operations if o.after is None and isinstance(o.object, ClusterRecord))


def apply_cluster_records(
    operations: Sequence[Operation], store: LookedAtStore, leaving: frozenset[str] = frozenset()
) -> list[Outcome]:
    """Carry out operations on ClusterRecord. A repeat is harmless. leaving: what the pass takes back, as `withdrawn` gives it.

    Many go into one transaction; when that is lost each is tried alone, so that only those fail that lost something. Once the
    store does not answer the others fail at once, those of later steps too: the next look tells what became of them.
    """
    changes = [_change(operation, store) for operation in operations]
    errors: list[KvError | None] = []
    outage = store.outage
    for batch in _batches(changes):
        found = [outage] * len(batch) if outage else _write_batch(batch, store, leaving)
        outage = next((error for error in found if isinstance(error, KvUnavailable)), outage)
        errors += found
    if outage is not None:
        store.suffer(outage)
    store.forget(change.path for change in changes)
    return [Outcome(operation=operation, error=error) for operation, error in zip(operations, errors, strict=True)]


class _Change(Struct, frozen=True, kw_only=True):
    """value: None to delete. version: what the record had when it was looked at. claimed, released: keys, besides those kept."""

    path: str
    value: bytes | None
    version: int
    claimed: tuple[str, ...]
    released: tuple[str, ...]

    @property
    def is_leaving(self) -> bool:
        """Return whether a host ends its part in a network by it."""
        return self.value is None and self.path.startswith("network/") and "/members/" in self.path

    def touched(self) -> frozenset[str]:
        return frozenset((self.path, *self.claimed, *self.released))

    def size(self) -> int:
        return len(self.value or b"") + len(self.path) * len(self.claimed)


def _change(operation: Operation, store: LookedAtStore) -> _Change:
    before, after = _claims(operation.before), _claims(operation.after)
    record = operation.object
    assert isinstance(record, ClusterRecord)
    return _Change(
        path=record.path,
        value=None if operation.after is None else record.value.encode(),
        version=MUST_NOT_EXIST if operation.before is None else store.version(record.path),
        claimed=tuple(sorted(after - before)),
        released=tuple(sorted(before - after)),
    )


def _claims(record: Object | None) -> frozenset[str]:
    return frozenset(claims(record)) if isinstance(record, ClusterRecord) else frozenset()


def _batches(changes: Sequence[_Change]) -> Iterator[list[_Change]]:
    """Yield as many at once as a transaction takes.

    Two that claim the same key are apart, so that the second loses alone; so is who leaves, and comes after all before it.
    """
    batch: list[_Change] = []
    for change in changes:
        keys = {key for each in (*batch, change) for key in each.touched()}
        size = sum(each.size() for each in (*batch, change))
        is_rival = any(set(each.claimed) & set(change.claimed) for each in batch)
        is_apart = is_rival or change.is_leaving or (batch != [] and batch[-1].is_leaving)
        if batch and (is_apart or len(keys) > TRANSACTION_KEYS_MAX or size > TRANSACTION_BYTES_MAX):
            yield batch
            batch = []
        batch.append(change)
    if batch:
        yield batch


def _write_batch(batch: Sequence[_Change], store: LookedAtStore, leaving: frozenset[str]) -> list[KvError | None]:
    """Return for each change why it was not written."""
    if batch[0].is_leaving:
        return _write_each(batch, store, leaving)
    try:
        transaction = _Transaction()
        for change in batch:
            _refuse_to_delete_from_under_others(change, store.kv)
            transaction.add(change, store.kv)
        transaction.commit(store.kv)
    except KvUnavailable as error:
        return [error] * len(batch)
    except KvError:
        return _write_each(batch, store, leaving)
    return [None] * len(batch)


def _write_each(batch: Sequence[_Change], store: LookedAtStore, leaving: frozenset[str]) -> list[KvError | None]:
    errors: list[KvError | None] = []
    outage: KvUnavailable | None = None
    for change in batch:
        try:
            if outage is None:
                _write_alone(change, store, leaving)
            errors.append(outage)
        except KvUnavailable as error:
            outage = error
            errors.append(error)
        except KvError as error:
            errors.append(error)
    return errors


def _write_alone(change: _Change, store: LookedAtStore, leaving: frozenset[str]) -> None:
    """Write one record, reading before what its transaction depends on. Raises KvConflict saying what was lost to whom."""
    attempts = _LEAVING_ATTEMPTS_MAX if change.is_leaving else _ATTEMPTS_MAX
    for attempt in range(1, attempts + 1):
        entry = store.kv.get(change.path)
        if (None if entry is None else entry.value) == change.value:
            return  # a write that seemed to fail had taken place
        if (MUST_NOT_EXIST if entry is None else entry.version) != change.version:
            raise KvConflict(f"record {change.path} was changed{_by(entry)} meanwhile")
        _refuse_to_delete_from_under_others(change, store.kv)
        transaction = _Transaction()
        transaction.add(change, store.kv, _held(change, store, leaving))
        if change.is_leaving:
            _leave(change, transaction, store.kv)
        try:
            transaction.commit(store.kv)
        except KvConflict:
            if attempt == attempts:
                raise
        else:
            return


class _Transaction(Struct, frozen=True):
    """Checks and writes by key, so that a claim can go from one record to another in one step."""

    versions: dict[str, int] = field(default_factory=dict)
    writes: dict[str, Write] = field(default_factory=dict)

    def add(self, change: _Change, kv: KvStore, held: Iterable[Check] = ()) -> None:
        """Add a change. held: of what it depends on besides, claims that exist already among them."""
        path, owner = change.path, change.path.encode()
        self.versions[path] = change.version
        self.versions.update((check.key, check.version) for check in held)
        self.writes[path] = Delete(key=path) if change.value is None else Put(key=path, value=change.value)
        for claim in change.released:
            entry = kv.get(claim)
            if entry is not None and entry.value == owner:
                self.versions[claim] = entry.version
                self.writes.setdefault(claim, Delete(key=claim))
        for claim in change.claimed:
            self.versions.setdefault(claim, MUST_NOT_EXIST)
            self.writes[claim] = Put(key=claim, value=owner)

    def commit(self, kv: KvStore) -> None:
        checks = [Check(key=key, version=version) for key, version in self.versions.items()]
        kv.transact(checks, list(self.writes.values()))


def _leave(change: _Change, transaction: _Transaction, kv: KvStore) -> None:
    """End the network with its last member; where others are left, let them know who left, by a text that never comes twice."""
    network = _network(change.path)
    turn = kv.get(leaving_path(network))
    transaction.versions[leaving_path(network)] = MUST_NOT_EXIST if turn is None else turn.version
    head = kv.get(network_path(network))
    if any(entry.key != change.path for entry in kv.list(network_folder(network))):
        value = f"{change.path} {change.version}".encode()
        transaction.writes[leaving_path(network)] = Put(key=leaving_path(network), value=value)
        return
    if turn is not None:
        transaction.writes[turn.key] = Delete(key=turn.key)
    if head is not None:
        released = claims(_record(head))
        end = _Change(path=head.key, value=None, version=head.version, claimed=(), released=released)
        transaction.add(end, kv)


def _held(change: _Change, store: LookedAtStore, leaving: frozenset[str]) -> Iterator[Check]:
    """Yield the state of claims that are not free but can be had. Raises KvConflict for one that another record needs."""
    for claim in change.claimed:
        entry = store.kv.get(claim)
        if entry is None:
            continue
        yield Check(key=claim, version=entry.version)
        owner = entry.value.decode(errors="replace")
        if owner == change.path or not is_key(owner):
            continue
        record = store.kv.get(owner)
        is_leaving = record is not None and owner in leaving and record.version == store.version(owner)
        if record is not None and not is_leaving and claim in claims(_record(record)):
            store.contend(_network(change.path))
            raise KvConflict(f"{claimed(claim)} was taken by {_whose(record)}")
        yield Check(key=owner, version=MUST_NOT_EXIST if record is None else record.version)


def _refuse_to_delete_from_under_others(change: _Change, kv: KvStore) -> None:
    """A host that joins a network writes below it, which the version of the network's own record does not tell."""
    if change.value is None and change.path.startswith("networks/"):
        network = _network(change.path)
        left = kv.list(network_folder(network))
        if left:
            raise KvConflict(f"network {network} is in use: {left[0].key} was written meanwhile")


def _network(path: str) -> str:
    return path.split("/")[1]


def _record(entry: KvEntry) -> ClusterRecord:
    return ClusterRecord(path=entry.key, value=entry.value.decode(errors="replace"))


def _by(entry: KvEntry | None) -> str:
    if entry is None or "/endpoints/" not in entry.key:
        return " by another host"
    return f" by host {_host(entry)}"


def _whose(entry: KvEntry) -> str:
    """Return in words whose record it is."""
    match entry.key.split("/"):
        case ["networks", name]:
            return f"network {name}"
        case ["network", _, "endpoints", name]:
            return f"attachment {name} of host {_host(entry)}"
    return entry.key


def _host(entry: KvEntry) -> str:
    host = endpoint_host(entry.value.decode(errors="replace"))
    return host if is_name(host) else "?"


def _apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
    assert world.cluster is not None, "a host in no cluster has no records there"
    return apply_cluster_records(operations, world.cluster, withdrawn(world.planned))


ROWS = (Row(ClusterRecord, SeenApart(StateDecoder), _apply),)
