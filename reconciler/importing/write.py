"""Imported things -> spec files: on stdout, or in a folder that is there whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.errors import ConfigError, ReconcilerError
from reconciler.importing.text import head_text, section_text
from reconciler.importing.values import Imported
from reconciler.records.file import content

_HEAD: Final = re.compile(r"# Written by `[^`\n]*`; SHA-256 of the rest: ([0-9a-f]{64})\n")
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
"""fcntl.h and renameat2(2)."""


def stream_text(imported: Imported, command: str) -> str:
    """Return all of it as one spec file. command: what a person typed."""
    sections = (
        section_text("networks", imported.networks),
        section_text("attachments", imported.attachments),
    )
    return _signed(head_text(imported) + "\n".join(filter(None, sections)), command)


def file_texts(imported: Imported, command: str) -> Mapping[str, str]:
    """Return the files of a folder by name; what is not carried as a whole stands at the top of the first."""
    sections = {
        "networks.yaml": section_text("networks", imported.networks),
        "attachments.yaml": section_text("attachments", imported.attachments),
    }
    names = [name for name, text in sections.items() if text] or ["networks.yaml"]
    head = {names[0]: head_text(imported)}
    return {name: _signed(head.get(name, "") + sections[name], command) for name in names}


def write_folder(files: Mapping[str, str], folder: Path) -> None:
    """Write beside the folder and rename, so that nobody ever meets a part of it.

    A folder that is there is replaced where it is empty, or as an import left it. Raises ConfigError for any other.
    """
    folder = folder.resolve()
    is_there = _may_be_replaced(folder)
    with _os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _fill(beside / folder.name, files)
            if is_there:
                _exchange(beside / folder.name, folder)
            else:
                os.rename(beside / folder.name, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _signed(text: str, command: str) -> str:
    """Put on top who wrote it, so that the next import knows what nobody has edited since."""
    typed = "".join(each if each.isprintable() and each != "`" else "?" for each in command)
    return f"# Written by `{typed}`; SHA-256 of the rest: {_digest(text)}\n{text}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _may_be_replaced(folder: Path) -> bool:
    """Return whether there is a folder, which nobody else has put anything into. Raises ConfigError for any other."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"--output {folder} cannot be read: {error.strerror}; name another folder") from error
    for entry in entries:
        if not _is_as_written(entry):
            raise ConfigError(
                f"--output {folder}: {entry.name} was not written by an import, or edited since: "
                "name another folder, or remove that one first"
            )
    return True


def _is_as_written(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file(follow_symlinks=False):
            return False
        text = content(entry.path).decode()
    except (OSError, UnicodeDecodeError):
        return False
    head = _HEAD.match(text)
    return head is not None and head[1] == _digest(text[head.end() :])


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _exchange(beside: Path, folder: Path) -> None:
    """Let two folders change names at once, so that there is one at any instant."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(beside), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(folder))


@contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReconcilerError(
            f"--output {folder} cannot be written: {error.strerror}; name another folder, or remove that one first"
        ) from error
