"""Settings below /proc/sys/net of the namespace that the calling thread is in (sysctl(8), proc(5))."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from reconciler.errors import ConfigError, kernel_error

_ROOT: Final = Path("/proc/sys")
_VALUE_MAX: Final = 4096


def read_sysctl(name: str) -> str | None:
    """Return the value, runs of white space as one blank; None when there is no such setting or it cannot be read."""
    try:
        fd = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return " ".join(os.read(fd, _VALUE_MAX).decode("ascii", "backslashreplace").split())
    except OSError:
        return None
    finally:
        os.close(fd)


def write_sysctl(name: str, value: str) -> None:
    """Set a value; a repeat is harmless. Raises KernelError."""
    try:
        fd = os.open(_path(name), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as cause:
        raise kernel_error(cause.errno or errno.EIO, f"set sysctl {name} to {value!r}", _reason(name)) from cause


def _reason(name: str) -> str:
    """Return what the kernel's number does not: root too cannot write what is for reading only."""
    try:
        is_writable = os.stat(_path(name)).st_mode & 0o222
    except OSError:
        return ""
    return "" if is_writable else "this setting can only be read"


def _path(name: str) -> str:
    """Only `net/` differs between namespaces; anything else would be a setting of the whole machine."""
    parts = name.split("/")
    if parts[0] != "net" or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ConfigError(f"{name!r} is not the path of a network setting (net/...)")
    return f"{_ROOT}/{name}"
