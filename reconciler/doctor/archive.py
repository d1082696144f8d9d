"""An archive for a bug report, which its owner alone can read: it is there whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

from reconciler.errors import ReconcilerError


def write_archive(file: Path, members: Mapping[str, str], *, is_replacing: bool) -> None:
    """Write a tar.gz beside the file and put it in place. is_replacing: of a file that is there; else that is refused.

    Raises ReconcilerError.
    """
    refuse_present(file, is_replacing=is_replacing)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _write(beside, _packed(file, members))
        try:
            if is_replacing:
                os.replace(beside, file)
            else:
                os.link(beside, file)
        finally:
            beside.unlink(missing_ok=True)
    except FileExistsError as error:
        raise _is_there(file) from error
    except OSError as error:
        raise ReconcilerError(f"{file} cannot be written: {error.strerror}") from error


def refuse_present(file: Path, *, is_replacing: bool) -> None:
    """Raises ReconcilerError when a file is there that is not to be replaced."""
    if not is_replacing and os.path.lexists(file):
        raise _is_there(file)


def _is_there(file: Path) -> ReconcilerError:
    return ReconcilerError(f"{file} is there already: choose another name, or replace it with --force")


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _packed(file: Path, members: Mapping[str, str]) -> bytes:
    """Pack them into one folder that is called as the file is."""
    folder = file.name.partition(".")[0] or "bundle"
    now = time.time()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="") as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, text in members.items():
            content = text.encode(errors="backslashreplace")
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(content), int(now), 0o600
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
