"""The watcher and the name service: brought back at once when it dies, untouched when the watcher does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.dns import launch
from tests.command_line import Reconcile
from tests.fakes.zones import parse_zones
from tests.kernel.test_names import SCENARIO, dig, kill, server
from tests.machine import Machine
from tests.waiting import eventually

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


def test_host_files_that_are_replaced_are_noticed_at_once(
    watcher: subprocess.Popen[bytes], machine: Machine, tmp_path: Path
) -> None:
    """As DHCP clients, resolved and NetworkManager do it: written in place, renamed over, behind links that are swapped."""
    file = Path("/etc/resolv.conf")
    before = file.read_text()
    behind = tmp_path / "resolve" / "resolv.conf"

    def renamed_over(path: Path, text: str) -> None:
        path.parent.mkdir(exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)

    def replaced_by_link() -> None:
        link = tmp_path / "link"
        link.symlink_to(behind)
        shutil.copy(link, file.with_suffix(".copy"), follow_symlinks=False)
        file.with_suffix(".copy").rename(file)

    try:
        for number, replace in enumerate(
            (
                lambda: file.write_text("nameserver 192.0.2.60\n"),
                lambda: renamed_over(file, "nameserver 192.0.2.61\n"),
                replaced_by_link,  # to nothing yet
                lambda: renamed_over(behind, "nameserver 192.0.2.63\n"),
                lambda: behind.write_text("nameserver 192.0.2.64\n"),
                lambda: renamed_over(behind, "nameserver 192.0.2.65\n"),
            )
        ):
            replace()
            if replace is not replaced_by_link:
                assert eventually(lambda asked=f"192.0.2.6{number}": asked in host_servers(machine), 20)
        assert eventually(lambda: "192.0.2.65" in machine.run("container1", "cat", "/etc/resolv.conf").stdout, 20)
        for number in range(70, 78):  # that is nobody who fights with us, however often it happens
            behind.write_text(f"nameserver 192.0.2.{number}\n")
            assert eventually(lambda asked=f"192.0.2.{number}": asked in host_servers(machine), 20)
    finally:
        file.unlink(missing_ok=True)
        file.write_text(before)


def host_servers(machine: Machine) -> list[str]:
    return [str(server) for server in parse_zones(launch.published_zones(machine.run_dir)).host_servers]


def test_names_outlive_a_watcher_that_is_killed(watcher: subprocess.Popen[bytes], machine: Machine) -> None:
    pid = server(machine).pid

    watcher.kill()
    watcher.wait()

    assert is_known(machine)
    assert server(machine).pid == pid
