"""Status files on disk: written by temporary file and rename, and only when their bytes change."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.errors import KernelError, ReconcilerError, StatusError, kernel_error
from reconciler.model.identifiers import NAME_PATTERN, is_name
from reconciler.model.objects import STATUS_UNIT
from reconciler.model.report import Report
from reconciler.records.document import Misfit, json_object
from reconciler.records.file import BYTES_MAX, content
from reconciler.settings import Settings
from reconciler.status.attachment_document import HOST_SANDBOX
from reconciler.status.files import StatusFiles, status_files
from reconciler.status.revision import specs_revision

NETWORKS: Final = "networks"
ATTACHMENTS: Final = "attachments"
SUMMARY: Final = "summary"

_SUFFIX: Final = ".json"
_CREATED: Final = re.compile(rb'"Created": "[^"]*"')
_ADVICE: Final = {
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), "; move away what stands there"),
    errno.ENOSPC: "; make room there",
    errno.EDQUOT: "; make room there",
    errno.EROFS: "; make it writable, or name another --status-dir",
}
_FEW: Final = 16
"""Up to so many files each is flushed by itself, more of them by one syncfs(2)."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the files: both zero when nothing had changed."""

    written: int = 0
    removed: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.written + other.written, self.removed + other.removed)


def write_status(settings: Settings, report: Report) -> Written:
    """Make the status folder tell of `report`. A repeat writes nothing: same bytes, same times of change.

    Raises KernelError when the folder cannot be written.
    """
    files = status_files(
        report,
        specs_revision(settings.specs_dir),
        read_summary(settings.status_dir),
        netns_dir=settings.netns_dir,
        host_sandbox=str(settings.host_netns or HOST_SANDBOX),
    )
    return write_files(settings.status_dir, files)


def told_status(settings: Settings, report: Report) -> Report:
    """Make the status folder tell of `report`, as far as it can be written; give the report, with what could not be as a problem.

    What the pass did stands: a status that cannot be written is never a reason not to go on.
    """
    try:
        write_status(settings, report)
    except KernelError as error:
        report = report.with_problem(STATUS_UNIT, StatusError(str(error)))
        with suppress(KernelError):  # the summary may be writable, and say so
            write_status(settings, report)
    return report


def write_files(status_dir: Path, files: StatusFiles) -> Written:
    """Write what differs, remove the files of networks and attachments that are gone; other files are left alone.

    What cannot be written keeps nothing else from being written. Raises KernelError for the first of it.
    """
    kept_networks, kept_attachments = (
        (files.kept_networks, files.kept_attachments) if files.is_pruning else (None, None)
    )
    counts, errors = [], []
    for folder, texts, kept in (
        (status_dir / NETWORKS, files.networks, kept_networks),
        (status_dir / ATTACHMENTS, files.attachments, kept_attachments),
        (status_dir, {SUMMARY: files.summary}, None),
    ):
        try:
            with _errors(folder):
                if not folder.is_dir():
                    folder.mkdir(mode=0o755, parents=True)
                counts.append(_write_folder(folder, texts, kept))
        except KernelError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return sum(counts, Written())


def read_summary(status_dir: Path) -> Mapping[str, object]:
    """Return the summary of the pass before; an empty one when there is none that can be read."""
    try:
        return json_object(content(status_dir / f"{SUMMARY}{_SUFFIX}"), BYTES_MAX)
    except (OSError, Misfit):
        return {}


def _write_folder(folder: Path, texts: Mapping[str, str], kept: frozenset[str] | None) -> Written:
    """kept None: nothing is removed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        contents = {_checked(name): text.encode() for name, text in texts.items()}
        changed = {name: text for name, text in contents.items() if not _is_told(_content(descriptor, name), text)}
        _replace(descriptor, changed)
        removed = 0 if kept is None else _remove_stale(descriptor, contents.keys() | kept)
        return Written(len(changed), removed)
    finally:
        os.close(descriptor)


def _checked(name: str) -> str:
    """Refuse what could leave the folder; names were checked when they were read, this is the last door."""
    if not is_name(name):
        raise ReconcilerError(f"no status file for {name!r}: not a name of a network or an attachment")
    return name


def _content(folder: int, name: str) -> bytes | None:
    try:
        return content(name + _SUFFIX, folder=folder, flags=os.O_NOFOLLOW)
    except OSError:
        return None


def _is_told(present: bytes | None, wanted: bytes) -> bool:
    """Return whether a file tells this already. The time of creation is that of the first file: of what could not be made, or was
    made before the store was lost, nobody remembers another."""
    if present is None or present == wanted:
        return present is not None
    return _CREATED.sub(b"", present, 1) == _CREATED.sub(b"", wanted, 1)


def _replace(folder: int, contents: Mapping[str, bytes]) -> None:
    """Write all temporary files, make them durable, then rename: a reader, or a crash, meets the old file or the new one."""
    try:
        _write_temporaries(folder, contents)
    except OSError:
        for name in contents:
            with suppress(OSError):
                os.unlink(_temporary(name), dir_fd=folder)
        raise
    failed = None
    for name in contents:
        try:
            os.rename(_temporary(name), name + _SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            failed = OSError(error.errno, error.strerror, name + _SUFFIX)
            with suppress(OSError):
                os.unlink(_temporary(name), dir_fd=folder)
    if failed is not None:
        raise failed


def _write_temporaries(folder: int, contents: Mapping[str, bytes]) -> None:
    for name, text in contents.items():
        with suppress(FileNotFoundError):
            os.unlink(_temporary(name), dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(_temporary(name), flags, 0o644, dir_fd=folder), "wb", buffering=0) as file:
            file.write(text)
            if len(contents) <= _FEW:
                os.fsync(file.fileno())
    if len(contents) > _FEW:
        ctypes.CDLL(None, use_errno=True).syncfs(folder)


def _temporary(name: str) -> str:
    return f".{name}{_SUFFIX}.tmp"


def _remove_stale(folder: int, kept: frozenset[str] | set[str]) -> int:
    stale = [name for name in _listed(folder) if name not in kept]
    for name in stale:
        os.unlink(name + _SUFFIX, dir_fd=folder)
    return len(stale)


def _listed(folder: int) -> Iterator[str]:
    """Yield the names whose files may be ours."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name.removesuffix(_SUFFIX)
            if name != entry.name and NAME_PATTERN.match(name) and entry.is_file(follow_symlinks=False):
                yield name


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        advice = _ADVICE.get(error.errno or 0, "")
        raise kernel_error(
            error.errno or 0, f"write status files to {folder}", f"{place}{error.strerror}{advice}"
        ) from error
