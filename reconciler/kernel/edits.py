"""Which files somebody wrote to where they are, asked when convenient (inotify(7)): nobody waits, and no thread is there for it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import weakref
from collections.abc import Iterator
from typing import Final

from reconciler.errors import kernel_error

_IN_MODIFY: Final = 0x2
_IN_CLOSE_WRITE: Final = 0x8
_IN_Q_OVERFLOW: Final = 0x4000
_IN_ONLYDIR: Final = 0x1000000
_EVENT: Final = struct.Struct("=iIII")
_READ_MAX: Final = 1 << 16

Edit = tuple[int, bytes]
"""The watch that tells of it, and the file's name."""


class Edits:
    """Writes to files in folders. Files that come, go or are replaced are not told of: their folder's time of change shows that.

    Closed when nobody has it any more. Raises KernelError where no instance of inotify is left.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise kernel_error(ctypes.get_errno(), "be told of writes to files")
        weakref.finalize(self, os.close, self._fd)

    def watch(self, folder: int) -> int:
        """Watch a folder by its descriptor; return the watch, of one that is watched the same as before. Raises KernelError."""
        mask = _IN_MODIFY | _IN_CLOSE_WRITE | _IN_ONLYDIR
        watch: int = self._libc.inotify_add_watch(self._fd, f"/proc/self/fd/{folder}".encode(), mask)
        if watch < 0:
            raise kernel_error(ctypes.get_errno() or errno.EIO, "be told of writes to files in a folder")
        return watch

    def take(self) -> list[Edit] | None:
        """Return what came since it was asked for last; None when some of it was lost."""
        found: list[Edit] | None = []
        while data := self._read():
            edits = list(_edits(data))
            found = None if found is None or None in edits else [*found, *filter(None, edits)]
        return found

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _READ_MAX)
        except BlockingIOError:
            return b""


def _edits(data: bytes) -> Iterator[Edit | None]:
    """Yield None for what was lost."""
    at = 0
    while at < len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size + length
        if mask & _IN_Q_OVERFLOW:
            yield None
        elif length:
            yield watch, data[at - length : at].rstrip(b"\0")
