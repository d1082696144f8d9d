"""One SQLite file that outlasts what happens to files: killed writers, damage, being taken away.

Knows tables only as statements that make them. A rollback journal with synchronous=FULL: a process killed at any
instant, or the power lost, leaves the last committed state. Not write-ahead logging: reading would make files, and a
dry run makes none. Each commit costs a few flushes to the disk.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from reconciler.errors import KvError, KvUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

Database = sqlite3.Connection

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


class SqliteFile:
    """Runs work on the file's database, from any thread, one at a time.

    schema: statements that make the tables; the file keeps `schema_version` as user_version.
    read_only: nothing is made or written anywhere; a file that is not there, or is none of SQLite's, reads as empty.
    """

    def __init__(
        self, path: Path, schema: Sequence[str], schema_version: int, *, read_only: bool, timeout_s: float
    ) -> None:
        self._path = path
        self._schema = (*schema, f"PRAGMA user_version = {schema_version}")
        self._schema_version = schema_version
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._inode = 0
        self._commits = 0
        self._database = self._opened()

    def run(self, work: Callable[[Database], T]) -> T:
        """Do `work`; begin a new file if this one turns out to be damaged or is gone. Raises KvUnavailable, KvError."""
        with self._lock:
            try:
                if not self._read_only and self._inode != _inode(self._path):
                    log.warning("%s was removed or replaced: opening it again", self._path)
                    self._database.close()
                    self._database = self._opened()
                return work(self._database)
            except sqlite3.Error as error:
                if not _is_corrupt(error):
                    raise _translated(error, self._path) from error
                self._database.close()
                self._database = self._replacement(error)
                return work(self._database)

    def commit(self, work: Callable[[Database], T]) -> T:
        """Do `work` in one transaction, all of it or nothing."""
        if self._read_only:
            raise KvError(f"{self._path} was opened for reading only")

        def transaction(database: Database) -> T:
            database.execute("BEGIN IMMEDIATE")
            try:
                result = work(database)
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
            self._commits += 1
            return result

        return self.run(transaction)

    def change_mark(self) -> tuple[int, int, int]:
        """Give a value that differs after every change of the file, by whomever."""
        return self.run(lambda database: (self._inode, _pragma(database, "data_version"), self._commits))

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _opened(self) -> Database:
        try:
            return self._open_reading() if self._read_only else self._open_writing()
        except sqlite3.Error as error:
            if not _is_corrupt(error):
                raise _translated(error, self._path) from error
            return self._replacement(error)
        except OSError as error:
            raise KvUnavailable(f"cannot open the store {self._path}: {error.strerror}") from error

    def _open_reading(self) -> Database:
        if not self._path.exists():
            return self._empty()
        database = _connect(f"file:{quote(str(self._path))}?mode=ro", self._timeout_s)
        try:
            is_made = self._has_tables(database)
        except sqlite3.Error as error:
            database.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            return self._copy_of_interrupted()
        if is_made:
            return database
        database.close()
        return self._empty()

    def _open_writing(self) -> Database:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._inode = _inode(self._path)
        database = _connect(f"file:{quote(str(self._path))}?mode=rw", self._timeout_s)
        try:
            database.execute("PRAGMA synchronous = FULL")
            if not self._has_tables(database):
                self._make_tables(database)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _empty(self) -> Database:
        database = _connect("file::memory:", 0)
        self._make_tables(database)
        return database

    def _copy_of_interrupted(self) -> Database:
        """Read a file whose writer was killed half-way: a private copy is rolled back, the file waits for a writer."""
        import shutil  # these two only here: they cost every start 3 ms, and this hardly ever happens
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, self._path.name)
            shutil.copyfile(self._path, copy)
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{self._path}-journal", f"{copy}-journal")
            database = _connect("file::memory:", 0)
            rolled_back = _connect(f"file:{quote(str(copy))}", self._timeout_s)
            try:
                rolled_back.backup(database)
            finally:
                rolled_back.close()
        if not self._has_tables(database):
            self._make_tables(database)
        return database

    def _replacement(self, cause: sqlite3.Error) -> Database:
        """Give an empty database for one that is damaged; the old file is kept for whoever wants to look."""
        if self._read_only:
            log.warning("%s is not readable (%s): taken as empty", self._path, cause)
            return self._empty()
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        log.warning("%s is not readable (%s): moved to %s, starting anew", self._path, cause, aside.name)
        os.replace(self._path, aside)
        with suppress(FileNotFoundError):
            os.replace(f"{self._path}-journal", f"{aside}-journal")
        return self._open_writing()

    def _has_tables(self, database: Database) -> bool:
        """Raise KvError for a file of a later version."""
        version = _pragma(database, "user_version")
        if version > self._schema_version:
            database.close()
            raise KvError(
                f"{self._path} was written by a later version of this program (schema {version}, known is "
                f"{self._schema_version}): update this one, or move the file away"
            )
        return version == self._schema_version

    def _make_tables(self, database: Database) -> None:
        database.execute("BEGIN IMMEDIATE")
        if not self._has_tables(database):  # else another process was faster
            for statement in self._schema:
                database.execute(statement)
        database.execute("COMMIT")


def _connect(uri: str, timeout_s: float) -> Database:
    return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)


def _pragma(database: Database, name: str) -> int:
    (value,) = database.execute(f"PRAGMA {name}").fetchone()
    return int(value)


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
