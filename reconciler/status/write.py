"""Status files on disk: written by temporary file and rename, and only when their bytes change."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.errors import KernelError, ReconcilerError, kernel_error
from reconciler.kernel.edits import Edit, Edits
from reconciler.model.identifiers import NAME_PATTERN, is_name
from reconciler.records.document import Misfit, json_object
from reconciler.records.file import BYTES_MAX, content, make_folder
from reconciler.status.files import StatusFiles

log = logging.getLogger(__name__)

NETWORKS: Final = "networks"
ATTACHMENTS: Final = "attachments"
SUMMARY: Final = "summary"

_SUFFIX: Final = ".json"
_FILE: Final = re.compile(rb"[^.].*\.json")
_CREATED: Final = re.compile(rb'"Created": "[^"]*"')
_ADVICE: Final = {
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), "; move away what stands there"),
    errno.ENOSPC: "; make room there",
    errno.EDQUOT: "; make room there",
    errno.EROFS: "; make it writable, or name another --status-dir",
}
_FEW: Final = 16
"""Up to so many files each is flushed by itself, more of them by one syncfs(2)."""


_PIECES_MAX: Final = 1000
"""Written at once; the kernel takes 1,024 (IOV_MAX)."""

Pieces = tuple[bytes, ...]


class Written(Struct, frozen=True):
    """What became of the files: both zero when nothing had changed."""

    written: int = 0
    removed: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.written + other.written, self.removed + other.removed)


class StatusFolder:
    """The folder of one who writes it again and again. Files that are as they were left are neither read nor listed.

    is_followed: whether `is_as_left` tells of files that somebody wrote to where they are.
    """

    def __init__(self, status_dir: Path, *, is_followed: bool = False) -> None:
        edits = _edits() if is_followed else None
        self._networks = _Folder(status_dir / NETWORKS, edits, is_remembered=True, is_dated=True)
        self._attachments = _Folder(status_dir / ATTACHMENTS, edits)
        self._summary = _Folder(status_dir, edits, is_remembered=True)
        self._folders = (self._networks, self._attachments, self._summary)
        self._edits = edits

    def forget(self) -> None:
        """Read files again before they count as telling what they were left with: somebody may have changed one in its place."""
        for folder in self._folders:
            folder.forget()

    def is_as_left(self) -> bool:
        """Return whether nobody else put a file in, took one away, or wrote to one, since the last time."""
        edits = [] if self._edits is None else self._edits.take()
        for folder in self._folders if edits or edits is None else ():
            folder.take(edits)
        return all(folder.is_as_left() for folder in self._folders)

    def summary_left(self) -> bytes | None:
        """Return the summary as it was left, where it is damaged or gone since; None where somebody else wrote another."""
        return self._summary.text_left(SUMMARY)

    def write(self, files: StatusFiles) -> Written:
        """Write what differs, remove the files of networks and attachments that are gone; other files are left alone.

        What cannot be written keeps nothing else from being written. Raises KernelError for the first of it.
        """
        kept_networks, kept_attachments = (
            (files.kept_networks, files.kept_attachments) if files.is_pruning else (None, None)
        )
        counts, errors = [], []
        for folder, texts, kept in (
            (self._networks, files.networks, kept_networks),
            (self._attachments, _in_one_piece(files.attachments), kept_attachments),
            (self._summary, _in_one_piece({SUMMARY: files.summary}), None),
        ):
            try:
                with _errors(folder.path):
                    counts.append(folder.write(texts, kept))
            except KernelError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return sum(counts, Written())


def read_summary(status_dir: Path) -> Mapping[str, object]:
    """Return the summary of the pass before; an empty one when there is none that can be read."""
    try:
        return as_summary(content(status_dir / f"{SUMMARY}{_SUFFIX}"))
    except OSError:
        return {}


def as_summary(text: bytes) -> Mapping[str, object]:
    """Return the document; an empty one of what is none."""
    try:
        return json_object(text, BYTES_MAX)
    except Misfit:
        return {}


def _edits() -> Edits | None:
    try:
        return Edits()
    except KernelError as error:
        log.debug("status files are seen as they were left, whatever is written to them: %s", error)
        return None


class _Folder:
    """One folder of files. is_dated: they tell when what they are about was made, in their first piece. is_remembered: they are
    few and large, so what they were left with is known.
    """

    def __init__(self, path: Path, edits: Edits | None, *, is_remembered: bool = False, is_dated: bool = False) -> None:
        self.path = path
        self._edits, self._watch = edits, -1
        self._is_remembered, self._is_dated = is_remembered, is_dated
        self._names: set[str] | None = None
        self._left: tuple[int, int, int] | None = None
        self._texts: dict[str, Pieces] = {}
        self._inodes: dict[str, int] = {}

    def forget(self) -> None:
        self._texts.clear()
        self._inodes.clear()

    def take(self, edits: Sequence[Edit] | None) -> None:
        """Note whether somebody wrote to files of this folder. None: perhaps."""
        if edits is None or any(watch == self._watch and _FILE.fullmatch(name) for watch, name in edits):
            self._left = None

    def is_as_left(self) -> bool:
        try:
            return self._left is not None and self._left == _stamp(os.stat(self.path))
        except OSError:
            return False

    def text_left(self, name: str) -> bytes | None:
        """Return what a file was left with that is there, whatever is in it by now, or gone; None where it is another file."""
        text, inode = self._texts.get(name), self._inodes.get(name)
        try:
            is_other = os.stat(self.path / f"{name}{_SUFFIX}", follow_symlinks=False).st_ino != inode
        except FileNotFoundError:
            is_other = False
        return None if text is None or is_other else b"".join(text)

    def _follow(self, folder: int) -> None:
        """Be told of writes from now on, whichever folder it is now."""
        if self._edits is None:
            return
        try:
            self._watch = self._edits.watch(folder)
        except KernelError as error:
            log.debug("%s is seen as it was left, whatever is written there: %s", self.path, error)

    def write(self, texts: Mapping[str, Pieces], kept: Set[str] | None) -> Written:
        """kept: files that stay as they are although there is no text for them; None: nothing is removed."""
        if not texts and self._names is not None and (kept is None or self._names <= kept) and self.is_as_left():
            return Written()
        if not self.path.is_dir():
            make_folder(self.path)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._follow(descriptor)
            if not self.is_as_left():
                self._names = None
                self._texts.clear()
            changed = {
                name: text for name, text in texts.items() if not self._is_told(descriptor, _checked(name), text)
            }
            self._inodes.update(_replace(descriptor, changed))
            stale = set() if kept is None else self._present(descriptor) - texts.keys() - kept
            for name in stale:
                os.unlink(name + _SUFFIX, dir_fd=descriptor)
            self._note(texts, changed, stale)
            self._left = _stamp(os.fstat(descriptor))
            return Written(len(changed), len(stale))
        finally:
            os.close(descriptor)

    def _is_told(self, folder: int, name: str, wanted: Pieces) -> bool:
        known = self._texts.pop(name, None)  # what is not noted afterwards is not known
        if known is None:
            is_told = (_is_told_but_for_date if self._is_dated else _is_told)(folder, name, wanted)
            if is_told and self._is_remembered:
                self._inodes[name] = os.stat(name + _SUFFIX, dir_fd=folder, follow_symlinks=False).st_ino
            return is_told
        is_dated_otherwise = self._is_dated and _undated(known[0]) == _undated(wanted[0])
        return known[1:] == wanted[1:] and (known[0] == wanted[0] or is_dated_otherwise)

    def _note(self, texts: Mapping[str, Pieces], changed: Collection[str], stale: Set[str]) -> None:
        if self._names is not None:
            self._names = (self._names | texts.keys()) - stale
        if self._is_remembered:
            self._texts.update(texts)
        for name in stale:
            self._texts.pop(name, None)
            self._inodes.pop(name, None)

    def _present(self, descriptor: int) -> set[str]:
        if self._names is None:
            self._names = set(_listed(descriptor))
        return self._names


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    """Return what of a folder changes with which files are in it."""
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _checked(name: str) -> str:
    """Refuse what could leave the folder; names were checked when they were read, this is the last door."""
    if not is_name(name):
        raise ReconcilerError(f"no status file for {name!r}: not a name of a network or an attachment")
    return name


def _in_one_piece(texts: Mapping[str, str]) -> Mapping[str, Pieces]:
    return {name: (text.encode(),) for name, text in texts.items()}


def _is_told(folder: int, name: str, wanted: Pieces) -> bool:
    """Return whether a file tells this already."""
    try:
        size = os.stat(name + _SUFFIX, dir_fd=folder, follow_symlinks=False).st_size
        return size == sum(map(len, wanted)) and _content(folder, name) == b"".join(wanted)
    except OSError:
        return False


def _is_told_but_for_date(folder: int, name: str, wanted: Pieces) -> bool:
    """The time of creation is that of the first file: of what could not be made, or was made before the store was lost, nobody
    remembers another."""
    try:
        present, text = _content(folder, name), b"".join(wanted)
    except OSError:
        return False
    return present == text or _undated(present) == _undated(text)


def _undated(text: bytes) -> bytes:
    return _CREATED.sub(b"", text, 1)


def _content(folder: int, name: str) -> bytes:
    return content(name + _SUFFIX, folder=folder, flags=os.O_NOFOLLOW)


def _replace(folder: int, contents: Mapping[str, Pieces]) -> Mapping[str, int]:
    """Write all temporary files, make them durable, then rename: a reader, or a crash, meets the old file or the new one.

    Return their inodes.
    """
    try:
        inodes = dict(_write_temporaries(folder, contents))
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
    return inodes


def _write_temporaries(folder: int, contents: Mapping[str, Pieces]) -> Iterator[tuple[str, int]]:
    for name, text in contents.items():
        with suppress(FileNotFoundError):
            os.unlink(_temporary(name), dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(_temporary(name), flags, 0o644, dir_fd=folder)
        try:
            _write_pieces(file, text)
            if len(contents) <= _FEW:
                os.fsync(file)
            yield name, os.fstat(file).st_ino
        finally:
            os.close(file)
    if len(contents) > _FEW:
        ctypes.CDLL(None, use_errno=True).syncfs(folder)


def _write_pieces(file: int, pieces: Pieces) -> None:
    """Write them without putting them together. The kernel may take less than all."""
    for start in range(0, len(pieces), _PIECES_MAX):
        some = pieces[start : start + _PIECES_MAX]
        left = sum(map(len, some)) - os.writev(file, some)
        rest = memoryview(b"".join(some))[-left:] if left else b""
        while rest:
            rest = rest[os.write(file, rest) :]


def _temporary(name: str) -> str:
    return f".{name}{_SUFFIX}.tmp"


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
