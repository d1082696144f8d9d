"""Tells when the embedded DNS server ends, however it does."""

from __future__ import annotations

import logging
import os
import select
from pathlib import Path

from reconciler.dns.launch import running_server
from reconciler.dns.lock_holder import server_life
from reconciler.errors import ResolverError
from reconciler.watch.source import CLEAN, Dirty, EventSource, Watched

log = logging.getLogger(__name__)


class NamesEvents(EventSource):
    """Can be read from once the server that is watched has ended. Its descriptor stays the same whichever server that is."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lives = select.epoll()
        self._life: int | None = None

    def fileno(self) -> int:
        return self._lives.fileno()

    def arm(self, watched: Watched) -> Dirty:
        """Watch the server that the last look saw, and say whether that is another by now. Harmless when one is watched already."""
        seen = watched.name_server
        if self._life is not None or not seen:
            return CLEAN
        try:
            self._life = server_life(seen)
        except ResolverError as error:
            log.warning("%s", error)
            return CLEAN
        if self._life is not None:
            self._lives.register(self._life, select.EPOLLIN)
        running = running_server(self._run_dir)
        return Dirty(is_other=running is None or running.pid != seen)

    def drain(self) -> Dirty:
        """Forget the server that has ended; `watch` is told of the next one."""
        if self._life is not None:
            self._lives.unregister(self._life)
            os.close(self._life)
            self._life = None
        return Dirty(is_other=True)

    def close(self) -> None:
        self.drain()
        self._lives.close()
