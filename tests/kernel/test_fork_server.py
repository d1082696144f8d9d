"""A command line that is a fork is a process as any other: what tests rely on is the same as of a true start."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.dns import launch
from tests import fork_server
from tests.command_line import Reconcile, command_environment, run_command, start_command
from tests.machine import Machine
from tests.waiting import eventually, exit_code_of

pytestmark = pytest.mark.kernel


def test_fork_prints_and_ends_as_a_true_start(reconcile: Reconcile) -> None:
    assert fork_server.is_running()
    for arguments in (["version"], ["--nope"], ["network", "inspect", "nothing"], ["--dry-run"], ["status"]):
        real = subprocess.run(
            [*reconcile.command(), *arguments], env=command_environment(), capture_output=True, text=True, check=False
        )
        assert (
            reconcile(*arguments).text
            == f"exit {real.returncode}\n--- stdout\n{real.stdout}\n--- stderr\n{real.stderr}"
        )


@pytest.fixture
def following(tmp_path: Path) -> Callable[..., subprocess.Popen[Any]]:
    """Start something that stays."""
    return lambda **options: start_command(["--state-dir", str(tmp_path), "events", "--follow"], **options)


@pytest.mark.quick
def test_fork_is_our_child_and_signals_end_it(following: Callable[..., subprocess.Popen[Any]]) -> None:
    for number, code in ((signal.SIGTERM, -15), (signal.SIGKILL, -9), (signal.SIGHUP, -1)):
        with following(stderr=subprocess.PIPE) as process:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            assert int(stat[1]) == os.getpid()
            assert process.poll() is None
            process.send_signal(number)
            assert exit_code_of(process) == code


def test_fork_has_environment_folder_and_files_of_its_own(
    following: Callable[..., subprocess.Popen[Any]], tmp_path: Path
) -> None:
    own, others = os.pipe()
    with following(stderr=subprocess.PIPE, cwd=tmp_path) as process:
        try:
            assert eventually(lambda: os.readlink(f"/proc/{process.pid}/cwd") == str(tmp_path))
            files = {os.readlink(each) for each in Path(f"/proc/{process.pid}/fd").iterdir()}
            assert files.isdisjoint({os.readlink(f"/proc/self/fd/{fd}") for fd in (own, others)})
        finally:
            process.kill()
    os.close(own)
    os.close(others)
    bad = run_command(["network", "ls"], env={"RECONCILE_CONFIG": str(tmp_path / "nowhere.yaml")})
    assert "nowhere.yaml" in bad.stderr


def test_fork_is_in_the_network_namespace_of_the_thread_that_starts_it(
    following: Callable[..., subprocess.Popen[Any]], machine: Machine
) -> None:
    machine.add_namespace("other")
    found = []

    def start() -> None:
        with machine.inside("other"), following(stderr=subprocess.PIPE) as process:
            inode = os.stat("/proc/thread-self/ns/net").st_ino
            found.append(eventually(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == inode))
            process.kill()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert found == [True]


def test_forks_started_by_many_threads_get_their_own_answers() -> None:
    found: list[tuple[int, str]] = []

    def run(number: int) -> None:
        found.append((number, run_command([f"--nope{number}"]).stderr))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, text in found if f"--nope{number}" in text) == list(range(8))


def test_name_server_is_a_fork_that_nobody_waits_for(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(specs="networks: {front: {}}\nattachments: {web: {networks: {front: {}}}}")
    reconcile.ok()

    running = launch.running_server(machine.run_dir)
    assert running is not None
    stat = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(stat[1]) != os.getpid()
    assert stat[3] not in (str(os.getsid(0)), "0"), "a session of its own"
    reconcile.ok("down")
