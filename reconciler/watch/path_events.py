"""When spec files, or files of the host, may have changed. Whether they did is for who reads them; no change goes unnoticed."""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from reconciler.errors import KernelError
from reconciler.kernel.leases import has_writer
from reconciler.kernel.mounts import MountEvents
from reconciler.kernel.notifier import MODIFIED, Hint, PathNotifier
from reconciler.watch.path_look import Inode, PathLook, look
from reconciler.watch.source import Bell, Dirty, EventSource

log = logging.getLogger(__name__)

LOOK_S: Final = 4.0
"""How often to see whether something may have been lost, of which nobody tells, and to look then."""

UNASKED_LOOK_S: Final = 60.0
"""How often to look though nothing can have been lost but what came in the very instant in which waiting ended."""

QUIET_S: Final = 0.25
"""A file of which nobody can say whether it is still being written counts as whole when it has not changed for so long."""

_HELD_BACK_MAX_S: Final = 1.0
"""Other changes wait for a file that is being written, as half of it would be read with them; no longer than this."""

_ASKED_FIRST_S: Final = 0.02
_ASKED_MAX_S: Final = 1.0
"""How often to see whether who writes a file has closed it, of which nobody tells."""

_ARMS_MAX: Final = 5
"""How often to watch and look again while folders come and go; the next hint, or look, goes on."""

_CLOSE_S: Final = 2.0


