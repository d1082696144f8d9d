"""Signals as news: SIGTERM and SIGINT end the watcher, SIGHUP asks for a look at everything."""

from __future__ import annotations

import signal
import socket
from typing import Final

from reconciler.watch.source import CLEAN, Dirty, EventSource

_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals(EventSource):
    """Handles them from now on, and puts the handlers back in the end."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, lambda *_: None) for number in _HANDLED}

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> Dirty:
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:
            return CLEAN
        is_reload = signal.SIGHUP in numbers
        is_end = not {signal.SIGTERM, signal.SIGINT}.isdisjoint(numbers)
        return Dirty(is_specs=is_reload, is_everything=is_reload, is_reload=is_reload, is_end=is_end)

    def close(self) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._reader.close()
        self._writer.close()
