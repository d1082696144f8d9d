"""Write and take back records in the cluster's store, where other hosts write at the same time.

Every write is a compare-and-swap by the version that was looked at, in one transaction with the claims of the record: the keys
that stand for an address, a VNI or a pool, whose value is the path of the record they belong to. So there never are two
endpoints with one address, whatever hosts, connections or processes fail in between. A claim whose record is not there, or
does not need it any more, is stale and can be taken over; so can one of a record that this pass takes back in the end.

The last host that leaves a network takes the network along, in the same step. All that leave or come to have something there write
one key of the network's, its turn. So of two who leave at the same time one comes second, and sees that it is the last; and who
would take the network from under one that has just come looks again. Who comes second is lost: the network's own record is not the
one that was looked at. So is who changes a network that another has just come to declare.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from reconciler.cluster.reading import endpoint_host
from reconciler.cluster.records import (
    NETWORKS_FOLDER,
    claimed,
    claims,
    members_folder,
    network_folder,
    network_path,
    turn_path,
)
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


class _Planned(Struct, frozen=True, kw_only=True):
    """What the whole pass does. withdrawn: paths of records that it takes back. networks: what it writes of networks."""

    withdrawn: frozenset[str]
    networks: Mapping[str, bytes]


def _planned(operations: Iterable[Operation]) -> _Planned:
    withdrawn: set[str] = set()
    networks: dict[str, bytes] = {}
    for operation in operations:
        record = operation.object
        if not isinstance(record, ClusterRecord):
            continue
        if operation.after is None:
            withdrawn.add(record.path)
        elif record.path.startswith(NETWORKS_FOLDER):
            networks[record.path] = record.value.encode()
    return _Planned(withdrawn=frozenset(withdrawn), networks=networks)


def apply_cluster_records(
    operations: Sequence[Operation], store: LookedAtStore, pass_: Sequence[Operation] = ()
) -> list[Outcome]:
    """Carry out operations on ClusterRecord. A repeat is harmless. pass_: all operations of the pass that these are a step of.

    Many go into one transaction; when that is lost each is tried alone, so that only those fail that lost something. Once the
    store does not answer the others fail at once, those of later steps too: the next look tells what became of them.
    """
    changes = [_change(operation, store) for operation in operations]
    planned = _planned(pass_ or operations)
    errors: list[KvError | None] = []
    outage = store.outage
    for batch in _batches(changes):
        found = [outage] * len(batch) if outage else _write_batch(batch, store, planned)
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

    @property
    def is_coming(self) -> bool:
        """Return whether something comes to be below a network, so that the network is not to go."""
        return self.value is not None and self.version == MUST_NOT_EXIST and self.path.startswith("network/")

    @property
    def is_ending(self) -> bool:
        """Return whether a network that nobody is a member of goes."""
        return self.value is None and self.path.startswith(NETWORKS_FOLDER)

    @property
    def is_changing(self) -> bool:
        """Return whether a network becomes another one."""
        return self.value is not None and self.version != MUST_NOT_EXIST and self.path.startswith(NETWORKS_FOLDER)

    def touched(self) -> frozenset[str]:
        found = (self.path, *self.claimed, *self.released)
        if not self.is_coming and not self.is_ending and not self.is_changing:
            return frozenset(found)
        return frozenset((*found, network_path(_network(self.path)), turn_path(_network(self.path))))

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


def _write_batch(batch: Sequence[_Change], store: LookedAtStore, planned: _Planned) -> list[KvError | None]:
    """Return for each change why it was not written."""
    if batch[0].is_leaving:
        return _write_each(batch, store, planned)
    try:
        transaction = _Transaction()
        for change in batch:
            transaction.add(change, store.kv)
        for change in batch:
            if change.is_coming:
                _come(change, transaction, store, planned, is_alone=False)
            elif change.is_ending:
                _end(change, transaction, store.kv)
            elif change.is_changing:
                _change_network(change, transaction, store)
        transaction.commit(store.kv)
    except KvUnavailable as error:
        return [error] * len(batch)
    except KvError:
        return _write_each(batch, store, planned)
    return [None] * len(batch)


def _write_each(batch: Sequence[_Change], store: LookedAtStore, planned: _Planned) -> list[KvError | None]:
    errors: list[KvError | None] = []
    outage: KvUnavailable | None = None
    for change in batch:
        try:
            if outage is None:
                _write_alone(change, store, planned)
            errors.append(outage)
        except KvUnavailable as error:
            outage = error
            errors.append(error)
        except KvError as error:
            errors.append(error)
    return errors


def _write_alone(change: _Change, store: LookedAtStore, planned: _Planned) -> None:
    """Write one record, reading before what its transaction depends on. Raises KvConflict saying what was lost to whom."""
    attempts = _LEAVING_ATTEMPTS_MAX if change.is_leaving else _ATTEMPTS_MAX
    for attempt in range(1, attempts + 1):
        entry = store.kv.get(change.path)
        if (None if entry is None else entry.value) == change.value:
            return  # a write that seemed to fail had taken place
        if (MUST_NOT_EXIST if entry is None else entry.version) != change.version:
            raise KvConflict(f"record {change.path} was changed{_by(entry)} meanwhile")
        transaction = _Transaction()
        transaction.add(change, store.kv, _held(change, store, planned.withdrawn))
        if change.is_leaving:
            _leave(change, transaction, store.kv)
        elif change.is_ending:
            _end(change, transaction, store.kv)
        elif change.is_changing:
            _change_network(change, transaction, store)
        elif change.is_coming:
            _come(change, transaction, store, planned, is_alone=True)
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

    def await_turn(self, network: str, kv: KvStore) -> None:
        """Be lost where anybody comes or leaves from now on: to be called before looking who is there."""
        turn = kv.get(turn_path(network))
        self.versions[turn_path(network)] = MUST_NOT_EXIST if turn is None else turn.version

    def end_turns(self, network: str) -> None:
        """Have the turn go with the network."""
        self.writes[turn_path(network)] = Delete(key=turn_path(network))

    def take_turn(self, change: _Change) -> None:
        """Write the network's turn: a text that never comes twice, as a store may take the same one for no change."""
        key = turn_path(_network(change.path))
        self.writes[key] = Put(key=key, value=f"{change.path} {secrets.token_hex(8)}".encode())

    def commit(self, kv: KvStore) -> None:
        checks = [Check(key=key, version=version) for key, version in self.versions.items()]
        kv.transact(checks, list(self.writes.values()))


