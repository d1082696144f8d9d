"""The embedded store: one SQLite file in the state folder, shared by the processes of one host.

Durability. A rollback journal with synchronous=FULL: a process killed at any instant, or the power lost, leaves the
last committed state, and a promise is on the disk before the kernel is touched. Not write-ahead logging: reading
would make files, and a dry run makes none. Each commit costs a few flushes to the disk, so many records belong into
few transactions.

A file that cannot be read as a database is moved aside, with a warning, and a new one started; what it held is
adopted from the kernel.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kv.protocol import (
    CALL_TIMEOUT_S,
    Batch,
    Check,
    Delete,
    Entry,
    Put,
    Session,
    Step,
    Write,
    checked_key,
    checked_prefix,
    checked_steps,
    checked_value,
)
from reconciler.kv.snapshot import Snapshot

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_VERSION: Final = 1
"""Kept in the file as user_version."""

_SCHEMA: Final = (
    "CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB, version INTEGER, session INTEGER) WITHOUT ROWID",
    "CREATE TABLE session (id INTEGER PRIMARY KEY, boot TEXT, expires_s REAL)",
    "CREATE TABLE counter (last INTEGER)",
    "INSERT INTO counter VALUES (0)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_IS_ALIVE: Final = "(session IS NULL OR session IN (SELECT id FROM session WHERE boot = :boot AND expires_s > :now))"

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_UNAVAILABLE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)

_POLL_INTERVAL_S: Final = 0.05
"""How often a watch asks whether the file changed; asking takes some 20 microseconds."""


def open_sqlite(path: Path, *, read_only: bool = False, timeout_s: float = CALL_TIMEOUT_S) -> SqliteStore:
    """Open the store, making it and its folder if need be. Raises KvUnavailable if that is refused.

    read_only: nothing is made or written anywhere, a store that is not there (or not readable as one) reads as empty,
    and writing raises KvError.
    """
    return SqliteStore(path, read_only=read_only, timeout_s=timeout_s)


class SqliteStore:
    """See `reconciler.kv.protocol.KvStore`."""

    def __init__(self, path: Path, *, read_only: bool, timeout_s: float) -> None:
        self._path = path
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._inode = 0
        self._commits = 0
        self._database = self._opened()

    def get(self, key: str) -> Entry | None:
        rows = self._select(f"key = :key AND {_IS_ALIVE}", {"key": checked_key(key)})
        return rows[0] if rows else None

    def list(self, prefix: str) -> tuple[Entry, ...]:
        if not checked_prefix(prefix):
            return self._select(_IS_ALIVE, {})
        after = prefix[:-1] + chr(ord("/") + 1)
        return self._select(f"key > :first AND key < :after AND {_IS_ALIVE}", {"first": prefix, "after": after})

    def put(self, key: str, value: bytes, session: Session | None = None) -> None:
        write = Put(key=checked_key(key), value=checked_value(key, value), session=session)
        self._write((Step(key=key, version=None, write=write),))

    def delete(self, key: str) -> None:
        self._write((Step(key=checked_key(key), version=None, write=Delete(key=key)),))

    def compare_and_swap(self, key: str, value: bytes | None, version: int) -> None:
        self._write((Step.swap(key, value, version),))

    def transact(self, checks: Sequence[Check], writes: Sequence[Write]) -> None:
        self._write(checked_steps(checks, writes))

    def watch(self, prefix: str) -> SqliteWatch:
        return SqliteWatch(self, checked_prefix(prefix))

    def session(self, ttl_s: float) -> SqliteSession:
        def insert(database: sqlite3.Connection) -> int:
            number = _next_number(database)
            database.execute("INSERT INTO session VALUES (?, ?, ?)", (number, _boot_id(), _now_s() + ttl_s))
            return number

        return SqliteSession(self, self.commit(insert), ttl_s)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in one transaction, all of it or nothing."""
        if self._read_only:
            raise KvError(f"{self._path} was opened for reading only")

        def transaction(database: sqlite3.Connection) -> T:
            database.execute("BEGIN IMMEDIATE")
            try:
                _bury_dead_sessions(database)
                result = work(database)
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
            self._commits += 1
            return result

        return self._run(transaction)

    def change_mark(self) -> tuple[int, int, int]:
        """Give a value that differs after every change of the file, by whomever."""
        return self._run(lambda database: (self._inode, _pragma(database, "data_version"), self._commits))

    def next_expiry_s(self) -> float:
        """Give when the next session ends, on the clock of `_now_s`; infinity for never."""
        sql = "SELECT min(expires_s) FROM session WHERE boot = :boot AND expires_s > :now"
        (first,) = self._run(lambda database: database.execute(sql, _moment()).fetchone())
        return float("inf") if first is None else float(first)

    def _select(self, where: str, arguments: Mapping[str, str]) -> tuple[Entry, ...]:
        sql = f"SELECT key, value, version FROM entry WHERE {where} ORDER BY key"
        rows = self._run(lambda database: database.execute(sql, {**arguments, **_moment()}).fetchall())
        return tuple(Entry(key=key, value=value, version=version) for key, value, version in rows)

    def _write(self, steps: Sequence[Step]) -> None:
        self.commit(lambda database: _apply(database, steps))

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                if not self._read_only and self._inode != _inode(self._path):
                    log.warning("%s was removed or replaced: opening it again", self._path)
                    self._reopen()
                return work(self._database)
            except sqlite3.Error as error:
                if not _is_corrupt(error):
                    raise _translated(error, self._path) from error
                self._start_anew(error)
                return work(self._database)

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._open_reading() if self._read_only else self._open_writing()
        except sqlite3.Error as error:
            if not _is_corrupt(error):
                raise _translated(error, self._path) from error
            return self._replacement(error)
        except OSError as error:
            raise KvUnavailable(f"cannot open the store {self._path}: {error.strerror}") from error

    def _open_reading(self) -> sqlite3.Connection:
        if not self._path.exists():
            return _empty()
        database = _connect(f"file:{quote(str(self._path))}?mode=ro", self._timeout_s)
        try:
            is_made = _check_schema(database, self._path)
        except sqlite3.OperationalError as error:
            database.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            return _copy_of_interrupted(self._path, self._timeout_s)
        return database if is_made else _empty()

    def _open_writing(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._inode = _inode(self._path)
        database = _connect(f"file:{quote(str(self._path))}?mode=rw", self._timeout_s)
        database.execute("PRAGMA synchronous = FULL")
        if not _check_schema(database, self._path):
            _make_schema(database)
        return database

    def _reopen(self) -> None:
        self._database.close()
        self._database = self._opened()

    def _start_anew(self, cause: sqlite3.Error) -> None:
        self._database.close()
        self._database = self._replacement(cause)

    def _replacement(self, cause: sqlite3.Error) -> sqlite3.Connection:
        """Give an empty database for one that is corrupt; the old file is kept for whoever wants to look."""
        if self._read_only:
            log.warning("%s is not readable (%s): taken as empty", self._path, cause)
            return _empty()
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        log.warning("%s is not readable (%s): moved to %s, starting anew", self._path, cause, aside.name)
        os.replace(self._path, aside)
        journal = self._path.with_name(f"{self._path.name}-journal")
        if journal.exists():
            os.replace(journal, f"{aside}-journal")
        return self._open_writing()


class SqliteSession:
    """See `reconciler.kv.protocol.Session`: a row with the time of its end, on the clock that counts since boot."""

    def __init__(self, store: SqliteStore, number: int, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self.number = number

    @property
    def ttl_s(self) -> float:
        return self._ttl_s

    def renew(self) -> None:
        sql = "UPDATE session SET expires_s = ? WHERE id = ?"
        parameters = (_now_s() + self._ttl_s, self.number)
        if not self._store.commit(lambda database: database.execute(sql, parameters).rowcount):
            raise KvConflict("the session has ended")

    def close(self) -> None:
        def end(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM session WHERE id = ?", (self.number,))
            _bury_dead_sessions(database)

        with suppress(KvError):
            self._store.commit(end)


class SqliteWatch:
    """See `reconciler.kv.protocol.Watch`: asks whether the file changed, compares when it did."""

    def __init__(self, store: SqliteStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._closed = threading.Event()
        self._mark: tuple[int, int, int] | None = None
        self._expiry_s = 0.0
        self._known = Snapshot()

    def poll(self, timeout_s: float) -> Batch | None:
        deadline = time.monotonic() + timeout_s
        while not self._closed.is_set():
            batch = self._look()
            left_s = deadline - time.monotonic()
            if batch is not None or left_s <= 0:
                return batch
            self._closed.wait(min(left_s, _POLL_INTERVAL_S))
        return None

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> Batch | None:
        mark = self._store.change_mark()
        if mark == self._mark and _now_s() < self._expiry_s:
            return None
        self._expiry_s = self._store.next_expiry_s()
        batch = self._known.take(self._store.list(self._prefix))
        self._mark = mark
        return batch


def _connect(uri: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)


def _empty() -> sqlite3.Connection:
    database = _connect("file::memory:", 0)
    _make_schema(database)
    return database


def _copy_of_interrupted(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Read a store whose writer was killed half-way: roll a private copy back, the file itself waits for the next
    writer.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}-journal", f"{copy}-journal")
        database = _connect("file::memory:", 0)
        rolled_back = _connect(f"file:{quote(str(copy))}", timeout_s)
        try:
            rolled_back.backup(database)
        finally:
            rolled_back.close()
    if not _check_schema(database, path):
        _make_schema(database)
    return database


def _check_schema(database: sqlite3.Connection, path: Path) -> bool:
    """Say whether the tables are there. Raises KvError for a file of a later version."""
    version = _pragma(database, "user_version")
    if version > SCHEMA_VERSION:
        database.close()
        raise KvError(
            f"{path} was written by a later version of this program (schema {version}, known is {SCHEMA_VERSION}): "
            "update this one, or move the file away"
        )
    return version == SCHEMA_VERSION


def _make_schema(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    if _pragma(database, "user_version") == 0:  # else another process was faster
        for statement in _SCHEMA:
            database.execute(statement)
    database.execute("COMMIT")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    (value,) = database.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _apply(database: sqlite3.Connection, steps: Sequence[Step]) -> None:
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


def _row(database: sqlite3.Connection, key: str) -> tuple[int, bytes, int | None]:
    sql = "SELECT version, value, session FROM entry WHERE key = ?"
    return database.execute(sql, (key,)).fetchone() or (0, b"", None)


def _changes(write: Write, version: int, value: bytes, session: int | None) -> bool:
    if not isinstance(write, Put):
        return version != 0
    number = write.session.number if isinstance(write.session, SqliteSession) else None
    return version == 0 or (write.value, number) != (value, session)


def _session_number(database: sqlite3.Connection, session: Session | None) -> int | None:
    if session is None:
        return None
    if not isinstance(session, SqliteSession):
        raise ValueError("the session is another store's")
    if database.execute("SELECT 1 FROM session WHERE id = ?", (session.number,)).fetchone() is None:
        raise KvConflict("the session has ended")
    return session.number


def _next_number(database: sqlite3.Connection) -> int:
    database.execute("UPDATE counter SET last = last + 1")
    (number,) = database.execute("SELECT last FROM counter").fetchone()
    return int(number)


def _bury_dead_sessions(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM session WHERE NOT (boot = :boot AND expires_s > :now)", _moment())
    database.execute("DELETE FROM entry WHERE session IS NOT NULL AND session NOT IN (SELECT id FROM session)")


def _moment() -> dict[str, str | float]:
    return {"boot": _boot_id(), "now": _now_s()}


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@lru_cache(maxsize=1)
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _is_corrupt(error: sqlite3.Error) -> bool:
    return _primary_code(error) in _CORRUPT


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _translated(error: sqlite3.Error, path: Path) -> KvError:
    kind = KvUnavailable if _primary_code(error) in _UNAVAILABLE else KvError
    return kind(f"store {path}: {error}")
