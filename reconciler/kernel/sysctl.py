"""Settings below /proc/sys/net of the namespace that the calling thread is in (sysctl(8), proc(5))."""

from __future__ import annotations

import errno
import os
import threading
from typing import Final

from reconciler.errors import ConfigError, kernel_error

_ROOT: Final = "/proc/sys"
_VALUE_MAX: Final = 4096


class _Tree:
    """Opens settings in a mount of proc(5) of our own, made anew now and then; in /proc where we may not have one.

    The kernel keeps each name for every namespace that it was looked up in, all in one chain: among thousands of namespaces a
    lookup goes through all of them. A mount knows only those that were looked up in it. Who opens few needs none.
    """

    _FEW: Final = 16
    _OPENS_MAX: Final = 64

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mount: int | None = None
        self._left = self._FEW

    def open(self, name: str, flags: int) -> int:
        """Open a setting of the namespace that the calling thread is in. Raises OSError, ConfigError."""
        path = _checked_path(name)
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        with self._lock:
            if self._left == 0:
                self._renew()
            self._left -= 1
            if self._mount is None:
                return os.open(f"{_ROOT}/{path}", flags)
            return os.open(f"sys/{path}", flags, dir_fd=self._mount)

    def _renew(self) -> None:
        old, self._mount = self._mount, _own_mount()
        self._left = self._OPENS_MAX
        if old is not None:
            os.close(old)


def _own_mount() -> int | None:
    """Settings that somebody made read-only for us, as container engines do, stay so."""
    from reconciler.kernel.netns_mounts import detached_proc  # ctypes is loaded by those who open settings

    try:
        return None if os.statvfs(_ROOT).f_flag & os.ST_RDONLY else detached_proc()
    except OSError:
        return None


_tree = _Tree()


_NOT_TO_BE_READ: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EISDIR))


def read_sysctl(name: str) -> str | None:
    """Return the value, runs of white space as one blank; None when there is no such setting or nobody may read it.

    Raises KernelError for what says nothing of the setting, such as no file descriptor left; ConfigError.
    """
    try:
        fd = _tree.open(name, os.O_RDONLY)
    except OSError as cause:
        if cause.errno in _NOT_TO_BE_READ:
            return None
        raise kernel_error(cause.errno or errno.EIO, f"read sysctl {name}") from cause
    try:
        return " ".join(os.read(fd, _VALUE_MAX).decode("ascii", "backslashreplace").split())
    except OSError:  # the setting's own word: stable_secret gives EIO where none is set
        return None
    finally:
        os.close(fd)


def write_sysctl(name: str, value: str) -> None:
    """Set a value; a repeat is harmless. Raises KernelError."""
    try:
        fd = _tree.open(name, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as cause:
        raise kernel_error(cause.errno or errno.EIO, f"set sysctl {name} to {value!r}", _reason(name)) from cause


def _reason(name: str) -> str:
    """Return what the kernel's number does not: root too cannot write what is for reading only."""
    try:
        is_writable = os.stat(f"{_ROOT}/{_checked_path(name)}").st_mode & 0o222
    except OSError:
        return ""
    return "" if is_writable else "this setting can only be read"


def _checked_path(name: str) -> str:
    """Return the path. Only `net/` differs between namespaces; anything else would be a setting of the whole machine."""
    parts = name.split("/")
    if parts[0] != "net" or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ConfigError(f"{name!r} is not the path of a network setting (net/...)")
    return name
