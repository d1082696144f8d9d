"""Every way in which people and tools change files makes the descriptor readable; nothing else does."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from typing import Any, NoReturn

import pytest

from reconciler.errors import KernelError, kernel_error
from reconciler.kernel import mounts, notifier
from reconciler.watch import path_events, path_look
from reconciler.watch.path_events import PathEvents
from reconciler.watch.source import Dirty
from tests.waiting import eventually, is_readable

SPECS, HOSTS = Dirty(is_specs=True), Dirty(is_other=True)
DEADLINE_S = 10.0
STEP_MS, GROUPED_MS = 2, 10
QUIET_S = 0.05
"""More than a change takes until it is told, so that what is not told within it is not."""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are gathered for a fifth of the time, so that this is not what the tests wait for."""
    monkeypatch.setattr(notifier, "_STEP_MS", STEP_MS)
    monkeypatch.setattr(notifier, "_GROUPED_MS", GROUPED_MS)
    assert 2 * STEP_MS + GROUPED_MS < QUIET_S * 1000 / 2


def watching(specs: Path) -> PathEvents:
    return PathEvents({specs: SPECS})


def tells(events: PathEvents, deadline_s: float = DEADLINE_S) -> bool:
    """Wait until it says that something may have changed, then until it is quiet again."""
    has_told = False
    while is_readable(events, QUIET_S if has_told else deadline_s):
        has_told |= bool(events.drain())
    return has_told


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of its own that the specs are in."""
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture
def specs(place: Path) -> Path:
    made = place / "specs"
    (made / "team").mkdir(parents=True)
    (made / "a.yaml").write_text("networks: {}\n")
    (made / "team" / "b.yaml").write_text("networks: {}\n")
    return made


@pytest.fixture
def events(specs: Path) -> Iterator[PathEvents]:
    made = watching(specs)
    yield made
    made.close()


def save_in_place(specs: Path) -> None:
    (specs / "a.yaml").write_text("networks: {x: {}}\n")


def save_atomically(specs: Path) -> None:
    (specs / ".a.yaml.tmp").write_text("networks: {x: {}}\n")
    os.replace(specs / ".a.yaml.tmp", specs / "a.yaml")


def save_as_vim_does(specs: Path) -> None:
    os.rename(specs / "a.yaml", specs / "a.yaml~")
    (specs / "a.yaml").write_text("networks: {x: {}}\n")
    os.unlink(specs / "a.yaml~")


def save_without_a_name_first(specs: Path) -> None:
    fd = os.open(specs, os.O_TMPFILE | os.O_WRONLY)
    os.write(fd, b"networks: {x: {}}\n")
    os.link(f"/proc/self/fd/{fd}", specs / "c.yaml", src_dir_fd=fd)  # by linkat(2), which follows
    os.close(fd)


def move_folder_in(specs: Path) -> None:
    (specs.parent / "more").mkdir()
    (specs.parent / "more" / "c.yaml").write_text("networks: {x: {}}\n")
    os.rename(specs.parent / "more", specs / "more")


CHANGES: dict[str, Callable[[Path], object]] = {
    "saved in place": save_in_place,
    "saved by rename": save_atomically,
    "saved as vim does": save_as_vim_does,
    "linked from nameless file": save_without_a_name_first,
    "touched": lambda specs: os.utime(specs / "a.yaml"),
    "permissions": lambda specs: (specs / "a.yaml").chmod(0o600),
    "permissions of folder": lambda specs: specs.chmod(0o700),
    "deleted": lambda specs: (specs / "a.yaml").unlink(),
    "renamed": lambda specs: (specs / "a.yaml").rename(specs / "z.yaml"),
    "in folder below": lambda specs: (specs / "team" / "b.yaml").write_text("{}"),
    "folder below removed": lambda specs: shutil.rmtree(specs / "team"),
    "folder moved in": move_folder_in,
    "folder moved away": lambda specs: specs.rename(specs.parent / "old"),
    "folder removed": shutil.rmtree,
    "folder above removed": lambda specs: shutil.rmtree(specs.parent),
    "symbolic link added": lambda specs: (specs / "c.yaml").symlink_to("a.yaml"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_is_told_and_changes_after_it_too(
    specs: Path, events: PathEvents, change: Callable[[Path], object]
) -> None:
    assert not is_readable(events, 0)
    change(specs)
    assert tells(events)
    shutil.rmtree(specs, ignore_errors=True)
    tells(events, QUIET_S)

    specs.mkdir(parents=True)
    assert tells(events)
    (specs / "a.yaml").write_text("networks: {}\n")
    assert tells(events)
    save_atomically(specs)
    assert tells(events)


def test_folder_that_comes_later_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    specs = tmp_path / "a" / "b" / "specs"
    events = watching(specs)

    for step in (tmp_path / "a", tmp_path / "a" / "b", specs):
        step.mkdir()
        assert tells(events), step
    (specs / "a.yaml").write_text("{}")

    assert tells(events)
    events.close()


def test_folder_made_at_once_with_its_content_is_watched_to_the_bottom(specs: Path, events: PathEvents) -> None:
    (specs / "x" / "y" / "z").mkdir(parents=True)
    assert tells(events)

    (specs / "x" / "y" / "z" / "c.yaml").write_text("{}")

    assert tells(events)


def test_folder_removed_while_somebody_sits_in_it_and_made_again(specs: Path, events: PathEvents) -> None:
    with subprocess.Popen(["cat"], cwd=specs, stdin=subprocess.PIPE):
        shutil.rmtree(specs)
        assert tells(events)

        specs.mkdir()
        assert tells(events)
        (specs / "a.yaml").write_text("{}")
        assert tells(events)


def swap(link: Path, target: str) -> None:
    """Lead a symbolic link elsewhere as git-sync and the kubelet do: by rename."""
    new = link.parent / ".new"
    new.symlink_to(target)
    os.replace(new, link)


def revisions(place: Path) -> None:
    for name in ("r1", "r2"):
        (place / name / "specs").mkdir(parents=True)
        (place / name / "specs" / "a.yaml").write_text(name)


@pytest.mark.parametrize("way", ["current", "current/specs", "over/../current/specs", "absolute/specs", "twice/specs"])
def test_swapped_link_on_the_way_is_told(tmp_path: Path, way: str) -> None:
    revisions(tmp_path)
    (tmp_path / "current").symlink_to("r1")
    (tmp_path / "absolute").symlink_to(tmp_path / "current")
    (tmp_path / "twice").symlink_to("absolute")
    (tmp_path / "over").mkdir()
    events = watching(tmp_path / way)

    swap(tmp_path / "current", "r2")

    assert tells(events)
    (tmp_path / "r2" / "specs" / "a.yaml").write_text("edited")
    assert tells(events)
    (tmp_path / "r1" / "specs" / "a.yaml").write_text("no longer ours")
    assert not tells(events, QUIET_S)
    events.close()


def test_volume_of_the_kubelet_is_told_of_a_swap(tmp_path: Path) -> None:
    for name in ("..2026_01", "..2026_02"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    events = watching(tmp_path)

    swap(tmp_path / "..data", "..2026_02")

    assert tells(events)
    (tmp_path / "..2026_02" / "a.yaml").write_text("edited")
    assert tells(events)
    events.close()


@pytest.mark.parametrize("save", [save_in_place, save_atomically], ids=["in place", "by rename"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_link_among_the_specs_leads_to_is_watched(
    specs: Path, tmp_path: Path, kind: str, save: Callable[[Path], None]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.yaml").write_text("{}")
    (specs / "linked.yaml").symlink_to(elsewhere / "a.yaml" if kind == "file" else elsewhere)
    events = watching(specs)

    for _ in range(2):
        save(elsewhere)
        assert tells(events)
    events.close()


def test_link_into_nothing_is_told_when_something_comes(specs: Path, tmp_path: Path) -> None:
    (specs / "linked.yaml").symlink_to(tmp_path / "later" / "a.yaml")
    events = watching(specs)

    (tmp_path / "later").mkdir()
    assert tells(events)
    (tmp_path / "later" / "a.yaml").write_text("{}")
    assert tells(events)
    events.close()


def test_links_in_circles_end(specs: Path) -> None:
    (specs / "self.yaml").symlink_to("self.yaml")
    (specs / "up").symlink_to("..")
    (specs / "here").symlink_to(".")
    events = watching(specs)

    save_in_place(specs)

    assert tells(events)
    events.close()


def test_git_checkout_is_told(specs: Path, events: PathEvents) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *words], cwd=specs, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "other")
    (specs / "a.yaml").write_text("other")
    git("commit", "-qam", "two")
    tells(events)

    git("checkout", "-q", "-")

    assert tells(events)


def write_hidden(specs: Path) -> None:
    (specs / ".a.yaml.swp").write_text("typing")


def write_beside(specs: Path) -> None:
    (specs.parent / "notes").write_text("typing")


def write_half(specs: Path) -> None:
    fd = os.open(specs / "a.yaml", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"netwo")  # closed with the process only


def read_all(specs: Path) -> None:
    for path in specs.rglob("*.yaml"):
        path.read_text()


@pytest.mark.parametrize("work", [write_hidden, write_beside, write_half, read_all])
def test_what_changes_no_spec_is_not_told(specs: Path, events: PathEvents, work: Callable[[Path], None]) -> None:
    work(specs)

    assert not tells(events, QUIET_S)


def test_each_path_is_told_for_itself(specs: Path, place: Path) -> None:
    hosts = place / "hosts"
    events = PathEvents({specs: SPECS, hosts: HOSTS})
    told = list[Dirty]()

    def are_told() -> bool:
        told.append(events.drain())
        return reduce(or_, told) == SPECS | HOSTS

    (place / "new").write_text("127.0.0.1 localhost")
    os.replace(place / "new", hosts)  # one change each: what is made and then written may be told twice
    assert is_readable(events, DEADLINE_S)
    assert events.drain() == HOSTS
    save_atomically(specs)
    assert is_readable(events, DEADLINE_S)
    assert events.drain() == SPECS
    save_in_place(specs)
    hosts.write_text("::1 localhost")
    assert eventually(are_told)
    events.close()


def make_file_of_strange_name(specs: Path) -> Path:
    path = specs / os.fsdecode(b"\xff.yaml")
    path.write_text("{}")
    return path


def test_name_that_is_no_text_is_told_and_ends_nothing(specs: Path, events: PathEvents) -> None:
    make_file_of_strange_name(specs)
    assert tells(events)

    save_in_place(specs)

    assert tells(events)
    assert not events.needs_polling


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks often without being told of anything."""
    monkeypatch.setattr(path_events, "LOOK_S", 0.05)
    monkeypatch.setattr(notifier, "_READ_S", 0.0)  # something may always have been lost


