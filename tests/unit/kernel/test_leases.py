"""Whether somebody writes a file, by a lease that harms neither us nor who comes to write it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from reconciler.kernel.leases import has_writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text("x")
    return made


def test_file_has_a_writer_until_it_is_closed(path: Path) -> None:
    with path.open(), path.open("a"):
        assert has_writer(str(path)) is True

    with path.open():
        assert has_writer(str(path)) is False


def test_what_is_gone_has_none_and_of_some_nobody_knows(path: Path) -> None:
    assert has_writer(str(path.parent)) is None, "leases are of files"
    path.unlink()
    assert has_writer(str(path)) is False


def test_other_users_file_is_not_known_of_without_the_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, command: int, argument: int) -> int:
        if command == fcntl.F_SETLEASE:
            raise PermissionError(13, "Permission denied")
        return 0

    monkeypatch.setattr(fcntl, "fcntl", refuse)

    assert has_writer(str(path)) is None


def test_writer_that_comes_meanwhile_ends_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, signalled = fcntl.fcntl, []

    def come_between(fd: int, command: int, argument: Any) -> int:
        result = own(fd, command, argument)
        if argument == fcntl.F_RDLCK:
            with pytest.raises(BlockingIOError):
                os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            signalled.append(fd)
        return result

    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(fcntl, "fcntl", come_between)
        os._exit(0 if has_writer(str(path)) is False and signalled else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