def _come(
    change: _Change, transaction: _Transaction, store: LookedAtStore, planned: _Planned, *, is_alone: bool
) -> None:
    """Have the network be the one that was looked at or that this pass has written, and let know who would take it away.

    Where it is neither, as in a store that lost its data, this is the first of it to come back. is_alone: find out what became of
    it, by one call more. Raises KvConflict.
    """
    head = network_path(_network(change.path))
    if head not in transaction.versions:
        is_asked = is_alone or head in planned.networks
        version = _network_version(head, store, planned) if is_asked else store.version(head)
        if version != MUST_NOT_EXIST:
            transaction.versions[head] = version
    transaction.take_turn(change)


def _network_version(head: str, store: LookedAtStore, planned: _Planned) -> int:
    entry = store.kv.get(head)
    version = MUST_NOT_EXIST if entry is None else entry.version
    is_written = entry is not None and entry.value == planned.networks.get(head)
    if not is_written and (head in planned.networks or version != store.version(head)):
        what = "has gone" if entry is None else "was changed by another host"
        raise KvConflict(f"network {_network(head)} {what} meanwhile")
    return version


def _leave(change: _Change, transaction: _Transaction, kv: KvStore) -> None:
    """End the network with its last member; where others are left, let them know who left."""
    network = _network(change.path)
    transaction.await_turn(network, kv)
    head = kv.get(network_path(network))
    if any(entry.key != change.path for entry in kv.list(network_folder(network))):
        transaction.take_turn(change)
        return
    transaction.end_turns(network)
    if head is not None:
        released = claims(_record(head))
        end = _Change(path=head.key, value=None, version=head.version, claimed=(), released=released)
        transaction.add(end, kv)


def _end(change: _Change, transaction: _Transaction, kv: KvStore) -> None:
    """End a network without members. Raises KvConflict where it has any: its own record does not tell who joins."""
    network = _network(change.path)
    transaction.await_turn(network, kv)
    left = kv.list(network_folder(network))
    if left:
        raise KvConflict(f"network {network} is in use: {left[0].key} was written meanwhile")
    transaction.end_turns(network)


def _change_network(change: _Change, transaction: _Transaction, store: LookedAtStore) -> None:
    """Have its members be those that were looked at: one that has just come may not agree. Raises KvConflict."""
    network = _network(change.path)
    transaction.await_turn(network, store.kv)
    for entry in store.kv.list(members_folder(network)):
        if entry.version != store.version(entry.key):
            raise KvConflict(f"network {network} was joined meanwhile: {entry.key} was written")


def _held(change: _Change, store: LookedAtStore, withdrawn: frozenset[str]) -> Iterator[Check]:
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
        is_leaving = record is not None and owner in withdrawn and record.version == store.version(owner)
        if record is not None and not is_leaving and claim in claims(_record(record)):
            store.contend(_network(change.path))
            raise KvConflict(f"{claimed(claim)} was taken by {_whose(record)}")
        yield Check(key=owner, version=MUST_NOT_EXIST if record is None else record.version)


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
    return apply_cluster_records(operations, world.cluster, world.planned)


ROWS = (Row(ClusterRecord, SeenApart(StateDecoder), _apply),)
