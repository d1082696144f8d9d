"""The embedded store: one SQLite file in the state folder, shared by the processes of one host.

A promise is on the disk before the kernel is touched (`sqlite_file`); many records belong into few transactions.
What a file held that had to be given up is adopted from the kernel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from reconciler.errors import KvConflict, KvError
from reconciler.kv.polling import PollingWatch
from reconciler.kv.protocol import (
    CALL_TIMEOUT_S,
    Batch,
    KvEntry,
    Put,
    Session,
    Write,
    checked_key,
    checked_prefix,
    is_key,
)
from reconciler.kv.sqlite_file import Damaged, Database, SqliteFile
from reconciler.kv.steps import KeyStep, StepStore, own_session

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_VERSION: Final = 1
"""Of the whole state folder: of the tables, of the records in them, and of the files beside. 0.1.0 has 1."""

_UPGRADES: Final[Mapping[int, Sequence[str]]] = {}
"""By version, the statements that make the next one of it."""

_SCHEMA: Final = (
    "CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB, version INTEGER, session INTEGER) WITHOUT ROWID",
    "CREATE TABLE session (id INTEGER PRIMARY KEY, boot TEXT, expires_s REAL)",
    "CREATE TABLE counter (last INTEGER)",
    "INSERT INTO counter VALUES (0)",
)

_IS_ALIVE: Final = "(session IS NULL OR session IN (SELECT id FROM session WHERE boot = :boot AND expires_s > :now))"

_NUMBER_MAX: Final = 1 << 62
"""Beyond is no number that was counted to."""

_POLL_INTERVAL_S: Final = 0.05
"""How often a watch asks whether the file changed; asking takes some 20 microseconds."""


def open_sqlite(path: Path, *, read_only: bool = False, timeout_s: float = CALL_TIMEOUT_S) -> SqliteStore:
    """Open the store, making it and its folder if need be. Raises KvUnavailable if that is refused.

    read_only: nothing is made or written anywhere, a store that is not there (or not readable as one) reads as empty,
    and writing raises KvError. Otherwise a file that is no good is set aside, and a row that is no good is left out.
    """
    return SqliteStore(
        SqliteFile(path, _SCHEMA, SCHEMA_VERSION, read_only=read_only, timeout_s=timeout_s, upgrades=_UPGRADES)
    )


class _Known(NamedTuple):
    """All entries at a mark of the file. is_lasting: none was bound to a session that may end."""

    mark: tuple[int, int, int]
    entries: tuple[KvEntry, ...]
    is_lasting: bool


class SqliteStore(StepStore):
    """See `reconciler.kv.protocol.KvStore`."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file
        self._damaged: set[bytes] = set()
        self._known: _Known | None = None

    def get(self, key: str) -> KvEntry | None:
        rows = self._select(f"key = :key AND {_IS_ALIVE}", {"key": checked_key(key)})
        return rows[0] if rows else None

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        if not checked_prefix(prefix):
            return self._everything()
        after = prefix[:-1] + chr(ord("/") + 1)
        return self._select(f"key > :first AND key < :after AND {_IS_ALIVE}", {"first": prefix, "after": after})

    def _everything(self) -> tuple[KvEntry, ...]:
        """Return all entries; as long as nobody else wrote and no session may end, only those are read that we wrote meanwhile."""
        known, mark = self._known, self.file.change_mark()
        if known is None or not known.is_lasting or known.mark[:2] != mark[:2]:
            found = self._select(_IS_ALIVE, {})
        elif known.mark == mark:
            return known.entries
        else:
            found = self._with_newer(known.entries) or self._select(_IS_ALIVE, {})
        self._known = _Known(mark, found, is_lasting=self.next_expiry_s() == float("inf"))
        return found

    def _with_newer(self, known: tuple[KvEntry, ...]) -> tuple[KvEntry, ...] | None:
        """Return None when some went."""
        newest = max((entry.version for entry in known), default=0)
        newer = self._select(f"version > {newest} AND {_IS_ALIVE}", {})
        sql = f"SELECT count(*) FROM entry WHERE {_IS_ALIVE}"
        (count,) = self.file.run(lambda database: database.execute(sql, _moment()).fetchone())
        found = {entry.key: entry for entry in (*known, *newer)}
        return tuple(found[key] for key in sorted(found)) if len(found) == count else None

    def watch(self, prefix: str) -> SqliteWatch:
        return SqliteWatch(self, checked_prefix(prefix))

    def confirm(self, timeout_s: float) -> None:
        """There is one file and no server."""

    def session(self, ttl_s: float) -> SqliteSession:
        def insert(database: Database) -> int:
            number = _next_number(database)
            database.execute("INSERT INTO session VALUES (?, ?, ?)", (number, _boot_id(), _now_s() + ttl_s))
            return number

        return SqliteSession(self, self.commit(insert), ttl_s)

    def close(self) -> None:
        self.file.close()

    def commit(self, work: Callable[[Database], T]) -> T:
        """Do `work` in one transaction, without what belongs to sessions that have ended."""

        def among_the_living(database: Database) -> T:
            _bury_dead_sessions(database)
            for key in self._damaged:
                database.execute("DELETE FROM entry WHERE CAST(key AS BLOB) = ?", (key,))
            return work(database)

        return self.file.commit(among_the_living)

    def next_expiry_s(self) -> float:
        """Return when the next session ends, on the clock of `_now_s`; infinity for never."""
        sql = "SELECT min(expires_s) FROM session WHERE boot = :boot AND expires_s > :now"
        (first,) = self.file.run(lambda database: database.execute(sql, _moment()).fetchone())
        return float(first) if isinstance(first, (int, float)) else float("inf")

    def _select(self, where: str, arguments: Mapping[str, str]) -> tuple[KvEntry, ...]:
        sql = f"SELECT key, value, version, typeof(key) = 'text' FROM entry WHERE {where} ORDER BY key"
        rows = self.file.run(lambda database: database.execute(sql, {**arguments, **_moment()}).fetchall())
        return tuple(self._readable(rows))

    def _readable(self, rows: Sequence[tuple[object, ...]]) -> Iterator[KvEntry]:
        """Leave out the rows that nobody can have written so, which go with the next commit."""
        for key, value, version, is_text in rows:
            name = key.decode(errors="replace") if isinstance(key, bytes) else ""
            is_sound = is_text and is_key(name) and name.encode() == key
            if is_sound and isinstance(value, bytes) and isinstance(version, int):
                yield KvEntry(key=name, value=value, version=version)
            elif isinstance(key, bytes) and key not in self._damaged:
                self._damaged.add(key)
                log.warning("the store's row %s is damaged and left out", ascii(name[:80]))

    def carry_out(self, steps: Sequence[KeyStep]) -> None:
        self.commit(lambda database: _apply(database, steps))


