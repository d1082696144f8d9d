"""Whether somebody has a file open for writing, asked by a read lease, which the kernel grants when nobody has (fcntl(2))."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from typing import Final

_SET_SIGNAL: Final = 10
"""F_SETSIG of asm-generic/fcntl.h, which Python does not name."""


def has_writer(path: str) -> bool | None:
    """Return whether anybody has the file open for writing; None when that cannot be known.

    That is so on file systems without leases, and for a file of another user without CAP_LEASE. What is gone has no writer.

    The lease is given back at once: who opens the file for writing meanwhile waits for that, some microseconds. The signal that
    tells us of it would be SIGIO, which ends a process; SIGURG is ignored unless somebody asks for it, in children too.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    try:
        fcntl.fcntl(fd, _SET_SIGNAL, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(fd)
    return False
