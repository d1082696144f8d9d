"""Files in whose place anything may stand, read without waiting for a writer and in bounds; folders that are made for ours."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

BYTES_MAX: Final = 1 << 26


def content(path: Path | str, *, folder: int | None = None, flags: int = 0, bytes_max: int = BYTES_MAX) -> bytes:
    """Return the bytes of a regular file. Raises OSError: as `opened`, EFBIG for more than `bytes_max`.

    folder: a descriptor of what `path` starts from. flags: more of those of open(2).
    """
    with opened(path, folder=folder, flags=flags, buffering=0) as file:
        if os.fstat(file.fileno()).st_size > bytes_max:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read()


def beginning(path: Path | str, bytes_max: int) -> str:
    """Return the text of a regular file, so many bytes of it; what is not UTF-8 shows as such. Raises OSError, as `opened`."""
    with opened(path) as file:
        return file.read(bytes_max).decode(errors="replace")


def opened(path: Path | str, *, folder: int | None = None, flags: int = 0, buffering: int = -1) -> BinaryIO:
    """Return a regular file, open for reading. Raises OSError: EISDIR for a folder, EINVAL for anything else, as a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | flags, dir_fd=folder)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb", buffering=buffering)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "expected a regular file", str(path))


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
