"""One epoll loop with timers: who is called when a descriptor is ready or a moment has come. One thread, nothing else."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
BROKEN = select.EPOLLERR | select.EPOLLHUP


class Timer:
    """A call that is still to come, unless cancelled. Cancelling twice, or after the call, is harmless."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Reactor:
    """Handlers get the epoll events; a descriptor number may be in new hands by then, so they must bear to find nothing there."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._serials = count()
        self._is_stopped = False

    def watch(self, fd: int, handler: Callable[[int], None], events: int = READ) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching; call before the descriptor is closed. A stranger is passed over."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._serials), timer))
        return timer

    def stop(self) -> None:
        self._is_stopped = True

    def run(self) -> None:
        """Serve until `stop` is called."""
        poll, handlers = self._epoll.poll, self._handlers
        while not self._is_stopped:
            for fd, events in poll(self._patience_s()):
                handler = handlers.get(fd)
                if handler is not None:
                    handler(events)
            if self._timers:
                self._call_timers()

    def close(self) -> None:
        self._epoll.close()

    def _patience_s(self) -> float:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _call_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            action = heapq.heappop(self._timers)[2].action
            if action is not None:
                action()
