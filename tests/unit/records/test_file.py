"""Whatever stands in place of a file is read without waiting, and not for ever."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import reconciler
from reconciler.cli import checkout
from reconciler.cli.invocation import invocation
from reconciler.errors import ConfigError, KernelError, ReconcilerError, SandboxMissing
from reconciler.kv.address import store_config
from reconciler.kv.config import TlsFiles
from reconciler.observe import host_facts
from reconciler.plugin.discovery import tls_context
from reconciler.plugin.messages import TlsConfig
from reconciler.records.file import beginning, content, content_or_piped, make_folder, opened
from reconciler.sandbox_exec import ExecTarget, enter_network_namespace, namespace_path
from reconciler.watch.journal_reader import EventFiles

SOURCES = Path(reconciler.__file__).parent
BY_THEMSELVES = {
    "kernel/place.py": "/proc",
    "kernel/notifier.py": "/proc",
    "kv/sqlite.py": "/proc",
    "observe/sysctls.py": "/proc",
    "dns/privileges.py": "/proc",
    "spec/rendering.py": "/proc",
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


@pytest.mark.parametrize("read", [content, content_or_piped])
def test_what_tells_no_size_is_read_in_bounds(read: Callable[..., bytes]) -> None:
    """Files of the kernel's are regular ones of no length, whatever they have."""
    maps = Path("/proc/self/smaps")
    assert (maps.stat().st_size, len(maps.read_bytes()) > 1000) == (0, True)

    with pytest.raises(OSError, match="too large"):
        read(maps, bytes_max=1000)
    assert read(Path("/proc/self/comm"), bytes_max=1000) == Path("/proc/self/comm").read_bytes()


def test_what_a_shell_makes_of_a_command_is_read_to_its_end(tmp_path: Path) -> None:
    def piped(command: str, bytes_max: int = 100_000) -> bytes:
        with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                return content_or_piped(f"/dev/fd/{process.stdout.fileno()}", bytes_max=bytes_max)
            finally:
                process.stdout.close()

    assert piped("printf a; exec printf %070000d 7") == b"a" + b"0" * 69_999 + b"7"
    assert piped(":") == b""
    with pytest.raises(OSError, match="too large"):
        piped("exec cat /dev/zero", 1000)
    (tmp_path / "file").write_text("plain")
    assert content_or_piped(tmp_path / "file", bytes_max=5) == b"plain"


def test_who_never_writes_into_a_pipe_is_not_waited_for(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither nobody, nor who keeps it open, nor who drips."""
    monkeypatch.setattr("reconciler.records.file._WRITER_S", 0.1)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TimeoutError, match="nobody writes into the pipe"):
        content_or_piped(fifo, bytes_max=10)
    writer = os.open(fifo, os.O_RDWR)
    try:
        os.write(writer, b"begun")
        with pytest.raises(ConfigError, match=r"kv\.secretfile .*: nobody writes into the pipe"):
            store_config("consul://a", {"kv.secretfile": str(fifo)}, {})
    finally:
        os.close(writer)
    for path in ("/dev/zero", "/dev/tty", "/"):
        with pytest.raises(OSError, match=r"regular file|directory|No such device"):
            content_or_piped(path, bytes_max=10)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_tls_files_that_are_none_are_named_and_not_waited_for(kind: str, fifo: Path, tmp_path: Path) -> None:
    """OpenSSL opens what it is told by itself, and would wait for whoever writes into a pipe."""
    bad = {"pipe": fifo, "folder": tmp_path}.get(kind, Path(kind))
    (regular := tmp_path / "regular").touch()

    with pytest.raises(ConfigError, match=r"kv\.cacertfile .*(regular file|Is a directory)"):
        TlsFiles(ca=bad).context()
    for certificate, key in ((bad, regular), (regular, bad)):
        with pytest.raises(ConfigError, match=r"kv\.certfile .*(regular file|Is a directory)"):
            TlsFiles(ca=None, certificate=certificate, key=key).context()
    for files in ({"CAFile": str(bad)}, {"CertFile": str(bad)}, {"KeyFile": str(bad)}):
        with pytest.raises(OSError, match=r"regular file|Is a directory"):
            tls_context(TlsConfig.model_validate(files))


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
