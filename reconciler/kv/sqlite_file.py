"""One SQLite file that outlasts what happens to files: killed writers, damage, being taken away.

Knows tables only as statements that make them. A rollback journal with synchronous=FULL: a process killed at any
instant, or the power lost, leaves the last committed state. Not write-ahead logging: reading would make files, and a
dry run makes none. Each commit costs a few flushes to the disk.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from reconciler.errors import KvError, KvUnavailable, StateNewer
from reconciler.records.file import make_folder

log = logging.getLogger(__name__)

T = TypeVar("T")

Database = sqlite3.Connection

_FORMAT_MAX: Final = 1000
"""No version of us will write a higher one."""

_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What comes of a database: texts of one that is damaged need not be UTF-8."""

_UNAVAILABLE: Final = frozenset(
    getattr(sqlite3, f"SQLITE_{name}")
    for name in ("BUSY", "LOCKED", "CANTOPEN", "IOERR", "FULL", "PERM", "READONLY", "PROTOCOL")
)
"""The file may be fine, and another time be reached. Whatever else SQLite says of one is damage, also that a table is not there."""

_CUT_OFF: Final = frozenset({sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})


class Damaged(sqlite3.DatabaseError):
    """The file is none that this program could have written; nothing of it can be trusted."""


class SqliteFile:
    """Runs work on the file's database, from any thread, one at a time. Texts come as bytes: damaged ones need not be UTF-8.

    schema: statements that make the tables; the file keeps `schema_version` as user_version. upgrades: by version, the statements
    that make the next one of it; whoever writes to an older file upgrades it first, whoever reads one upgrades a copy.
    read_only: nothing is made or written anywhere; a file that is not there, or is none of ours, reads as empty.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        schema_version: int,
        *,
        read_only: bool,
        timeout_s: float,
        upgrades: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        self._path = path
        self._schema = (*schema, f"PRAGMA user_version = {schema_version}")
        self._schema_version = schema_version
        self._upgrades = upgrades or {}
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._inode = 0
        self._commits = 0
        self._complaint = ""
        self._database = self._opened()

    def run(self, work: Callable[[Database], T], *, is_writing: bool = False) -> T:
        """Do `work`; begin a new file if this one turns out to be damaged or is gone. Raises KvUnavailable, KvError.

        Where the path leads to nothing that can be opened any more, what is open is still read, and no longer written.
        """
        with self._lock:
            self._follow_path(is_writing=is_writing)
            try:
                return work(self._database)
            except _ERRORS as error:
                self._begin_anew(error)
            with self._translated():
                return work(self._database)

    def commit(self, work: Callable[[Database], T]) -> T:
        """Do `work` in one transaction, all of it or nothing."""
        if self._read_only:
            raise KvError(f"{self._path} was opened for reading only")

        def transaction(database: Database) -> T:
            self._commits += 1  # also when it is not known what became of it
            database.execute("BEGIN IMMEDIATE")
            try:
                self._check_version(_pragma(database, "user_version"))  # a later one of us may have come meanwhile
                result = work(database)
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
            return result

        return self.run(transaction, is_writing=True)

    def change_mark(self) -> tuple[int, int, int]:
        """Return a value that differs after every change of the file, by whomever."""
        return self.run(lambda database: (self._inode, _pragma(database, "data_version"), self._commits))

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _follow_path(self, *, is_writing: bool) -> None:
        """Open the file that the path leads to by now."""
        if self._read_only or self._inode == _inode(self._path):
            return
        before = self._inode
        try:
            opened = self._opened()
        except KvUnavailable as error:
            self._inode = before
            if is_writing:
                raise
            self._complain(f"{error}; what was read before is still known")
            return
        self._complain(f"{self._path} was removed or replaced: it was opened again")
        self._complaint = ""
        self._database.close()
        self._database = opened

    def _begin_anew(self, error: sqlite3.Error | UnicodeDecodeError) -> None:
        """Replace a database that is damaged; raise what else the matter is."""
        if not _is_damage(error) and not self._is_marked_unwritable(error):
            raise self._in_our_words(error) from error
        if self._read_only:
            replaced = self._taken_as_empty(error)
        else:
            if self._inode == _inode(self._path):  # else another process was faster
                self._set_aside(error)
            replaced = self._opened()
        self._database.close()
        self._database = replaced

    def _is_marked_unwritable(self, error: Exception) -> bool:
        """Return whether a file that can be written calls itself one that cannot, or only this file of its folder cannot be."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_READONLY or self._read_only:
            return False
        return os.access(self._path.parent, os.W_OK)

    def _opened(self) -> Database:
        with self._translated():
            try:
                return self._open()
            except _ERRORS as error:
                if not _is_damage(error):
                    raise
                if self._read_only:
                    return self._taken_as_empty(error)
                self._set_aside(error)
            return self._open()

    def _open(self) -> Database:
        try:
            return self._open_reading() if self._read_only else self._open_writing()
        except (NotADirectoryError, FileExistsError) as error:
            raise KvUnavailable(
                f"cannot open the store {self._path}: a file stands in the place of the folder {self._path.parent}, or above it; "
                "move it away, or name another folder"
            ) from error
        except OSError as error:
            raise KvUnavailable(f"cannot open the store {self._path}: {error.strerror}") from error

    def _open_reading(self) -> Database:
        if not os.path.lexists(self._path):
            return self._empty()
        _check_kind(self._path)
        database = _connect(f"file:{quote(str(self._path))}?mode=ro", self._timeout_s)
        try:
            is_made = self._has_tables(database)
            if is_made and _pragma(database, "user_version") < self._schema_version:
                return self._upgraded_copy(database)
        except _ERRORS as error:
            database.close()
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            return self._copy_of_interrupted()
        if is_made:
            return database
        database.close()
        return self._empty()

    def _open_writing(self) -> Database:
        make_folder(self._path.parent)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._inode = _inode(self._path)
        _check_kind(self._path)
        database = _connect(f"file:{quote(str(self._path))}?mode=rw", self._timeout_s)
        try:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA cell_size_check = ON")
            if not self._has_tables(database):
                self._make_tables(database)
            self._upgrade(database)
        except BaseException:
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
                shutil.copyfile(_journal(self._path), _journal(copy))
            database = _connect("file::memory:", 0)
            rolled_back = _connect(f"file:{quote(str(copy))}", self._timeout_s)
            try:
                rolled_back.backup(database)
            finally:
                rolled_back.close()
        if not self._has_tables(database):
            self._make_tables(database)
        self._upgrade(database)
        return database

    def _upgraded_copy(self, database: Database) -> Database:
        copy = _connect("file::memory:", 0)
        database.backup(copy)
        database.close()
        self._upgrade(copy)
        return copy

    def _taken_as_empty(self, cause: Exception) -> Database:
        self._complain(f"{self._path} is not readable ({cause}): taken as empty")
        return self._empty()

    def _set_aside(self, cause: Exception) -> None:
        """Keep a file that is no good for whoever wants to look, out of the way. Raises KvUnavailable if that is refused."""
        aside = _free_name(self._path)
        log.warning(
            "%s cannot be used (%s): moved to %s, starting anew; what was promised is taken over from the kernel",
            self._path,
            cause,
            aside.name,
        )
        try:
            with suppress(FileNotFoundError):
                os.replace(self._path, aside)
            with suppress(FileNotFoundError):
                os.replace(_journal(self._path), _journal(aside))
        except OSError as error:
            raise KvUnavailable(
                f"store {self._path} cannot be used ({cause}), nor moved away ({error.strerror}): remove it"
            ) from error

    def _has_tables(self, database: Database) -> bool:
        version = _pragma(database, "user_version")
        if version < 0:
            raise Damaged(f"its format is {version}")
        if version > self._schema_version and not (version <= _FORMAT_MAX and _is_of_ours(database)):
            raise Damaged(f"its format is {version}, and damaged or another program's")
        self._check_version(version)
        return version > 0

    def _check_version(self, version: int) -> None:
        if version > self._schema_version:
            raise StateNewer(
                f"{self._path} was written by a later version of this program (format {version}, this one knows "
                f"{self._schema_version}): run that version; nothing was read or changed"
            )

    def _upgrade(self, database: Database) -> None:
        """Bring an older file to this version, in one transaction: a process killed meanwhile leaves the older one."""
        if _pragma(database, "user_version") == self._schema_version:
            return
        database.execute("BEGIN IMMEDIATE")
        version = _pragma(database, "user_version")  # another process may have been faster
        try:
            for number in range(version, self._schema_version):
                for statement in self._upgrades[number]:
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {self._schema_version}")
            database.execute("COMMIT")
        except sqlite3.Error as error:  # no damage, so that the file is not set aside
            raise KvError(
                f"{self._path}: format {version} cannot be brought to {self._schema_version} ({error})"
            ) from error

    def _make_tables(self, database: Database) -> None:
        database.execute("BEGIN IMMEDIATE")
        if not self._has_tables(database):  # else another process was faster
            for statement in self._schema:
                database.execute(statement)
        database.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            raise self._in_our_words(error) from error

    def _in_our_words(self, error: Exception) -> KvError:
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return (KvUnavailable if primary in _UNAVAILABLE else KvError)(f"store {self._path}: {error}")

    def _complain(self, message: str) -> None:
        """Log what is the matter, once for as long as it is."""
        if message != self._complaint:
            log.warning("%s", message)
        self._complaint = message


