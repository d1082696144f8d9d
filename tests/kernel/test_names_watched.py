"""The watcher and the name service: brought back at once when it dies, untouched when the watcher does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from reconciler.dns import launch
from tests.command_line import Reconcile
from tests.kernel.test_names import SCENARIO, dig, kill, server
from tests.machine import Machine, eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def watcher(reconcile: Reconcile, machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    reconcile.write(scenario=SCENARIO)
    process = reconcile.start("watch")
    try:
        assert eventually(lambda: launch.running_server(machine.run_dir) is not None, 10)
        assert eventually(lambda: is_known(machine), 10)
        yield process
    finally:
        process.kill()
        process.wait()
        launch.stop_server(machine.run_dir)


def is_known(machine: Machine) -> bool:
    return dig(machine, "container4", "web") == ["172.19.0.2"]


def test_server_that_was_killed_is_back_soon_each_time(watcher: subprocess.Popen[bytes], machine: Machine) -> None:
    for _ in range(3):
        kill(server(machine).pid)
        assert eventually(lambda: is_known(machine), 5)


def test_names_outlive_a_watcher_that_is_killed(watcher: subprocess.Popen[bytes], machine: Machine) -> None:
    pid = server(machine).pid

    watcher.kill()
    watcher.wait()

    assert is_known(machine)
    assert server(machine).pid == pid