class SqliteSession:
    """See `reconciler.kv.protocol.Session`: a row with the time of its end, on the clock that counts since boot."""

    def __init__(self, store: SqliteStore, number: int, ttl_s: float) -> None:
        self._store = store
        self.number = number
        self.ttl_s = ttl_s

    def renew(self) -> None:
        sql = "UPDATE session SET expires_s = ? WHERE id = ?"
        parameters = (_now_s() + self.ttl_s, self.number)
        if not self._store.commit(lambda database: database.execute(sql, parameters).rowcount):
            raise KvConflict("the session has ended")

    def close(self) -> None:
        def end(database: Database) -> None:
            database.execute("DELETE FROM session WHERE id = ?", (self.number,))
            _bury_dead_sessions(database)

        with suppress(KvError):
            self._store.commit(end)


class SqliteWatch(PollingWatch):
    """See `reconciler.kv.protocol.Watch`: asks whether the file changed, compares when it did."""

    def __init__(self, store: SqliteStore, prefix: str) -> None:
        super().__init__(prefix)
        self._store = store
        self._mark: tuple[int, int, int] | None = None
        self._expiry_s = 0.0

    def look(self, deadline: float) -> Batch | None:
        mark = self._store.file.change_mark()
        if mark == self._mark and _now_s() < self._expiry_s:
            self._closed.wait(min(max(0.0, deadline - time.monotonic()), _POLL_INTERVAL_S))
            return None
        self._expiry_s = self._store.next_expiry_s()
        batch = self.compared(self._store.list(self._prefix))
        self._mark = mark
        return batch

    def begin_anew(self) -> None:
        self._mark = None
        super().begin_anew()


def _apply(database: Database, steps: Sequence[KeyStep]) -> None:
    rows = {step.key: _row(database, step.key) for step in steps}
    for step in steps:
        step.check(rows[step.key][0])
    changes = [write for write in (step.write for step in steps) if write and _changes(write, *rows[write.key])]
    if not changes:
        return
    version = _next_number(database)
    for write in changes:
        if isinstance(write, Put):
            row = (write.key, write.value, version, _session_number(database, write.session))
            database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", row)
        else:
            database.execute("DELETE FROM entry WHERE key = ?", (write.key,))


def _row(database: Database, key: str) -> tuple[int, bytes, int | None]:
    """Return what stands there; a row that is damaged is as good as none, and written over."""
    sql = "SELECT version, value, session FROM entry WHERE key = ?"
    match database.execute(sql, (key,)).fetchone():
        case (int(version), bytes(value), (int() | None) as session):
            return version, value, session
    return 0, b"", None


def _changes(write: Write, version: int, value: bytes, session: int | None) -> bool:
    if not isinstance(write, Put):
        return version != 0
    number = write.session.number if isinstance(write.session, SqliteSession) else None
    return version == 0 or (write.value, number) != (value, session)


def _session_number(database: Database, session: Session | None) -> int | None:
    own = own_session(session, SqliteSession)
    if own is None:
        return None
    if database.execute("SELECT 1 FROM session WHERE id = ?", (own.number,)).fetchone() is None:
        raise KvConflict("the session has ended")
    return own.number


def _next_number(database: Database) -> int:
    database.execute("UPDATE counter SET last = last + 1")
    match database.execute("SELECT last FROM counter").fetchall():
        case [(int(number),)] if 0 < number < _NUMBER_MAX:
            return number
    raise Damaged("it has lost count of its changes")


def _bury_dead_sessions(database: Database) -> None:
    database.execute("DELETE FROM session WHERE NOT (boot = :boot AND expires_s > :now)", _moment())
    database.execute("DELETE FROM entry WHERE session IS NOT NULL AND session NOT IN (SELECT id FROM session)")


def _moment() -> dict[str, str | float]:
    return {"boot": _boot_id(), "now": _now_s()}


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@lru_cache(maxsize=1)
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
