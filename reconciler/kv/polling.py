"""How a watch waits, comes back after failures, and, where a store does not tell what changed, finds out."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.backoff import Backoff
from reconciler.kv.protocol import Batch, Entry


class ServerLeft(KvUnavailable):
    """A call that was meant to take long was ended, as its server is no good any more: ask again, another one answers."""


class PollingWatch(ABC):
    """Looks until there is something to tell. closed: set by `close`, from any thread. See `reconciler.kv.protocol.Watch`."""

    def __init__(self, closed: threading.Event | None = None) -> None:
        self._closed = closed or threading.Event()
        self._backoff = Backoff()

    def poll(self, timeout_s: float) -> Batch | None:
        deadline = time.monotonic() + timeout_s
        self._closed.wait(min(timeout_s, self._backoff.delay_s()))
        while not self._closed.is_set():
            batch = self._looked(deadline)
            if batch is not None or time.monotonic() >= deadline:
                return batch
        return None

    def close(self) -> None:
        self._closed.set()

    @abstractmethod
    def look(self, deadline: float) -> Batch | None:
        """Give what is new, if anything is by the deadline or earlier. Raises KvError."""

    @abstractmethod
    def begin_anew(self) -> None:
        """Make the next batch a resync: whoever answers then may be a restored server, whose numbers are not those we know."""

    def _looked(self, deadline: float) -> Batch | None:
        try:
            batch = self.look(deadline)
        except ServerLeft:
            self.begin_anew()
            return None
        except KvError:
            self.begin_anew()
            if self._closed.is_set():
                return None
            self._backoff.failed()
            raise
        self._backoff.succeeded()
        return batch


class Snapshot:
    """The versions last told. Empty until the first `take`."""

    def __init__(self) -> None:
        self._versions: dict[str, int] | None = None

    def take(self, entries: Sequence[Entry]) -> Batch | None:
        """Compare with what is there now, sorted by key: give what differs and remember it; None if nothing does."""
        before = self._versions
        self._versions = {entry.key: entry.version for entry in entries}
        if before is None:
            return Batch(is_resync=True, entries=tuple(entries))
        written = tuple(entry for entry in entries if before.get(entry.key) != entry.version)
        deleted = tuple(sorted(before.keys() - self._versions.keys()))
        return Batch(is_resync=False, entries=written, deleted=deleted) if written or deleted else None

    def forget(self) -> None:
        """Make the next batch a resync."""
        self._versions = None
