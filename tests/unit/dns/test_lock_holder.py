"""Who is ended in the place of a name server that does not answer: whoever has its lock, and nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler.dns import control
from reconciler.dns.lock_holder import lock_holders
from tests.waiting import has_ended

HOLD = """
import fcntl, os, sys
path, how = sys.argv[1:]
if how != "of others":
    file = os.open(path, os.O_RDWR)
    if how != "open only":
        fcntl.flock(file, {"whole": fcntl.LOCK_EX, "shared": fcntl.LOCK_SH}[how])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, ExitStack]]:
    folder = control.folder(tmp_path)
    folder.mkdir()
    (folder / control.LOCK_FILE).touch()
    with ExitStack() as processes:
        yield tmp_path, processes


def begin(processes: ExitStack, path: Path, how: str) -> subprocess.Popen[str]:
    """Start a process that has the file open in this way until its input ends."""
    program = [sys.executable, "-I", "-S", "-c", HOLD, str(path), how]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes.enter_context(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_only_who_has_the_whole_lock_is_found_and_ended(held: tuple[Path, ExitStack]) -> None:
    run_dir, processes = held
    lock = control.folder(run_dir) / control.LOCK_FILE
    (run_dir / control.LOCK_FILE).touch()
    others = [
        begin(processes, lock, "open only"),
        begin(processes, run_dir / control.LOCK_FILE, "whole"),
        begin(processes, lock, "of others"),
    ]
    holder = begin(processes, lock, "whole")

    for found in lock_holders(run_dir):
        assert found.pid == holder.pid
        found.end()

    assert has_ended(holder.pid)
    assert not any(has_ended(each.pid) for each in others)
    assert list(lock_holders(run_dir)) == []


def test_who_shares_the_lock_is_no_server(held: tuple[Path, ExitStack]) -> None:
    run_dir, processes = held
    begin(processes, control.folder(run_dir) / control.LOCK_FILE, "shared")

    assert list(lock_holders(run_dir)) == []


def test_where_no_server_was_nobody_is_found(tmp_path: Path) -> None:
    assert list(lock_holders(tmp_path)) == []
