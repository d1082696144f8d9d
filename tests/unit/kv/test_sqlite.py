"""What only the embedded store has to stand: a file that others can cut short, kill the writer of, or take away."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import KvConflict, KvError, KvUnavailable, StateNewer
from reconciler.kv.protocol import MUST_NOT_EXIST, Check, Put
from reconciler.kv.sqlite import open_sqlite
from reconciler.kv.sqlite_file import SqliteFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


def filled(path: Path, count: int = 3) -> Path:
    store = open_sqlite(path)
    for start in range(0, count, 30):
        numbers = range(start, min(count, start + 30))
        store.transact((), [Put(key=f"endpoint/net/a{n:05}", value=b"x" * 200) for n in numbers])
    store.close()
    return path


def fingerprint(folder: Path) -> list[tuple[str, int, int, int]]:
    return sorted((str(p), p.stat().st_mtime_ns, p.stat().st_ino, p.stat().st_size) for p in folder.rglob("*"))


def test_file_is_for_its_owner_only(path: Path) -> None:
    filled(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_in_the_folder_changes_when_nothing_new_is_written(path: Path) -> None:
    before = fingerprint(filled(path).parent)

    store = open_sqlite(path)
    store.put("endpoint/net/a00000", b"x" * 200)
    store.delete("endpoint/net/absent")
    store.transact([Check(key="endpoint/net/absent", version=MUST_NOT_EXIST)], [])
    assert len(store.list("")) == 3
    store.close()

    assert fingerprint(path.parent) == before


def test_reading_only_makes_no_file_where_none_is(path: Path) -> None:
    store = open_sqlite(path, read_only=True)

    assert store.list("") == ()
    assert store.get("network/a") is None
    assert not path.parent.exists()


def test_reading_only_refuses_to_write(path: Path) -> None:
    store = open_sqlite(filled(path), read_only=True)

    with pytest.raises(KvError, match="for reading only"):
        store.put("a", b"")
    assert len(store.list("")) == 3


def test_reading_only_leaves_the_folder_as_it_is(path: Path) -> None:
    before = fingerprint(filled(path).parent)

    store = open_sqlite(path, read_only=True)
    assert len(store.list("endpoint/")) == 3
    store.close()

    assert fingerprint(path.parent) == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"not a database at all" * 100, id="other-content"),
        pytest.param(lambda content: content[:1000], id="cut-within-the-first-page"),
        pytest.param(lambda content: content[:8192], id="cut-after-two-pages"),
        pytest.param(
            lambda content: content[:4096] + b"\xa5" * (len(content) - 4096), id="all-but-the-first-page-overwritten"
        ),
    ],
)
def test_damaged_file_is_moved_aside_and_a_new_one_started(
    path: Path, caplog: pytest.LogCaptureFixture, damage
) -> None:
    damaged = damage(filled(path, 300).read_bytes())
    path.write_bytes(damaged)

    store = open_sqlite(path)
    assert store.list("") == ()
    store.put("network/a", b"new")
    store.close()

    (aside,) = path.parent.glob("state.db.set-aside-*")
    assert aside.read_bytes() == damaged
    assert "starting anew" in caplog.text
    assert [entry.value for entry in open_sqlite(path).list("")] == [b"new"]


def test_damaged_file_reads_as_empty_and_stays_when_reading_only(path: Path) -> None:
    filled(path).write_bytes(b"not a database at all" * 100)
    before = fingerprint(path.parent)

    assert open_sqlite(path, read_only=True).list("") == ()

    assert fingerprint(path.parent) == before


def test_empty_file_is_a_store_without_entries(path: Path) -> None:
    path.parent.mkdir()
    path.touch()

    assert open_sqlite(path, read_only=True).list("") == ()
    assert open_sqlite(path).list("") == ()
    assert list(path.parent.glob("*set-aside*")) == []


def changed(statement: str, path: Path) -> None:
    changed_in_place(filled(path), statement)


def changed_in_place(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    database.executescript(statement)
    database.commit()
    database.close()


def folder_there(path: Path) -> None:
    (path / "within").mkdir(parents=True)


def folder_for_journal(path: Path) -> None:
    filled(path)
    Path(f"{path}-journal", "within").mkdir(parents=True)


def link_to_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to("nowhere")


def pipe_there(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


NO_STORE = {
    "format of another program": partial(changed, "PRAGMA user_version = 99; ALTER TABLE entry RENAME TO other"),
    "format of no version": partial(changed, "PRAGMA user_version = -1"),
    "no mark": partial(changed, "PRAGMA user_version = 0"),
    "a column is called otherwise": partial(changed, "ALTER TABLE entry RENAME COLUMN version TO other"),
    "a table is missing": partial(changed, "DROP TABLE entry"),
    "a folder in its place": folder_there,
    "a folder in its journal's place": folder_for_journal,
    "a pipe": pipe_there,
    "a link to nothing": link_to_nothing,
}


@pytest.mark.parametrize("make", NO_STORE.values(), ids=NO_STORE)
def test_what_is_no_store_of_ours_is_set_aside_whole(
    path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    make(path)
    reader = open_sqlite(path, read_only=True)
    assert reader.list("") == ()
    assert not list(path.parent.glob("*set-aside*"))

    with closing(open_sqlite(path)) as store:
        assert store.list("") == ()
        store.put("network/a", b"new")

    assert list(path.parent.glob("state.db.set-aside-*"))
    assert "taken over from the kernel" in caplog.text
    with closing(open_sqlite(path)) as store:
        assert [entry.key for entry in store.list("")] == ["network/a"]


def test_format_of_a_later_version_is_refused_and_left_as_it_is(path: Path) -> None:
    changed("PRAGMA user_version = 2", path)
    before = path.read_bytes()

    for read_only in (True, False):
        with pytest.raises(StateNewer, match=r"by a later version of this program \(format 2, this one knows 1\)"):
            open_sqlite(path, read_only=read_only)

    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_later_version_that_comes_meanwhile_is_not_written_over(path: Path) -> None:
    with closing(open_sqlite(filled(path))) as store:
        changed_in_place(path, "PRAGMA user_version = 2")

        with pytest.raises(StateNewer):
            store.put("network/a", b"lost")


def test_an_older_file_is_upgraded_by_who_writes_and_read_as_if_it_were(path: Path) -> None:
    opened = partial(
        SqliteFile,
        filled(path),
        ("never asked for",),
        3,
        timeout_s=1,
        upgrades={1: ("ALTER TABLE entry ADD COLUMN owner TEXT",), 2: ("UPDATE entry SET owner = 'us'",)},
    )

    def owners(database: sqlite3.Connection) -> list[tuple[bytes]]:
        return database.execute("SELECT DISTINCT owner FROM entry").fetchall()

    before = path.read_bytes()
    with closing(opened(read_only=True)) as file:
        assert file.run(owners) == [(b"us",)]
    assert path.read_bytes() == before
    for _ in range(2):
        with closing(opened(read_only=False)) as file:
            assert file.run(owners) == [(b"us",)]
    with pytest.raises(StateNewer):
        open_sqlite(path)


def test_an_upgrade_that_fails_leaves_the_older_file(path: Path) -> None:
    upgrades = {1: ("ALTER TABLE entry ADD COLUMN owner TEXT", "no statement")}

    with pytest.raises(KvError):
        SqliteFile(filled(path), (), 2, read_only=False, timeout_s=1, upgrades=upgrades)

    with closing(open_sqlite(path)) as store:
        assert len(store.list("")) == 3


LOST_COUNT = ("DELETE FROM counter", "UPDATE counter SET last = 0.5", "UPDATE counter SET last = 9223372036854775807")


@pytest.mark.parametrize("statement", LOST_COUNT)
def test_store_that_lost_count_is_set_aside_by_the_next_write(path: Path, statement: str) -> None:
    changed(statement, path)

    with closing(open_sqlite(path)) as store:
        store.put("network/a", b"new")
        assert [entry.value for entry in store.list("")] == [b"new"]


BAD_ROW = {
    "key is no UTF-8": "UPDATE entry SET key = CAST(x'6eff' AS TEXT) WHERE key = 'endpoint/net/a00000'",
    "key is no key": "UPDATE entry SET key = 'endpoint//a00000' WHERE key = 'endpoint/net/a00000'",
    "key is bytes": "UPDATE entry SET key = x'656e64706f696e742f6e65742f613030303030' WHERE key = 'endpoint/net/a00000'",
    "value is none": "UPDATE entry SET value = NULL WHERE key = 'endpoint/net/a00000'",
    "value is a number": "UPDATE entry SET value = 1 WHERE key = 'endpoint/net/a00000'",
    "version is none": "UPDATE entry SET version = NULL WHERE key = 'endpoint/net/a00000'",
    "version is text": "UPDATE entry SET version = 'x' WHERE key = 'endpoint/net/a00000'",
    "session is text": "UPDATE entry SET session = 'x' WHERE key = 'endpoint/net/a00000'",
}


@pytest.mark.parametrize("statement", BAD_ROW.values(), ids=BAD_ROW)
def test_damaged_row_harms_one_row_and_goes_with_the_next_write(path: Path, statement: str) -> None:
    changed(statement, path)
    left = ["endpoint/net/a00001", "endpoint/net/a00002"]
    assert [entry.key for entry in open_sqlite(path, read_only=True).list("")] == left

    with closing(open_sqlite(path)) as store:
        assert [entry.key for entry in store.list("")] == left
        store.put("endpoint/net/a00000", b"anew")
        assert [entry.key for entry in store.list("")] == ["endpoint/net/a00000", *left]

    assert not list(path.parent.glob("*set-aside*"))
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM entry").fetchone() == (3,)
    database.close()


def test_what_is_open_is_still_read_when_its_folder_is_gone_and_replaced_by_a_file(path: Path) -> None:
    with closing(open_sqlite(filled(path))) as store:
        known = store.list("")
        path.parent.rename(path.parent.with_name("moved"))
        path.parent.write_text("in the way")

        assert store.list("") == known
        with pytest.raises(KvUnavailable, match="move it away"):
            store.put("network/a", b"lost")

        path.parent.unlink()
        store.put("network/a", b"kept")
        assert [entry.key for entry in store.list("")] == ["network/a"]


def test_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")

    with pytest.raises(KvUnavailable, match=r"state\.db"):
        open_sqlite(tmp_path / "state" / "state.db")


def test_file_removed_under_an_open_store_is_made_anew(path: Path) -> None:
    store = open_sqlite(filled(path))
    path.unlink()

    assert store.list("") == ()
    store.put("network/a", b"kept")
    store.close()

    assert [entry.key for entry in open_sqlite(path).list("")] == ["network/a"]


def test_store_locked_by_another_process_is_unavailable_after_the_deadline(path: Path) -> None:
    other = sqlite3.connect(filled(path), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(KvUnavailable, match="locked"):
        open_sqlite(path, timeout_s=0.3).put("network/a", b"")

    other.close()


WRITER = """
import sys
from pathlib import Path
from reconciler.kv.protocol import Put
from reconciler.kv.sqlite import open_sqlite
from reconciler.kv.sqlite_file import SqliteFile
store = open_sqlite(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.transact((), [Put(key=f"k/{n:02}", value=b"%d" % number) for n in range(30)])
    print(number, flush=True)
"""


def kill_writer(path: Path, after: int) -> int:
    """Let a process write round after round, kill -9 it at once after round `after` was reported; give that round."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= after:
                os.kill(writer.pid, signal.SIGKILL)
                rest = writer.stdout.read().split()
                return max(after, *map(int, rest)) if rest else after
    raise AssertionError("the writer ended by itself")


@pytest.mark.parametrize("rounds", [1, 7, 20])
def test_writer_killed_at_any_instant_leaves_whole_transactions(path: Path, rounds: int) -> None:
    reported = kill_writer(path, rounds)

    seen_by_reader = {entry.value for entry in open_sqlite(path, read_only=True).list("k/")}
    seen_by_writer = {entry.value for entry in open_sqlite(path).list("k/")}

    assert seen_by_reader == seen_by_writer
    assert len(seen_by_writer) == 1
    assert int(seen_by_writer.pop()) >= reported


def interrupted(path: Path) -> Path:
    """Leave the file as a kill in the middle of a commit does: pages half written, the journal beside it."""
    filled(path, 300)
    script = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "d.execute('PRAGMA cache_size=1'); d.execute('PRAGMA cache_spill=1'); d.execute('BEGIN IMMEDIATE');"
        "d.execute(\"UPDATE entry SET value = 'torn'\"); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.with_name("state.db-journal").exists()
    return path


def test_dry_run_after_a_torn_commit_sees_the_state_before_it_and_touches_nothing(path: Path) -> None:
    before = fingerprint(interrupted(path).parent)

    entries = open_sqlite(path, read_only=True).list("")

    assert {entry.value for entry in entries} == {b"x" * 200}
    assert len(entries) == 300
    assert fingerprint(path.parent) == before


def test_torn_commit_is_rolled_back_by_the_next_writer(path: Path) -> None:
    entries = open_sqlite(interrupted(path)).list("")

    assert {entry.value for entry in entries} == {b"x" * 200}
    assert len(entries) == 300


def test_session_does_not_outlive_a_reboot(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_sqlite(path)
    session = store.session(3600)
    store.put("nodes/a", b"", session)

    monkeypatch.setattr("reconciler.kv.sqlite._boot_id", lambda: "another boot")

    assert store.get("nodes/a") is None
    with pytest.raises(KvConflict):
        session.renew()


def test_journal_that_comes_while_the_file_is_looked_at_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, journal = tmp_path / "state.db", tmp_path / "state.db-journal"
    open_sqlite(path).close()

    def but_then_comes(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def looked(place: Any, *arguments: Any, **named: Any) -> os.stat_result:
            try:
                return look(place, *arguments, **named)
            except FileNotFoundError:
                if str(place) == str(journal):
                    journal.touch()
                raise

        return looked

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, but_then_comes(getattr(os, name)))

    open_sqlite(path).close()

    assert journal.exists()
    assert not list(tmp_path.glob("*set-aside*"))
    assert caplog.messages == []