def _check_kind(path: Path) -> None:
    """Raise Damaged where something else than a file stands: opening a pipe would wait, and a folder is none.

    Each place is looked at once: the journal of another process's transaction comes and goes at any moment.
    """
    for place in (path, _journal(path)):
        try:
            kind = os.lstat(place).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(_leads_to(place) if stat.S_ISLNK(kind) else kind):
            raise Damaged(f"{place.name} is no file")


def _leads_to(link: Path) -> int:
    try:
        return os.stat(link).st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        raise Damaged(f"{link.name} leads nowhere") from error


def _connect(uri: str, timeout_s: float) -> Database:
    database = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    database.text_factory = bytes
    return database


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _free_name(path: Path) -> Path:
    """Return a name that nothing has beside `path`, by the time of day."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (
        path.with_name(f"{path.name}.set-aside-{moment}{extra}") for extra in ("", *(f"-{n}" for n in range(2, 100)))
    )
    return next((name for name in names if not os.path.lexists(name)), path.with_name(f"{path.name}.set-aside"))


def _is_of_ours(database: Database) -> bool:
    """Return whether it has the table that all versions of us have."""
    found = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'entry'").fetchone()
    return bool(found[0] == 1)


def _pragma(database: Database, name: str) -> int:
    (value,) = database.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _is_damage(error: Exception) -> bool:
    """Any error of the file that is not one of the moment. A misuse of SQLite, which has no code, is our own fault."""
    if isinstance(error, (Damaged, UnicodeDecodeError)):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code in _CUT_OFF or (code != 0 and code & 0xFF not in _UNAVAILABLE)