class PathEvents(EventSource):
    """Waits for changes of what is read at paths, each with what they make dirty. Raises KernelError.

    One thread follows all of them. It begins here, so in the caller's namespaces, and whatever it begins stays in these.
    """

    def __init__(self, paths: Mapping[Path, Dirty]) -> None:
        self._roots = [_Root(os.path.abspath(path), dirty) for path, dirty in paths.items()]
        self._notifier: PathNotifier | None = None
        self._watched: dict[str, Inode] = {}
        self._is_refused = False
        for root in self._roots:
            root.look()
        self._arm()
        for root in self._roots:
            root.changed.clear()  # who reads what is there does so later
        self._looked_at = time.monotonic()
        self._look_at = self._looked_at + LOOK_S
        self._has_hints = False
        self._bell = Bell()
        self._mounts = MountEvents()
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._epoll.register(self._mounts, select.EPOLLPRI)
        self._wake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="path-events", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def needs_polling(self) -> bool:
        """Return whether changes may come without an event: on a network file system, or where the kernel refused a watch."""
        is_refused = self._is_refused or not self._thread.is_alive()
        return is_refused or any(root.seen.is_blind for root in self._roots)

    def drain(self) -> Dirty:
        """Take what is there: what may have changed. Who reads there afterwards misses nothing."""
        if self._mounts.has_changed():
            self._wake.set()
        return self._bell.drain()

    def close(self) -> None:
        self._is_closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)  # no longer: a network file system may have it
        if self._notifier is not None:
            self._notifier.close()
        self._epoll.close()
        self._mounts.close()
        self._bell.close()

    # ---- the thread

    def _run(self) -> None:
        while not self._is_closing:
            hints = self._wait()
            if not self._is_closing:
                try:
                    self._work(hints)
                except OSError as error:  # a want of descriptors, say; the next look is due as always
                    self._note(is_refused=True, reason=str(error))

    def _wait(self) -> set[Hint]:
        dues = [self._look_at, *(due for root in self._roots for due in root.dues())]
        idle_s = max(0.0, min(dues) - time.monotonic())
        if self._notifier is None:
            self._wake.wait(idle_s)
            return set()
        try:
            return self._notifier.wait(idle_s, self._wake)
        except KernelError as error:
            log.debug("another notifier takes over: %s", error)
            self._notifier.close()
            self._notifier = None
            return set()

    def _work(self, hints: set[Hint]) -> None:
        """Look where something may have changed, watch what came, and tell."""
        has_mounts = self._wake.is_set()
        if has_mounts:
            self._wake.clear()
        self._has_hints |= bool(hints)
        is_due = self._is_look_due() or has_mounts or self._notifier is None
        for root in self._roots:
            root.take(hints, self._watched, is_due=is_due)
        if has_mounts or self._must_arm(hints, is_due=is_due):
            self._try_to_arm()
        for root in self._roots:
            root.settle()
            if root.is_ready():
                self._bell.ring(root.dirty)
                root.has_news = False

    def _is_look_due(self) -> bool:
        """Return whether to look without being told of anything."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        is_due = now - self._looked_at >= UNASKED_LOOK_S or self.needs_polling
        is_due |= self._has_hints  # while it tells of something it may lose something else
        is_due |= self._notifier is None or self._notifier.may_have_lost()
        if is_due:
            self._looked_at, self._has_hints = now, False
        return is_due

    def _must_arm(self, hints: set[Hint], *, is_due: bool) -> bool:
        """Return whether what is watched is not what has to be, or may be so no more."""
        if self._notifier is None or self._places() != self._watched:
            return True
        if any(path in self._watched for change, path in hints if change != MODIFIED):
            return True  # what is there is watched no longer, though it looks the same
        # Where nobody told of what a look sees, there may be more that it does not see.
        return is_due and (self._is_refused or any(root.changed for root in self._roots))

    def _places(self) -> dict[str, Inode]:
        return {place: inode for root in self._roots for place, inode in root.seen.places.items()}

    def _try_to_arm(self) -> None:
        try:
            self._arm()
        except KernelError as error:
            self._note(is_refused=True, reason=str(error))

    def _note(self, *, is_refused: bool, reason: str) -> None:
        """Say so when not all changes will be told of from now on."""
        if is_refused and reason and not self._is_refused:
            log.warning("some changes of files are only noticed by a look every %.0f s: %s", LOOK_S, reason)
        self._is_refused = is_refused

    def _arm(self) -> None:
        """Watch what the last look saw and look again, until that sees the same: what came in between is seen, or told of."""
        for _ in range(_ARMS_MAX):
            places = self._places()
            notifier = PathNotifier(places)
            before, self._notifier, self._watched = self._notifier, notifier, places
            self._note(is_refused=notifier.is_partial, reason=notifier.refusal)
            if before is not None:
                before.close()
            for root in self._roots:
                root.look()
            if self._places() == places:
                return


class Unfinished(Struct):
    """A file that may still be being written. since: when that began; changed: when it was last seen to; due: when to ask again."""

    since: float
    changed: float
    due: float
    wait_s: float = _ASKED_FIRST_S
    times: tuple[int, int] | None = None


class _Root(Struct, eq=False):
    """What is known of one path. changed: paths not looked into yet; has_news: there is something to tell."""

    path: str
    dirty: Dirty
    seen: PathLook = field(default_factory=PathLook)
    changed: set[str] = field(default_factory=set)
    has_news: bool = False
    _unfinished: dict[str, Unfinished] = field(default_factory=dict)

    def look(self) -> None:
        before, self.seen = self.seen, look(self.path)
        self.changed |= self.seen.changed_since(before)

    def take(self, hints: Iterable[Hint], watched: Mapping[str, Inode], *, is_due: bool) -> None:
        hinted = {hint[1] for hint in hints if self.seen.concerns(hint, watched)}
        self.changed |= hinted
        if is_due or not all(self.seen.renew(path) for path in hinted):
            self.look()

    def settle(self) -> None:
        """Make news of what changed as soon as nobody writes it."""
        now = time.monotonic()
        for path in self.changed:
            self._unfinished.setdefault(path, Unfinished(now, now, now)).due = now
            self._unfinished[path].wait_s = _ASKED_FIRST_S
        self.changed.clear()
        for path, file in list(self._unfinished.items()):
            if file.due <= now and is_whole(path, file, now):
                del self._unfinished[path]
                self.has_news = True
            elif file.due <= now:
                file.due, file.wait_s = now + file.wait_s, min(1.5 * file.wait_s, _ASKED_MAX_S)

    def is_ready(self) -> bool:
        """Return whether there is something to tell, and nothing that it has to wait for."""
        now = time.monotonic()
        return self.has_news and all(now - file.since >= _HELD_BACK_MAX_S for file in self._unfinished.values())

    def dues(self) -> Iterator[float]:
        """Return when to settle again."""
        for file in self._unfinished.values():
            yield file.due


def is_whole(path: str, file: Unfinished, now: float) -> bool:
    """Return whether nobody writes the file any more. What is no file, or gone, is whole."""
    try:
        status = os.lstat(path)
    except OSError:
        return True  # gone
    if not stat.S_ISREG(status.st_mode):
        return True
    times = (status.st_size, status.st_mtime_ns)
    if times != file.times:
        file.times, file.changed = times, now
    is_written = has_writer(path)
    return now - file.changed >= QUIET_S if is_written is None else not is_written
