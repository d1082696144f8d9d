"""Being told that something was mounted or unmounted: /proc/PID/mountinfo polls as exceptional then (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import select
from typing import Final

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
        """Give what to wait for with EPOLLPRI."""
        return self._waiting

    def has_changed(self) -> bool:
        """Say whether anything was mounted or unmounted since this was asked last."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        os.close(self._waiting)
        os.close(self._asking)
