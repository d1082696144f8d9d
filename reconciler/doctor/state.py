"""Whether the folders of state, status and sandboxes' files can be made and written, and have room; and whether the store of
promises can be read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.place import Place
from reconciler.errors import ReconcilerError

_LEAST: Final = 16 << 20
_LITTLE: Final = 256 << 20


class Folder(Struct, frozen=True, kw_only=True):
    """One folder. above: the nearest one that is there, the folder itself when it is. is_folder: what is there is one.

    free: bytes that are left, files: how many more there may be, None where the file system does not say.
    """

    path: str
    above: str
    is_folder: bool = True
    is_writable: bool = True
    is_open_to_all: bool = False
    is_read_only: bool = False
    free: int = 1 << 40
    files: int | None = None


class State(Struct, frozen=True, kw_only=True):
    """failure: why the store of promises cannot be read."""

    folders: tuple[Folder, ...]
    failure: str = ""
    store: str = ""


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(state: State) -> Iterator[Finding]:
    found = (each for folder in state.folders for each in _of_folder(folder))
    yield from {each.mend or each.what: each for each in found}.values()  # one command may mend several
    if state.failure:
        yield error(
            f"the store of promises cannot be read: {state.failure}",
            "no pass can be made: addresses and host ports that were promised are in it; without it, the kernel's are adopted",
            command("mv", state.store, f"{state.store}.damaged"),
        )


def _of_folder(folder: Folder) -> Iterator[Finding]:
    if not folder.is_folder:
        yield error(
            f"{folder.above} is in the way of the folder {folder.path}",
            "nothing can be written there",
            command("mv", folder.above, f"{folder.above}.old"),
        )
    elif folder.is_read_only:
        yield error(
            f"the file system of {folder.path} is mounted for reading only",
            "nothing that is promised can be written down, so nothing is done",
            command("mount", "-o", "remount,rw", _mount_point(folder.above)),
        )
    elif not folder.is_writable:
        yield error(
            f"{folder.above} cannot be written"
            + (f", and {folder.path} is to be made there" * (folder.above != folder.path)),
            "nothing that is promised can be written down, so nothing is done",
            command("chown", "root:", folder.above),
            command("chmod", "u+rwx", folder.above),
        )
    if folder.is_open_to_all:
        yield warning(
            f"everybody may write to {folder.path}",
            "whoever does decides what is done to the networks of this host",
            command("chmod", "o-w", folder.path),
        )
    if folder.free < _LITTLE:
        yield (error if folder.free < _LEAST else warning)(
            f"{folder.free >> 20} MiB are left where {folder.path} is",
            "when nothing is left, nothing that is promised can be written down, so nothing is done: make room",
        )
    elif folder.files is not None and folder.files < 1000:
        yield (error if folder.files < 100 else warning)(
            f"there may be {folder.files} more files where {folder.path} is",
            "when there may be no more, nothing that is promised can be written down, so nothing is done: make room",
        )


def _mount_point(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def read(place: Place) -> State:
    settings = place.settings
    paths = dict.fromkeys((settings.state_dir, settings.status_dir, settings.run_dir))
    failure = ""
    try:
        place.backends.kv.list("")
    except ReconcilerError as error_:
        failure = str(error_)
    folders = tuple(_read(Path(os.path.abspath(path))) for path in paths)
    return State(folders=folders, failure=failure, store=str(settings.state_dir / "state.db"))


def _read(path: Path) -> Folder:
    above = path
    while not os.path.lexists(above):
        above = above.parent
    try:
        mode = above.stat().st_mode
        room = os.statvfs(above)
    except OSError:
        return Folder(path=str(path), above=str(above), is_folder=False)
    is_there = above == path
    return Folder(
        path=str(path),
        above=str(above),
        is_folder=stat.S_ISDIR(mode),
        is_writable=os.access(above, os.W_OK | os.X_OK),
        is_open_to_all=is_there and bool(mode & stat.S_IWOTH),
        is_read_only=bool(room.f_flag & os.ST_RDONLY),
        free=room.f_bavail * room.f_frsize,
        files=room.f_favail if room.f_files else None,
    )
