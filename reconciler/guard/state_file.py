"""Small JSON files of the state folder: whoever reads one, or crashes, meets the old content or the new one."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from reconciler.errors import kernel_error, refuse_passing
from reconciler.records.document import Misfit, json_object
from reconciler.records.file import content, make_folder

log = logging.getLogger(__name__)

BYTES_MAX: Final = 1 << 28
LOCK_S_MAX: Final = 5.0
"""How long to wait for others, each of which writes a small file meanwhile."""

_LOCK_STEP_S: Final = 0.005
_IN_THE_WAY: Final = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)


def read_fields(path: Path) -> Mapping[str, object] | None:
    """Return the file's object; None when there is none. One that nobody can read, or is none, is told and counts as none.

    Raises KernelError for what may pass: what is suspended or on trial is not forgotten for want of a file descriptor.
    """
    try:
        text = content(path, bytes_max=BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        refuse_passing(error, f"read {path}")
        _complain(f"{path} cannot be read ({error.strerror}) and is left out: move away what stands there")
        return None
    try:
        return json_object(text, BYTES_MAX)
    except Misfit:
        _complain(f"{path} is damaged and left out; it is written anew when it is needed")
        return None


@lru_cache(maxsize=64)
def _complain(message: str) -> None:
    """Log it once in this process: every pass reads these files several times."""
    log.warning("%s", message)


def write_fields(path: Path, fields: Mapping[str, object]) -> None:
    """Replace the file, readable by its owner alone. Raises KernelError, and leaves nothing beside it, when that fails."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        make_folder(path.parent)
        with suppress(FileNotFoundError):
            temporary.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(json.dumps(fields, sort_keys=True).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        _flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        detail = f"{error.strerror}; move away what stands there" if error.errno in _IN_THE_WAY else ""
        raise kernel_error(error.errno or errno.EIO, f"write {path}", detail) from error


def remove(path: Path) -> None:
    """Remove the file. A repeat is harmless."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise kernel_error(error.errno or errno.EIO, f"remove {path}") from error
    _flush_folder(path.parent)


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Let one process at a time read a file of the folder and write it changed. Raises KernelError."""
    try:
        make_folder(state_dir)
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise kernel_error(error.errno or errno.EIO, f"open {state_dir}") from error
    try:
        lock(folder, state_dir)
        yield
    finally:
        os.close(folder)


def lock(descriptor: int, path: Path) -> None:
    """Lock what is open (flock(2)). Who writes holds that for a moment; who may read can hold it for ever. Raises KernelError."""
    deadline = time.monotonic() + LOCK_S_MAX
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                detail = "another process keeps it locked; lslocks tells which, end that one"
                raise kernel_error(errno.ETIMEDOUT, f"lock {path}", detail) from None
        time.sleep(_LOCK_STEP_S)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
