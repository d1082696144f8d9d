"""Calls that fail for want of something say so: they are not taken for an answer, and nothing goes on in the wrong place."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import KernelError
from reconciler.kernel.netns_mounts import place_file
from reconciler.kernel.sysctl import read_sysctl


def test_a_setting_is_absent_only_if_the_kernel_says_so() -> None:
    assert read_sysctl("net/ipv4/no_such_setting") is None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(KernelError, match="read sysctl net/ipv4/ip_forward") as raised:
            read_sysctl("net/ipv4/ip_forward")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert raised.value.errno == errno.EMFILE


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
