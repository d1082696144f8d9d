"""The records of this host's own store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from msgspec.structs import replace

from reconciler.errors import KvError
from reconciler.facts import Records
from reconciler.incremental import By, Kept, Table
from reconciler.ipam.promises import PromiseReader
from reconciler.kinds.row import Row, SeenApart
from reconciler.kinds.world import World
from reconciler.kv.protocol import TRANSACTION_KEYS_MAX, Delete, KvEntry, KvStore, Put, Write
from reconciler.model.objects import Key, KvRecord, Seen
from reconciler.model.observed import keyed
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.model.plugins import PLUGIN_RECORDS
from reconciler.plugin.records import decode_plugin_records
from reconciler.ports.promises import PORT_RECORDS, decode_ports
from reconciler.sandbox.readings import READING_RECORDS, decode_readings


class RecordReader:
    """Reads all records (path to text) again and again, those anew that changed; never raises."""

    def __init__(self) -> None:
        self._ask, self._entries = Kept(), By[str, KvEntry](attrgetter("key"))
        self._texts: Table[str, str] = Table()
        self._promises = PromiseReader()
        self._seen: Table[Key, Seen] = Table()
        self._last = Records()

    def of(self, entries: Sequence[KvEntry]) -> Records:
        """Read them as a store gives them: one that stays is the very same."""
        gone, come = self._entries(entries)
        put = {path: entry.value.decode(errors="replace") for path, entry in come.items()}
        return self._now(self._texts.updated(put, gone.keys() - put.keys()))

    def __call__(self, texts: Mapping[str, str]) -> Records:
        return self._now(self._texts.updated(texts, self._texts.keys() - texts.keys()))

    def _now(self, texts: Table[str, str]) -> Records:
        changed, self._texts = texts.changed_since(self._texts), texts
        if changed:
            # What plugins were told is no promise: it is seen as what exists there.
            put = {path: texts[path] for path in sorted(changed) if path in texts}
            seen = (KvRecord(path=p, value=text) for p, text in put.items() if not p.startswith(PLUGIN_RECORDS))
            gone = [KvRecord(path=path, value="").key for path in changed - put.keys()]
            self._seen = self._seen.updated(keyed(Seen(record, is_ours=True) for record in seen), gone)
            self._last = self._read(texts)
        return self._last

    def _read(self, texts: Table[str, str]) -> Records:
        promises, faults = self._promises(texts)
        of_plugins, of_ports, readings = (
            {path: texts[path] for path in sorted(texts.index(_folder).get(folder.rstrip("/"), ()))}
            for folder in (PLUGIN_RECORDS, PORT_RECORDS, READING_RECORDS)
        )
        plugins, faults_of_plugins = self._ask(decode_plugin_records, of_plugins)
        ports, faults_of_ports = self._ask(decode_ports, of_ports)
        return Records(
            promises=replace(promises, answers=plugins.answers) if plugins.answers else promises,
            plugins=plugins,
            ports=ports,
            readings=self._ask(decode_readings, readings),
            seen=self._seen,
            faults=(*faults, *faults_of_plugins, *faults_of_ports),
        )


def _folder(path: str, _: str) -> tuple[str]:
    return (path.partition("/")[0],)


def decode_records(texts: Mapping[str, str]) -> Records:
    """Read records once: see `RecordReader`."""
    return RecordReader()(texts)


def apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
    """Carry out operations on KvRecord, as many at once as a transaction takes. A repeat is harmless.

    The records are this host's own and it holds the host's lock, so nothing is checked before it is written.
    """
    return [outcome for batch in _batches(operations) for outcome in _apply_batch(batch, world.kv)]


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


ROWS = (Row(KvRecord, SeenApart(RecordReader), apply),)
