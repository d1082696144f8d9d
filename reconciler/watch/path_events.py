"""When spec files, or files of the host, may have changed. Whether they did is for who reads them; no change goes unnoticed."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from reconciler.errors import KernelError
from reconciler.kernel.inotify import Event, Inotify, Mask, filesystem_type
from reconciler.kernel.mounts import MountEvents
from reconciler.spec.files import FOLDERS_DEEP_MAX

_ENTRIES: Final = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.ONLY_DIRECTORY
_CONTENT: Final = Mask.CLOSE_WRITE | Mask.ATTRIB
"""Not IN_MODIFY: half a file is not to be read, so it counts as changed when its writer closes it."""

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


class PathEvents:
    """Waits for changes of folders and files: `fileno()` is readable when there may be some.

    Watched are: every folder that a path leads through, symbolic links resolved, for the entry that leads on, so that what it
    leads to may be missing, be swapped, removed and made again; a file itself; a folder and those below, for everything in them;
    and where symbolic links in them lead. Raises KernelError.
    """

    def __init__(self, *paths: Path) -> None:
        self._roots = tuple(os.path.abspath(path) for path in paths)
        self._inotify = Inotify()
        self._mounts = MountEvents()
        self._epoll = select.epoll()
        self._epoll.register(self._inotify.fileno(), select.EPOLLIN)
        self._epoll.register(self._mounts.fileno(), select.EPOLLPRI)
        self._watched: dict[int, set[str]] = {}
        self._needs_polling = False
        self._arm()

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def needs_polling(self) -> bool:
        """Say whether changes may come without an event: on a network file system, or where the kernel refused a watch."""
        return self._needs_polling

    def drain(self) -> bool:
        """Take what is there; say whether it may mean a change. Whoever reads the files afterwards misses nothing."""
        relevant = [event for event in self._inotify.read() if self._is_relevant(event)]
        has_moved = self._mounts.has_changed()
        if not has_moved and all(event.mask == Mask.CLOSE_WRITE for event in relevant):
            return bool(relevant)
        before = self._watched.keys()
        self._arm()
        return bool(relevant) or self._watched.keys() != before

    def close(self) -> None:
        self._epoll.close()
        self._mounts.close()
        self._inotify.close()

    def _is_relevant(self, event: Event) -> bool:
        if event.mask & Mask.OVERFLOW:
            return True
        if event.watch not in self._watched:
            return False
        if event.mask & (Mask.IGNORED | Mask.UNMOUNT) or not event.name:
            return True
        names = self._watched[event.watch]
        return event.name in names or (_ALL in names and not event.name.startswith("."))

    def _arm(self) -> None:
        """Bring the watches in line with what is there now.

        Each folder is watched before it is read: what comes between is told by an event. Nothing is ever watched for less
        than before, or events would be lost meanwhile.
        """
        walk = _Walk(self._inotify)
        walk.follow(self._roots)
        for watch in self._watched.keys() - walk.watched.keys():
            self._inotify.remove(watch)
        self._watched, self._needs_polling = walk.watched, walk.is_blind


class _Walk:
    """One look at everything that decides what is read at the paths, leaving watches behind.

    watched: the names that matter, by watch. is_blind: some changes will come without an event.
    """

    def __init__(self, inotify: Inotify) -> None:
        self._inotify = inotify
        self._folders: set[tuple[int, int]] = set()
        self._led: set[tuple[str, str]] = set()
        self.watched: dict[int, set[str]] = {}
        self.is_blind = False

    def follow(self, roots: Iterable[str]) -> None:
        waiting = [(root, 0) for root in roots]
        while waiting:
            path, depth = waiting.pop()
            waiting += [(further, depth + 1) for further in self._look(path, depth)]

    def _look(self, path: str, depth: int) -> Iterator[str]:
        """Watch what a path leads to; give what in there has to be looked at as well."""
        place = self._resolve(path)
        if place is None:
            return
        try:
            status = os.stat(place)
        except OSError:
            return  # gone again: an event says so
        self.is_blind |= filesystem_type(place) in _WITHOUT_EVENTS
        if not stat.S_ISDIR(status.st_mode):
            self._watch(place, _CONTENT)
        elif (status.st_dev, status.st_ino) not in self._folders and depth <= FOLDERS_DEEP_MAX:
            self._folders.add((status.st_dev, status.st_ino))
            self.is_blind |= len(self._folders) > _FOLDERS_MAX
            if len(self._folders) <= _FOLDERS_MAX and self._watch(place, _ENTRIES | _CONTENT):
                yield from _leads_on(place)

    def _resolve(self, path: str) -> str | None:
        """Watch every folder on the way for the entry that leads on. Give the end of the way, None where it breaks off."""
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
        return place if os.path.lexists(place) else None

    def _lead(self, place: str, part: str) -> None:
        if (place, part) not in self._led:  # a hundred links into one folder share their way
            self._led.add((place, part))
            self._watch(place, _ENTRIES, part)

    def _watch(self, place: str, mask: int, name: str = _ALL) -> bool:
        """Say whether there is something to watch."""
        try:
            watch = self._inotify.add(place, mask)
        except KernelError as error:
            # What is not there is told of by the folder above.
            self.is_blind |= error.errno not in (errno.ENOENT, errno.ENOTDIR)
            return False
        self.watched.setdefault(watch, set()).add(name)
        return True


def _link_target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _leads_on(folder: str) -> Iterator[str]:
    """Give the folders and symbolic links in a folder, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir(follow_symlinks=False)):
                    yield entry.path
    except OSError:
        return  # gone again: an event says so
