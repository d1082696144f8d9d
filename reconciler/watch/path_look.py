"""One look at everything that decides what is read at a path: what of it has to be watched, and how it is now."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from msgspec import Struct, field

from reconciler.kernel.mounts import filesystem_type
from reconciler.kernel.notifier import MODIFIED, Hint
from reconciler.spec.files import FOLDERS_DEEP_MAX

_HOPS_MAX: Final = 40
"""Symbolic links on one path (path_resolution(7))."""

_FOLDERS_MAX: Final = 4096

_WITHOUT_EVENTS: Final = frozenset(
    {
        0x6969,  # NFS
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x517B,  # SMB
        0x01021997,  # 9p
        0x65735546,  # FUSE, virtiofs too
        0x00C36400,  # Ceph
        0x5346414F,  # AFS
        0x6B414653,  # kAFS
        0x47504653,  # GPFS
        0x0BD00BD0,  # Lustre
        0x786F4256,  # vboxsf
        0xBACBACBC,  # vmhgfs
    }
)
"""File systems that others change without this kernel knowing (linux/magic.h). Not overlayfs: who writes to its lower folder
while it is mounted gets undefined results in every respect (Documentation/filesystems/overlayfs.rst)."""

_ALL: Final = ""
"""Stands for all names but hidden ones."""

Inode = tuple[int, int]


class PathLook(Struct):
    """places: what has to be watched, by path. names: those that matter in it; a file has all. stamps: what each path was like.

    Watched is every folder that the path leads through, symbolic links resolved, for the entry that leads on, so that what it leads
    to may be missing, be swapped, removed and made again; a file itself; a folder and those below, for everything in them; and
    where symbolic links in them lead. is_blind: some changes will come without an event.
    """

    places: dict[str, Inode] = field(default_factory=dict)
    names: dict[Inode, set[str]] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    is_blind: bool = False

    def concerns(self, hint: Hint, watched: Mapping[str, Inode]) -> bool:
        """Return whether the hint may mean a change. watched: an inode of several paths tells of itself by any of them."""
        change, path = hint
        itself = self._names_of(watched.get(path))
        if _ALL in itself or (itself and change != MODIFIED):
            return True
        folder, name = os.path.split(path)
        names = self._names_of(watched.get(folder))
        return (_ALL in names and not name.startswith(".")) or (name in names and change != MODIFIED)

    def renew(self, path: str) -> bool:
        """Note what became of a path; no when that takes another look: it is, or was, a folder or link, or leads to one."""
        folder, name = os.path.split(path)
        inode = self.places.get(folder)
        if inode is None or name in self.names[inode] or path in self.places:
            return False
        self.stamps.pop(path, None)
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            self.stamps[path] = _stamp(status)
            return stat.S_ISREG(status.st_mode)
        return True

    def _names_of(self, inode: Inode | None) -> Collection[str]:
        return () if inode is None else self.names.get(inode, ())

    def changed_since(self, earlier: PathLook) -> set[str]:
        """Return the paths that are not as they were."""
        return {path for path, _ in self.stamps.items() ^ earlier.stamps.items()}


def look(root: str) -> PathLook:
    """Look. What is watched before is seen or told of: nothing falls in between."""
    walk = _Walk()
    walk.follow(root)
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = PathLook()
        self._folders: set[Inode] = set()
        self._led: set[tuple[str, str]] = set()

    def follow(self, root: str) -> None:
        waiting = [(root, 0)]
        while waiting:
            path, depth = waiting.pop()
            waiting += [(further, depth + 1) for further in self._look(path, depth)]

    def _look(self, path: str, depth: int) -> Iterator[str]:
        """Note what a path leads to; give what in there has to be looked at as well."""
        place = self._resolve(path)
        status = None if place is None else self._stamp(place)
        if place is None or status is None:
            return
        self.found.is_blind |= filesystem_type(place) in _WITHOUT_EVENTS
        if not stat.S_ISDIR(status.st_mode):
            self._watch(place, status, _ALL)
        elif (status.st_dev, status.st_ino) not in self._folders and depth <= FOLDERS_DEEP_MAX:
            self._folders.add((status.st_dev, status.st_ino))
            self.found.is_blind |= len(self._folders) > _FOLDERS_MAX
            if len(self._folders) <= _FOLDERS_MAX:
                self._watch(place, status, _ALL)
                yield from self._leads_on(place)

    def _resolve(self, path: str) -> str | None:
        """Note every folder on the way for the entry that leads on. Give the end of the way, None where it breaks off."""
        parts, place, hops = deque(path.split("/")), "/", 0
        while parts:
            part = parts.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                place = os.path.dirname(place)
                continue
            self._lead(place, part)
            place_before, place = place, os.path.join(place, part)
            target = _link_target(place)
            if target is None:
                continue
            hops += 1
            if hops > _HOPS_MAX:
                return None
            parts.extendleft(reversed(target.split("/")))
            place = "/" if target.startswith("/") else place_before
        return place

    def _lead(self, place: str, part: str) -> None:
        if (place, part) in self._led:  # a hundred links into one folder share their way
            return
        self._led.add((place, part))
        try:
            status = os.stat(place)
        except OSError:
            return  # what is not there is told of by the folder above
        if place not in self.found.places:
            self.found.is_blind |= filesystem_type(place) in _WITHOUT_EVENTS
        self._watch(place, status, part)
        self._stamp(os.path.join(place, part))

    def _watch(self, place: str, status: os.stat_result, name: str) -> None:
        inode = (status.st_dev, status.st_ino)
        self.found.places[place] = inode
        self.found.names.setdefault(inode, set()).add(name)

    def _stamp(self, path: str) -> os.stat_result | None:
        try:
            status = os.lstat(path)
        except OSError:
            return None  # gone: that it is not among the stamps says so
        self.found.stamps[path] = _stamp(status)
        return status

    def _leads_on(self, folder: str) -> Iterator[str]:
        """Stamp what is in a folder, hidden entries left out; give the folders and symbolic links among it."""
        for entry in _entries(folder):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # gone: that it is not among the stamps says so
            self.found.stamps[entry.path] = _stamp(status)
            if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield entry.path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []  # gone again, which the folder above tells


def _stamp(status: os.stat_result) -> int:
    """Return what is another number after a change. A folder's times are not in it: they tell of hidden entries too."""
    if stat.S_ISDIR(status.st_mode):
        return hash((status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid))
    return hash((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _link_target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
