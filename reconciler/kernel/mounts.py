"""Being told that something was mounted or unmounted: /proc/PID/mountinfo polls as exceptional then (proc_pid_mountinfo(5)).

And what statfs(2) says of a file system, of which Python's `os.statvfs` leaves out the type.
"""

from __future__ import annotations

import ctypes
import os
import select
from typing import Final

_STATFS_SIZE: Final = 256
"""More than struct statfs of any architecture; its first member is the type."""

_libc = ctypes.CDLL(None)

_PATH: Final = "/proc/thread-self/mountinfo"


class MountEvents:
    """Tells of changes in this process' mount namespace.

    Whoever polls an open mountinfo takes the news, an outer epoll too that only looks whether an inner one is ready. So one
    open file is for waiting, the other one for asking, each with its own memory of what it has told.
    """

    def __init__(self) -> None:
        self._waiting = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
        self._asking = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._asking, select.POLLPRI)

    def fileno(self) -> int:
        """Return what to wait for with EPOLLPRI."""
        return self._waiting

    def has_changed(self) -> bool:
        """Return whether anything was mounted or unmounted since this was asked last."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        os.close(self._waiting)
        os.close(self._asking)


def filesystem_type(path: str) -> int:
    """Return the magic number (linux/magic.h) of the file system that `path` is on, 0 when there is no such path."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
