"""How a watch waits, comes back after failures, and, where a store does not tell what changed, finds out."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.backoff import Backoff
from reconciler.kv.protocol import Batch, KvEntry


class ServerLeft(KvUnavailable):
    """A call that was meant to take long was ended, as its server is no good any more: ask again, another one answers."""


class PollingWatch(ABC):
    """Looks until there is something to tell. closed: set by `close`, from any thread. See `reconciler.kv.protocol.Watch`."""

    def __init__(self, prefix: str, closed: threading.Event | None = None) -> None:
        self._prefix = prefix
        self._closed = closed or threading.Event()
        self._backoff = Backoff()
        self._versions: dict[str, int] | None = None

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
        """Return what is new, if anything is by the deadline or earlier. Raises KvError."""

    def begin_anew(self) -> None:
        """Make the next batch a resync: whoever answers then may be a restored server, whose numbers are not those we know."""
        self._versions = None

    def compared(self, entries: Sequence[KvEntry]) -> Batch | None:
        """Return what differs from what was told last, None if nothing does. entries: what is there now, sorted by key."""
        before, self._versions = self._versions, {entry.key: entry.version for entry in entries}
        if before is None:
            return Batch(is_resync=True, entries=tuple(entries))
        written = tuple(entry for entry in entries if before.get(entry.key) != entry.version)
        deleted = tuple(sorted(before.keys() - self._versions.keys()))
        return Batch(is_resync=False, entries=written, deleted=deleted) if written or deleted else None

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
