"""Calls that fail for want of something say so: they are not taken for an answer, and nothing goes on in the wrong place."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.errors import KernelError
from reconciler.kernel.netns_mounts import is_left_over, occupants, place_file
from reconciler.kernel.place import place
from reconciler.kernel.processes import started_at
from reconciler.kernel.sysctl import read_sysctl
from reconciler.observe.host_facts import machine_id
from tests.limits import few_descriptors


def test_a_setting_is_absent_only_if_the_kernel_says_so() -> None:
    assert read_sysctl("net/ipv4/no_such_setting") is None
    with few_descriptors(), pytest.raises(KernelError, match="read sysctl net/ipv4/ip_forward") as raised:
        read_sysctl("net/ipv4/ip_forward")
    assert raised.value.errno == errno.EMFILE


def test_a_process_is_gone_only_if_the_kernel_says_so() -> None:
    assert started_at(str(1 << 30)) is None
    with few_descriptors(), pytest.raises(KernelError, match="EMFILE"):
        started_at(str(os.getpid()))


@pytest.mark.parametrize("more", [0, 1])
def test_nobody_is_in_a_namespace_only_if_all_were_looked_at(more: int) -> None:
    with few_descriptors(more), pytest.raises(KernelError, match="EMFILE"):
        occupants()


@pytest.mark.parametrize("ask", [place, machine_id])
def test_where_one_is_stays_known(ask: Callable[[], str]) -> None:
    """Another boot ends what is on trial, and another machine is another host of a cluster."""
    before = ask()

    with few_descriptors(), pytest.raises(KernelError, match="EMFILE"):
        ask()
    assert ask() == before


def test_a_file_is_not_left_over_only_if_it_was_read(tmp_path: Path) -> None:
    place_file(tmp_path / "web", "ours")

    with few_descriptors(), pytest.raises(KernelError, match="EMFILE"):
        is_left_over(tmp_path / "web", "ours")
    assert is_left_over(tmp_path / "web", "ours")


def test_who_cannot_come_back_to_its_namespace_ends() -> None:
    """What it did next, it would do in a stranger's."""
    code = "import os; from reconciler.kernel.netns_mounts import come_back; come_back(os.open('/', os.O_RDONLY)); print('went on')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "return to the host's namespace" in done.stderr


def test_a_disk_that_takes_half_a_mark_leaves_no_file_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [3]

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.writev(descriptor, [data[: room.pop()]])

    monkeypatch.setattr(os, "pwrite", pwrite)

    with pytest.raises(KernelError, match="ENOSPC"):
        place_file(tmp_path / "web", "ours of network-reconciler")

    assert not [*tmp_path.iterdir()]
