"""When something changed in the cluster's store: a thread per folder that matters to this host, feeding what is known of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.protocol import Batch, KvStore, Watch
from reconciler.observe.cluster import ClusterStore
from reconciler.watch.source import CLEAN, Bell, Dirty, EventSource, Watched

_POLL_S: Final = 60.0
_POLL_FAILING_S: Final = 1.0
"""After a failure, so that a store that is back is noticed though nothing in it has changed."""

_REFUSED_WAIT_S: Final = 5.0
"""Before asking again where asking again does not help by itself."""

_CLOSE_S: Final = 1.0

_PULSE_S: Final = 1.5
_PULSE_TIMEOUT_S: Final = 2.5
"""An outage is known within the sum, and a server that is cut off from the others is left; a second later it is in the status."""

_PULSE: Final = "pulse"
"""Stands among the folders whose watches fail; none can be called so."""


class ClusterEvents(EventSource):
    """`fileno()` can be read from when the next look will show something new: other records, an outage, or its end."""

    def __init__(self, store: ClusterStore, kv: KvStore) -> None:
        self._store = store
        self._kv = kv
        self._bell = Bell()
        self._followers = {_PULSE: _Follower(store, _Pulse(kv), _PULSE, self._tell)}

    def fileno(self) -> int:
        return self._bell.fileno()

    def drain(self) -> Dirty:
        """Take what is there; the next look shows it."""
        return self._bell.drain()

    def arm(self, watched: Watched) -> Dirty:
        """Watch what every host watches, and these networks; what changed meanwhile is told when it has been read."""
        wanted = (_PULSE, *self._store.folders(watched.networks))
        gone = [self._followers.pop(folder) for folder in tuple(self._followers) if folder not in wanted]
        _end(gone, 0.0)
        for folder in wanted:
            if folder not in self._followers:
                self._followers[folder] = _Follower(self._store, self._kv.watch(folder), folder, self._tell)
        return CLEAN

    def _tell(self) -> None:
        self._bell.ring(Dirty(is_cluster=True))

    def close(self) -> None:
        """End all watching within about a second, whatever the store does."""
        _end(tuple(self._followers.values()), _CLOSE_S)
        self._followers.clear()
        self._bell.close()


class _Pulse:
    """Has the store confirm, again and again, that it is there as a whole: a watch cannot tell an outage from peace."""

    def __init__(self, kv: KvStore) -> None:
        self._kv = kv
        self._closing = threading.Event()

    def poll(self, timeout_s: float) -> Batch | None:
        """As a watch that has nothing to tell."""
        if not self._closing.wait(min(timeout_s, _PULSE_S)):
            try:
                self._kv.confirm(_PULSE_TIMEOUT_S)
            except KvUnavailable:
                raise
            except KvError:
                return None  # who is refused is told so by what he asked for
        return None

    def close(self) -> None:
        self._closing.set()


class _Follower:
    """Polls one watch on a thread of its own. How long to wait after a failure is the watch's business."""

    def __init__(self, store: ClusterStore, watch: Watch, folder: str, tell: Callable[[], None]) -> None:
        self._store = store
        self._watch = watch
        self._folder = folder
        self._tell = tell
        self._closing = threading.Event()
        self._is_failing = False
        self.thread = threading.Thread(target=self._run, name=f"watch {folder}", daemon=True)
        self.thread.start()

    def begin_to_close(self) -> None:
        self._closing.set()

    def close_watch(self) -> None:
        self._watch.close()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                if self._poll():
                    self._tell()
        finally:
            if self._store.unfollow(self._folder):
                self._tell()

    def _poll(self) -> bool:
        """Wait for something to happen; say whether it is news."""
        try:
            batch = self._watch.poll(_POLL_FAILING_S if self._is_failing else _POLL_S)
        except KvError as error:
            return self._failed(error)
        if self._closing.is_set():
            return False
        was_failing, self._is_failing = self._is_failing, False
        if batch is not None:
            return self._store.follow(self._folder, batch)
        return was_failing and self._store.watch_recovered(self._folder)

    def _failed(self, error: KvError) -> bool:
        if self._closing.is_set():
            return False
        self._is_failing = True
        is_news = self._store.watch_failed(self._folder, error)
        if is_news:
            self._tell()
        if not isinstance(error, KvUnavailable):
            self._closing.wait(_REFUSED_WAIT_S)
        return False


def _end(followers: Collection[_Follower], patience_s: float) -> None:
    """Let followers go, and wait for them so long at most: a store that hangs may keep a poll, and the closing of its watch."""
    if not followers:
        return
    for follower in followers:
        follower.begin_to_close()

    def close_watches() -> None:
        for follower in followers:
            follower.close_watch()

    closer = threading.Thread(target=close_watches, name="close watches", daemon=True)
    closer.start()
    deadline = time.monotonic() + patience_s
    for thread in (closer, *(follower.thread for follower in followers)):
        thread.join(max(0.0, deadline - time.monotonic()))