@pytest.mark.usefixtures("soon")
def test_what_nobody_told_of_is_seen(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the kernel's queue ran over."""
    own = notifier.PathNotifier.wait

    def lose(self: notifier.PathNotifier, timeout_s: float, wake: notifier.Wake) -> set[notifier.Hint]:
        own(self, timeout_s, wake)
        return set()

    monkeypatch.setattr(notifier.PathNotifier, "wait", lose)
    events = watching(specs)

    for _ in range(2):
        save_atomically(specs)  # one change: what is written in place may be seen twice
        assert tells(events)
    write_hidden(specs)
    assert not tells(events, 4 * path_events.LOOK_S)
    events.close()


@pytest.mark.usefixtures("soon")
def test_a_look_that_fails_is_not_the_last_one(
    events: PathEvents, specs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for want of a file descriptor."""
    own, failed = path_events.look, threading.Event()

    def fail(_: str) -> path_look.PathLook:
        failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(path_events, "look", fail)
    save_atomically(specs)
    assert failed.wait(DEADLINE_S)
    monkeypatch.setattr(path_events, "look", own)

    assert tells(events)


def test_who_finds_no_notifier_asks_for_one_now_and_then(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all the time."""
    monkeypatch.setattr(path_events, "LOOK_S", 0.05)
    asked = list[float]()

    def refuse(_: Iterable[str]) -> NoReturn:
        asked.append(time.monotonic())
        raise kernel_error(errno.EMFILE, "watch files")

    def end(*_: object) -> NoReturn:
        raise kernel_error(errno.EIO, "watch files")

    with closing(watching(specs)) as events:
        monkeypatch.setattr(path_events, "PathNotifier", refuse)
        monkeypatch.setattr(notifier.PathNotifier, "wait", end)
        save_atomically(specs)
        assert eventually(lambda: len(asked) > 5)
        save_atomically(specs)
        assert tells(events)

    assert all(after - before >= path_events.LOOK_S / 2 for before, after in pairwise(asked[1:]))


def test_quiet_files_are_not_looked_at(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_events, "LOOK_S", 0.01)
    did = list[str]()
    own_look, own_ask = path_events.look, notifier.PathNotifier.may_have_lost

    def ask(self: notifier.PathNotifier) -> bool:
        did.append("ask")
        return own_ask(self)

    def count(root: str) -> path_look.PathLook:
        did.append("look")
        return own_look(root)

    monkeypatch.setattr(notifier.PathNotifier, "may_have_lost", ask)
    monkeypatch.setattr(path_events, "look", count)
    events = watching(specs)

    assert eventually(lambda: did[-5:] == ["ask"] * 5)
    monkeypatch.setattr(path_events, "UNASKED_LOOK_S", 0.0)
    assert eventually(lambda: did[-4:].count("look") == 2)
    events.close()


def test_file_is_told_when_nobody_writes_it_any_more(
    specs: Path, events: PathEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_events, "_HELD_BACK_MAX_S", 100.0)
    with (specs / "new.yaml").open("w") as file:
        file.write("netwo")
        file.flush()
        (specs / "a.yaml").unlink()
        assert not tells(events, QUIET_S), "half a file would be read with what is told"
        file.write("rks: {}")

    assert tells(events)


def test_writer_that_never_ends_holds_nothing_else_up(
    specs: Path, events: PathEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_events, "_HELD_BACK_MAX_S", 0.1)
    with (specs / "new.yaml").open("w") as file:
        file.write("netwo")
        file.flush()
        save_atomically(specs)

        assert tells(events)


def test_file_of_which_nobody_knows_its_writers_is_told_when_it_is_quiet(
    specs: Path, events: PathEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_events, "has_writer", lambda _: None)
    path, file = specs / "a.yaml", path_events.Unfinished(since=0, changed=0, due=0)

    def is_whole(now: float) -> bool:
        return path_events.is_whole(str(path), file, now)

    assert not is_whole(0)
    assert not is_whole(path_events.QUIET_S - 0.01)
    path.write_text("networks: {x: {")
    assert not is_whole(path_events.QUIET_S + 0.01), "it has grown"
    assert not is_whole(2 * path_events.QUIET_S)
    assert is_whole(2 * path_events.QUIET_S + 0.02)
    assert tells(events)


def test_file_system_without_events_asks_for_polling(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = mounts.filesystem_type(str(specs))
    assert own

    with_events = watching(specs)
    monkeypatch.setattr(path_look, "_WITHOUT_EVENTS", frozenset({own}))
    without_events = watching(specs)

    assert not with_events.needs_polling
    assert without_events.needs_polling
    with_events.close()
    without_events.close()


class FewWatches:
    """What the kernel does when all watches are taken."""

    def __init__(self, paths: list[str], *, ignore_permission_denied: bool, **options: Any) -> None:
        if not ignore_permission_denied:
            raise OSError("OS file watch limit reached. (MaxFilesWatch)")

    def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, wake: notifier.Wake) -> str:
        eventually(wake.is_set, timeout_ms / 1000)
        return "timeout"

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("soon")
def test_refused_watch_asks_for_polling_and_looks(
    specs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(notifier, "RustNotify", FewWatches)
        events = watching(specs)
        assert events.needs_polling
        for _ in range(2):
            save_in_place(specs)
            assert tells(events)

    assert [record.getMessage().count("fs.inotify.max_user_watches") for record in caplog.records] == [1]
    assert eventually(lambda: not events.needs_polling), "there are watches again"
    events.close()


def refuse_all(*_: object, **__: object) -> None:
    raise notifier.WatchfilesRustInternalError("Too many open files (os error 24)")


@pytest.mark.usefixtures("soon")
def test_without_inotify_instances_it_does_not_begin_but_goes_on(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = watching(specs)
    with monkeypatch.context() as patch:
        patch.setattr(notifier, "RustNotify", refuse_all)
        with pytest.raises(KernelError, match=r"fs\.inotify\.max_user_instances"):
            watching(specs)
        for _ in range(2):
            shutil.rmtree(specs / "team", ignore_errors=True)
            assert tells(events)
            assert events.needs_polling
            make_file_of_strange_name(specs)
            assert tells(events)
            (specs / "team").mkdir()
            assert tells(events)

    assert eventually(lambda: not events.needs_polling)
    save_in_place(specs)
    assert tells(events)
    events.close()


@pytest.mark.usefixtures("soon")
def test_folder_whose_name_is_no_text_is_looked_at(tmp_path: Path) -> None:
    specs = tmp_path / os.fsdecode(b"\xff")
    specs.mkdir()
    events = watching(specs)

    assert events.needs_polling
    save_in_place(specs)
    assert tells(events)
    events.close()


@pytest.mark.kernel
def test_mount_over_the_folder_is_told_with_what_is_in_it(specs: Path, events: PathEvents) -> None:
    for command in (["mount", "-t", "tmpfs", "none", specs], ["umount", specs]):
        subprocess.run(command, check=True)
        assert tells(events)
        save_in_place(specs)
        assert tells(events)


def test_nothing_stays_open(specs: Path) -> None:
    def is_there() -> set[str]:
        return {f"{kind}/{name}" for kind in ("fd", "task") for name in os.listdir(f"/proc/self/{kind}")}

    before = is_there()

    watching(specs).close()

    assert eventually(lambda: is_there() <= before)
