"""Write and take back promises in the key-value store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.errors import KvError
from reconciler.kv.protocol import TRANSACTION_KEYS_MAX, Delete, KvStore, Put, Write
from reconciler.model.objects import KvRecord
from reconciler.model.plan import Action, Operation, Outcome


def apply_records(operations: Sequence[Operation], kv: KvStore) -> list[Outcome]:
    """Carry out operations on KvRecord, as many at once as a transaction takes. A repeat is harmless.

    The records are this host's own and it holds the host's lock, so nothing is checked before it is written.
    """
    return [outcome for batch in _batches(operations) for outcome in _apply_batch(batch, kv)]


def _batches(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    for start in range(0, len(operations), TRANSACTION_KEYS_MAX):
        yield operations[start : start + TRANSACTION_KEYS_MAX]


def _apply_batch(batch: Sequence[Operation], kv: KvStore) -> list[Outcome]:
    try:
        kv.transact((), [_write(operation) for operation in batch])
    except KvError as error:
        return [Outcome(operation=operation, error=error) for operation in batch]
    return [Outcome(operation=operation) for operation in batch]


def _write(operation: Operation) -> Write:
    record = operation.object
    assert isinstance(record, KvRecord)
    if operation.action is Action.DELETE:
        return Delete(key=record.path)
    return Put(key=record.path, value=record.value.encode())
