"""Reading small files of ours in whose place anything may stand: never waits for a writer, never takes more than is sensible."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 1 << 26


def content(path: Path | str, *, folder: int | None = None, flags: int = 0, bytes_max: int = BYTES_MAX) -> bytes:
    """Return the bytes of a regular file. Raises OSError: EINVAL for anything else, as a pipe, EFBIG for more than `bytes_max`.

    folder: a descriptor of what `path` starts from. flags: more of those of open(2).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | flags, dir_fd=folder)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "expected a regular file", str(path))
        if found.st_size > bytes_max:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read()
