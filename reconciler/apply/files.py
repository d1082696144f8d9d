"""Write and delete the files of sandboxes, and the links to them from where ip-netns(8) looks.

No link is followed below the two folders: every step is taken from an open folder, by name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import NameConflict, ReconcilerError, kernel_error
from reconciler.model.objects import SandboxFile
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.settings import Settings

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def apply_files(operations: Sequence[Operation], settings: Settings) -> list[Outcome]:
    """Carry out operations on SandboxFile; one outcome each, in the same order; never raises for one of them."""
    return [Outcome(operation=operation, error=_error_of(operation, settings)) for operation in operations]


def _error_of(operation: Operation, settings: Settings) -> ReconcilerError | None:
    before, after = operation.before, operation.after
    assert before is None or isinstance(before, SandboxFile)
    assert after is None or isinstance(after, SandboxFile)
    try:
        if operation.action is Action.DELETE:
            assert before is not None
            _delete(before, settings)
        else:
            assert after is not None
            _write(before, after, settings)
    except ReconcilerError as error:
        return error
    except OSError as cause:
        refused = kernel_error(cause.errno or errno.EIO, operation.describe(), f"{cause.filename}: {cause.strerror}")
        refused.__cause__ = cause
        return refused
    return None


def _write(before: SandboxFile | None, after: SandboxFile, settings: Settings) -> None:
    if before is None or before.content != after.content:
        with _made_folder(settings.run_dir / "sandboxes", after.attachment) as folder:
            _put(folder, after.name, after.content.encode())
    if before is not None and before.netns_name and before.netns_name != after.netns_name:
        _unlink_from(settings, before)
    if after.netns_name:
        with _made_folder(settings.netns_etc_dir, after.netns_name) as folder:
            _link(folder, after, settings)


def _put(folder: int, name: str, content: bytes) -> None:
    """Write in place: running processes may have this very file mounted over theirs, as the engine does it.

    Written before it is cut, so that a reader finds neither less than the shorter nor nothing at all.
    """
    fd = os.open(name, _WRITE, 0o644, dir_fd=folder)
    try:
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def _link(folder: int, file: SandboxFile, settings: Settings) -> None:
    target = _target(file, settings)
    try:
        os.symlink(target, file.name, dir_fd=folder)
    except FileExistsError as cause:
        if _read_link(folder, file.name) != target:
            path = settings.netns_etc_dir / file.netns_name / file.name
            raise NameConflict(f"{path} is in the way and not ours; remove it") from cause


def _delete(file: SandboxFile, settings: Settings) -> None:
    if file.netns_name:
        _unlink_from(settings, file)
    with _folder(settings.run_dir / "sandboxes", file.attachment) as folder:
        if folder is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name, dir_fd=folder)
    _remove_if_empty(settings.run_dir / "sandboxes" / file.attachment)


def _unlink_from(settings: Settings, file: SandboxFile) -> None:
    """Take our link away, and its folder when nothing else is in it."""
    with _folder(settings.netns_etc_dir, file.netns_name) as folder:
        if folder is None or _read_link(folder, file.name) != _target(file, settings):
            return
        os.unlink(file.name, dir_fd=folder)
    _remove_if_empty(settings.netns_etc_dir / file.netns_name)


def _target(file: SandboxFile, settings: Settings) -> str:
    return str(settings.run_dir / "sandboxes" / file.attachment / file.name)


def _read_link(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _made_folder(parent: Path, name: str) -> Iterator[int]:
    """Open `parent`/`name`, made when it is not there. Raises OSError, as when it is a link or no folder."""
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    above = os.open(parent, _FOLDER)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=above)
        folder = os.open(name, _FOLDER, dir_fd=above)
    finally:
        os.close(above)
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def _folder(parent: Path, name: str) -> Iterator[int | None]:
    """Open `parent`/`name`; None when it is not there. Raises OSError, as when it is a link or no folder."""
    try:
        above = os.open(parent, _FOLDER)
    except FileNotFoundError:
        yield None
        return
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        yield None
        return
    finally:
        os.close(above)
    try:
        yield folder
    finally:
        os.close(folder)
