"""Tells when the embedded DNS server ends, however it does."""

from __future__ import annotations

import contextlib
import logging
import os
import select
from pathlib import Path

from reconciler.dns.launch import running_server, server_life
from reconciler.errors import ResolverError

log = logging.getLogger(__name__)


class NamesEvents:
    """Can be read from once the server that is watched has ended. Its descriptor stays the same whichever server that is."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lives = select.epoll()
        self._missed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lives.register(self._missed, select.EPOLLIN)
        self._life: int | None = None

    def fileno(self) -> int:
        return self._lives.fileno()

    def watch(self, seen: int) -> None:
        """Watch the server that the last look saw, by its process, 0 for none. Harmless when one is watched already.

        Armed first, then looked at: one that has ended since that look is told of at once.
        """
        if self._life is not None or not seen:
            return
        try:
            self._life = server_life(seen)
        except ResolverError as error:
            log.warning("%s", error)
            return
        if self._life is not None:
            self._lives.register(self._life, select.EPOLLIN)
        running = running_server(self._run_dir)
        if running is None or running.pid != seen:
            os.eventfd_write(self._missed, 1)

    def drain(self) -> None:
        """Forget the server that has ended; `watch` is told of the next one."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._missed)
        if self._life is not None:
            self._lives.unregister(self._life)
            os.close(self._life)
            self._life = None

    def close(self) -> None:
        self.drain()
        self._lives.close()
        os.close(self._missed)
