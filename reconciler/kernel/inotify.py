"""Being told of changes in folders and files (inotify(7)), and what statfs(2) says of them. Knows nothing of specs."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from enum import IntFlag
from struct import Struct
from typing import Final, NamedTuple

from reconciler.errors import kernel_error

_READ_SIZE: Final = 1 << 16
_EVENT: Final = Struct("=iIII")
_STATFS_SIZE: Final = 256
"""More than struct statfs of any architecture; its first member is the type."""

_libc = ctypes.CDLL(None, use_errno=True)


class Mask(IntFlag):
    """IN_* of linux/inotify.h."""

    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    UNMOUNT = 0x2000
    OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLY_DIRECTORY = 0x01000000
    MASK_ADD = 0x20000000
    IS_DIRECTORY = 0x40000000


class Event(NamedTuple):
    """watch: what `add` gave, -1 for an overflow. name: of the entry in a watched folder, "" for what is watched itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One queue of events, to be waited for by `fileno()`. Raises KernelError."""

    def __init__(self) -> None:
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            few = "too few inotify instances; raise the sysctl fs.inotify.max_user_instances"
            raise kernel_error(number, "watch files", few if number == errno.EMFILE else "")

    def fileno(self) -> int:
        return self._fd

    def add(self, path: str, mask: int) -> int:
        """Watch for more at `path`; the same inode has the same number however it is reached. Raises KernelError."""
        watch: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask | Mask.MASK_ADD))
        if watch < 0:
            number = ctypes.get_errno()
            few = "too few inotify watches; raise the sysctl fs.inotify.max_user_watches"
            raise kernel_error(number, f"watch {path}", few if number == errno.ENOSPC else "")
        return watch

    def remove(self, watch: int) -> None:
        """Watch no longer; what is gone already is fine."""
        _libc.inotify_rm_watch(self._fd, watch)

    def read(self) -> Iterator[Event]:
        """Give what is queued."""
        while True:
            try:
                buffer = os.read(self._fd, _READ_SIZE)
            except BlockingIOError:
                return
            yield from _events(buffer)

    def close(self) -> None:
        os.close(self._fd)


def filesystem_type(path: str) -> int:
    """Give the magic number (linux/magic.h) of the file system that `path` is on, 0 when there is no such path."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def _events(buffer: bytes) -> Iterator[Event]:
    offset = 0
    while offset < len(buffer):
        watch, mask, _, length = _EVENT.unpack_from(buffer, offset)
        offset += _EVENT.size
        yield Event(watch, mask, os.fsdecode(buffer[offset : offset + length].rstrip(b"\0")))
        offset += length
