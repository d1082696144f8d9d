"""Files in whose place anything may stand, read without waiting for a writer and in bounds; folders that are made for ours."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

BYTES_MAX: Final = 1 << 26
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
PEM_MAX: Final = 1 << 22
"""Of a file with certificates: all authorities that a browser knows are a few hundred kB."""

_CHUNK: Final = 1 << 16
_WRITER_S: Final = 30.0
"""How long who writes into a pipe may take."""


def content(path: Path | str, *, folder: int | None = None, flags: int = 0, bytes_max: int = BYTES_MAX) -> bytes:
    """Return the bytes of a regular file. Raises OSError: as `opened`, EFBIG for more than `bytes_max`.

    folder: a descriptor of what `path` starts from. flags: more of those of open(2).
    """
    with opened(path, folder=folder, flags=flags, buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > bytes_max:
            raise _too_large(path)
        return _all(lambda: file.read(max(size + 1, _CHUNK)), path, bytes_max)


def content_or_piped(path: Path | str, *, bytes_max: int) -> bytes:
    """Return the bytes of a regular file, or what comes by a pipe, as of a shell's `<(...)`. Raises OSError, as `content`.

    Who writes into the pipe has 30 s to do so, from the first byte to the last (ETIMEDOUT).
    """
    descriptor = os.open(path, _FLAGS)
    try:
        mode, end_s = os.fstat(descriptor).st_mode, time.monotonic() + _WRITER_S
        if not stat.S_ISFIFO(mode):
            return content(path, bytes_max=bytes_max)

        def come() -> bytes:
            if not select.select([descriptor], [], [], max(0.0, end_s - time.monotonic()))[0]:
                raise TimeoutError(errno.ETIMEDOUT, "nobody writes into the pipe", str(path))
            return os.read(descriptor, _CHUNK)

        return _all(come, path, bytes_max)
    finally:
        os.close(descriptor)


def _all(read: Callable[[], bytes | None], path: Path | str, bytes_max: int) -> bytes:
    """Read to the end. What files of the kernel's tell of their size is not what they have, and some have no end."""
    parts, length = [], 0
    while part := read():
        parts.append(part)
        length += len(part)
        if length > bytes_max:
            raise _too_large(path)
    if part is None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
    return b"".join(parts)


def _too_large(path: Path | str) -> OSError:
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))


def checked(path: Path | str, *, bytes_max: int) -> str:
    """Return the path of what `content` reads, for who opens files by himself and would wait for a pipe. Raises OSError."""
    content(path, bytes_max=bytes_max)
    return str(path)


def beginning(path: Path | str, bytes_max: int) -> str:
    """Return the text of a regular file, so many bytes of it; what is not UTF-8 shows as such. Raises OSError, as `opened`."""
    with opened(path) as file:
        return (file.read(bytes_max) or b"").decode(errors="replace")


def opened(path: Path | str, *, folder: int | None = None, flags: int = 0, buffering: int = -1) -> BinaryIO:
    """Return a regular file, open for reading. Raises OSError: EISDIR for a folder, EINVAL for anything else, as a pipe."""
    descriptor = os.open(path, _FLAGS | flags, dir_fd=folder)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb", buffering=buffering)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "expected a regular file", str(path))


def write_all(descriptor: int, data: bytes) -> None:
    """Write from the beginning of the file. Raises OSError, also where the disk takes a part only."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], done)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder and those above it, whatever the umask for their owner alone to write. A repeat is harmless. Raises OSError.

    mode: of the folder itself; those above it have 0755, where Path.mkdir(parents=True) gives them all that the umask lets through.
    """
    try:
        path.mkdir(mode=mode)
    except FileNotFoundError:
        if path == path.parent:
            raise
        make_folder(path.parent)
        make_folder(path, mode)
    except OSError:
        if not path.is_dir():
            raise
