"""Whatever stands in place of a file is read without waiting, and not for ever."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import reconciler
from reconciler.cli import checkout
from reconciler.cli.invocation import invocation
from reconciler.errors import ConfigError, KernelError, ReconcilerError, SandboxMissing
from reconciler.observe import host_facts
from reconciler.records.file import beginning, content, make_folder, opened
from reconciler.sandbox_exec import ExecTarget, enter_network_namespace, namespace_path
from reconciler.watch.journal_reader import EventFiles

SOURCES = Path(reconciler.__file__).parent
BY_THEMSELVES = {
    "comparison.py": "hosts-file may be what a shell made of <(...)",
    "guard/last_good.py": "/proc",
    "kernel/notifier.py": "/proc",
    "kernel/processes.py": "/proc",
    "kv/sqlite.py": "/proc",
    "observe/sysctls.py": "/proc",
    "dns/privileges.py": "/proc",
    "spec/rendering.py": "/proc",
    "kv/address.py": "a secret may come by a pipe",
    "graph/html.py": "files of this package",
}


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", [content, opened, lambda path: beginning(path, 1)], ids=["all", "opened", "beginning"])
def test_anything_but_a_regular_file_is_refused(read: Callable[[Path], object], fifo: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    for path, code in ((fifo, errno.EINVAL), (tmp_path, errno.EISDIR), (Path("/dev/zero"), errno.EINVAL)):
        with pytest.raises(OSError, match=str(path)) as caught:
            read(path)
        assert caught.value.errno == code
    assert len(os.listdir("/proc/self/fd")) == before


def test_of_a_large_file_all_or_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"ab\xff" + bytes(1000))

    assert beginning(path, 3) == "ab\N{REPLACEMENT CHARACTER}"
    with pytest.raises(OSError, match="too large"):
        content(path, bytes_max=1000)


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(fifo: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.ndjson")
    target = ExecTarget(attachment="web", key=f"pidfile:{fifo}", files_dir=tmp_path)

    assert host_facts._text(fifo) == ""
    assert checkout._line_count(str(fifo), unknown=7) == 7
    with pytest.raises(ConfigError, match="expected a regular file"):
        invocation({"config": str(fifo)})
    with pytest.raises(SandboxMissing, match="expected a regular file"):
        namespace_path(target)
    with pytest.raises(KernelError, match="not a network namespace"):
        enter_network_namespace(fifo)
    with pytest.raises(ReconcilerError, match="expected a regular file"):
        list(EventFiles(tmp_path).earlier())


def test_files_that_people_can_replace_are_read_by_one_reader() -> None:
    """Path.read_text and open() wait for the writer of a pipe."""
    waiting = re.compile(r"\.read_(?:text|bytes)\(|\.open\(\"rb\"\)")
    found = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if waiting.search(path.read_text())}

    assert found <= BY_THEMSELVES.keys()


def test_folders_are_for_their_owner_to_write_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_folder(tmp_path / "state" / "git" / "commits", 0o700)
        make_folder(tmp_path / "state" / "git", 0o755)
    finally:
        os.umask(before)

    made = [tmp_path / name for name in ("state", "state/git", "state/git/commits")]
    assert [oct(folder.stat().st_mode & 0o777) for folder in made] == ["0o755", "0o755", "0o700"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_folders_above_are_made_by_nothing_else() -> None:
    """An import writes where a person says, as that person's umask has it."""
    making = re.compile(r"mkdir\([^)\n]*parents=True, |makedirs\(")
    found = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if making.search(path.read_text())}

    assert found == {"importing/write.py"}
