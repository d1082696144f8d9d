"""One reconciler per host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.errors import ExitCode, LockHeld
from reconciler.kernel.lock import HostLock
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

HOLD = """
import sys
from reconciler.kernel.lock import HostLock
with HostLock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(machine: Machine, ns: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds the lock of a host."""
    with machine.inside(ns):
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.communicate()


def is_free(machine: Machine, ns: str) -> bool:
    try:
        with machine.inside(ns), HostLock():
            return True
    except LockHeld:
        return False


def test_lock_names_its_holder(machine: Machine, host_ns: str) -> None:
    with holder(machine, host_ns) as child, machine.inside(host_ns), pytest.raises(LockHeld) as caught:
        HostLock().__enter__()

    assert f"process {child.pid} of user {os.getuid()} (" in str(caught.value)
    assert "HostLock" in str(caught.value)
    assert caught.value.exit_code is ExitCode.LOCKED


def test_lock_is_free_after_its_holder_was_killed(machine: Machine, host_ns: str) -> None:
    with holder(machine, host_ns) as child:
        assert not is_free(machine, host_ns)

        child.send_signal(signal.SIGKILL)

        assert eventually(lambda: is_free(machine, host_ns))


def test_lock_is_free_after_use(machine: Machine, host_ns: str) -> None:
    assert is_free(machine, host_ns)
    assert is_free(machine, host_ns)


def test_hosts_have_a_lock_each(machine: Machine, host_ns: str) -> None:
    machine.add_namespace("H2")

    with holder(machine, host_ns):
        assert is_free(machine, "H2")


def test_holder_that_forgets_askers_stays_known(machine: Machine, host_ns: str) -> None:
    with machine.inside(host_ns), HostLock() as lock:
        for _ in range(3):
            assert not is_free(machine, host_ns)
        lock.forget_askers()

        with pytest.raises(LockHeld, match=f"process {os.getpid()} "):
            HostLock().__enter__()
