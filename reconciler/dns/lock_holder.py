"""The process behind a run folder's name server: it holds the lock there. Found and ended when it does not answer."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.dns import control
from reconciler.errors import ResolverError
from reconciler.kernel.processes import pids
from reconciler.records.file import beginning

_END_TIMEOUT_S: Final = 5.0
_FDINFO_MAX: Final = 4096


class LockHolder:
    """One process that holds the lock, by a descriptor of its life: who has the same id later is not meant."""

    def __init__(self, pid: int, life: int) -> None:
        self.pid, self._life = pid, life

    def end(self) -> None:
        """Kill it, and return when it is gone. Raises ResolverError."""
        try:
            signal.pidfd_send_signal(self._life, signal.SIGKILL)
        except ProcessLookupError:
            return
        except OSError as cause:
            raise ResolverError(f"end the embedded DNS server, process {self.pid}: {cause.strerror}") from cause
        if not has_ended_within(self._life, _END_TIMEOUT_S):
            raise ResolverError(f"end the embedded DNS server: process {self.pid} was killed and is still there")

    def close(self) -> None:
        os.close(self._life)


def lock_holders(run_dir: Path) -> Iterator[LockHolder]:
    """Yield who holds the lock of the server's folder (flock(2)), each until the next: a server alone takes it, and its folder is
    for its owner to enter. After a succession /proc/locks and SO_PEERCRED name the server before; the descriptors do not.

    Raises ResolverError.
    """
    try:
        lock = os.stat(control.folder(run_dir) / control.LOCK_FILE)
    except OSError:
        return
    for pid in pids():
        if not _holds(pid, lock):
            continue
        life = server_life(pid)
        if life is None:
            continue
        holder = LockHolder(pid, life)
        try:
            if _holds(pid, lock):  # else another process has that id by now
                yield holder
        finally:
            holder.close()


def await_lost_servers(run_dir: Path) -> None:
    """Wait for servers whose folder was taken away: they end by themselves, and have the sockets of all sandboxes until then.

    Not for ever, and nobody is ended: what is known of their locks is a path, which may be another's elsewhere.
    """
    lost = f"{os.path.realpath(control.folder(run_dir))}/{control.LOCK_FILE} (deleted)"
    until = time.monotonic() + _END_TIMEOUT_S
    for pid in pids():
        if not any(_name(pid, fd) == lost and _is_locked(pid, fd) for fd in _descriptors(pid)):
            continue
        life = server_life(pid)
        if life is not None:
            has_ended_within(life, max(0.0, until - time.monotonic()))
            os.close(life)


def _descriptors(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


def _name(pid: int, fd: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""


def _holds(pid: int, lock: os.stat_result) -> bool:
    return any(_is_lock(pid, fd, lock) for fd in _descriptors(pid))


def _is_lock(pid: int, fd: str, lock: os.stat_result) -> bool:
    """Only what has the lock's name is looked at: a file of others may lie on a file system that does not answer."""
    path = f"/proc/{pid}/fd/{fd}"
    try:
        is_it = os.path.basename(_name(pid, fd)) == control.LOCK_FILE and os.path.samestat(os.stat(path), lock)
    except OSError:
        return False
    return is_it and _is_locked(pid, fd)


def _is_locked(pid: int, fd: str) -> bool:
    """Return whether what a process has open is locked by that very descriptor, for nobody else to lock."""
    try:
        told = beginning(f"/proc/{pid}/fdinfo/{fd}", _FDINFO_MAX)
    except OSError:
        return False
    return any(line.startswith("lock:") and " FLOCK " in line and " WRITE " in line for line in told.splitlines())


def server_life(pid: int) -> int | None:
    """Return a descriptor of a server's process that can be read from once it has ended (pidfd_open(2)), for the caller to close;
    None when it has ended. Raises ResolverError.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as cause:
        raise ResolverError(f"watch the embedded DNS server, process {pid}: {cause.strerror}") from cause


def has_ended_within(life: int, timeout_s: float) -> bool:
    end = select.poll()
    end.register(life, select.POLLIN)
    return bool(end.poll(timeout_s * 1000))
