"""Tells when the embedded DNS server ends, however it does."""

from __future__ import annotations

import logging
import os
import select
from pathlib import Path

from reconciler.dns.launch import server_life
from reconciler.errors import ResolverError

log = logging.getLogger(__name__)


class NamesEvents:
    """Can be read from once the server that is watched has ended. Its descriptor stays the same whichever server that is."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lives = select.epoll()
        self._life: int | None = None

    def fileno(self) -> int:
        return self._lives.fileno()

    def watch(self) -> None:
        """Watch the server that runs now, if one does. Harmless when one is watched already."""
        if self._life is not None:
            return
        try:
            self._life = server_life(self._run_dir)
        except ResolverError as error:
            log.warning("%s", error)
        if self._life is not None:
            self._lives.register(self._life, select.EPOLLIN)

    def drain(self) -> None:
        """Forget the server that has ended; `watch` looks for the next one."""
        if self._life is not None:
            self._lives.unregister(self._life)
            os.close(self._life)
            self._life = None

    def close(self) -> None:
        self.drain()
        self._lives.close()
