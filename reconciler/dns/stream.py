"""TCP clients of the embedded server (RFC 7766): framing, one question at a time per connection, bounds on what they may hold."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from reconciler.dns.reactor import BROKEN, READ, WRITE, Reactor

IDLE_S: Final = 10.0
"""From connecting or the last whole question on: a trickle of bytes does not extend it."""

STREAMS_SANDBOX_MAX: Final = 64
STREAMS_MAX: Final = 1024
_QUESTION_MAX: Final = 4096
"""Far above any honest question."""

_ACCEPT_BATCH: Final = 16
BACKLOG: Final = 256


class Answering(Protocol):
    """What is done with a question from a stream: `deliver` gets the reply now or later, or None if there shall be none."""

    def __call__(self, message: bytes, deliver: Callable[[bytes | None], None]) -> Callable[[], None] | None:
        """Return what cancels a question that is not answered yet; None if it is."""


class Stream:
    """One connection. Reads on only when the question before is answered and the answer sent: it holds one of each at most."""

    __slots__ = ("_cancel", "_group", "_in", "_is_busy", "_is_ended", "_out", "_since", "_socket")

    def __init__(self, group: StreamGroup, connection: socket.socket) -> None:
        self._group = group
        self._socket = connection
        self._in = b""
        self._out = b""
        self._is_busy = self._is_ended = False
        self._cancel: Callable[[], None] | None = None
        self._since = time.monotonic()
        group.limits.reactor.watch(connection.fileno(), self._on_ready)

    def close(self) -> None:
        """Harmless when closed."""
        if self._socket.fileno() < 0:
            return
        self._group.limits.reactor.forget(self._socket.fileno())
        self._socket.close()
        self._group.closed(self)
        if self._cancel is not None:
            self._cancel()

    @property
    def is_busy(self) -> bool:
        return self._is_busy or bool(self._out)

    def is_idle_at(self, now: float) -> bool:
        return not self._is_busy and now - self._since >= IDLE_S

    def _on_ready(self, events: int) -> None:
        if self._socket.fileno() < 0:
            return None
        if events & BROKEN:
            return self.close()
        if events & WRITE:
            self._send()
        if events & READ:
            self._receive()
        return self._go_on()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_QUESTION_MAX + 2 - len(self._in))
        except BlockingIOError:
            return None
        except OSError:
            return self.close()
        self._in += data
        self._is_ended = not data
        return None

    def _go_on(self) -> None:
        """Answer what is there, then wait for what is needed next."""
        while not self.is_busy and (message := self._next_message()) is not None:
            self._since = time.monotonic()
            self._group.used(self)
            self._is_busy = True
            cancel = self._group.answering(message, self._deliver)
            self._cancel = cancel if self._is_busy else None
        if self._socket.fileno() < 0:
            return None
        if self._is_ended and not self.is_busy:
            return self.close()
        wanted = WRITE if self._out else 0 if self._is_busy or self._is_ended else READ
        return self._group.limits.reactor.change(self._socket.fileno(), wanted)

    def _next_message(self) -> bytes | None:
        if len(self._in) < 2 or self._socket.fileno() < 0:
            return None
        size = int.from_bytes(self._in[:2], "big")
        if size > _QUESTION_MAX:
            self.close()
            return None
        if len(self._in) < size + 2:
            return None
        message, self._in = self._in[2 : size + 2], self._in[size + 2 :]
        return message

    def _deliver(self, reply: bytes | None) -> None:
        is_late = self._cancel is not None
        self._is_busy, self._cancel = False, None
        if reply is None or self._socket.fileno() < 0:
            return self.close()
        self._out = len(reply).to_bytes(2, "big") + reply
        self._send()
        if is_late:
            self._go_on()
        return None

    def _send(self) -> None:
        if self._socket.fileno() < 0:
            return None
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            return None
        except OSError:
            return self.close()
        self._out = self._out[sent:]
        return None


class StreamLimits:
    """Counts the streams of all sandboxes. Over the limit the fullest sandbox loses the stream that was quiet longest."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.groups: set[StreamGroup] = set()
        self.total = 0

    def make_room(self, group: StreamGroup) -> None:
        if len(group.streams) >= STREAMS_SANDBOX_MAX:
            group.drop_quietest()
        elif self.total >= STREAMS_MAX:
            self.drop_quietest()

    def drop_quietest(self) -> None:
        fullest = max(self.groups, key=lambda group: len(group.streams))
        if fullest.streams:
            fullest.drop_quietest()

    def drop_idle(self) -> None:
        """Close what has asked nothing for IDLE_S; to be called every second or so."""
        now = time.monotonic()
        for stream in [stream for group in self.groups for stream in group.streams if stream.is_idle_at(now)]:
            stream.close()


class StreamGroup:
    """The streams of one sandbox, least recently used first, behind its listening socket."""

    def __init__(self, limits: StreamLimits, listener: socket.socket, answering: Answering) -> None:
        self.limits = limits
        self.answering = answering
        self.streams: OrderedDict[Stream, None] = OrderedDict()
        self._listener = listener
        limits.groups.add(self)

    def on_connections(self, _: int) -> None:
        """Accept a few; the rest waits for the next round, so that a flood costs the others little."""
        for _ in range(_ACCEPT_BATCH):
            try:
                connection, _address = self._listener.accept()
            except OSError as error:  # nobody left, gone again, or out of descriptors
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.limits.drop_quietest()
                return
            self.limits.make_room(self)
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.limits.total += 1
            self.streams[Stream(self, connection)] = None

    def used(self, stream: Stream) -> None:
        self.streams.move_to_end(stream)

    def closed(self, stream: Stream) -> None:
        if stream in self.streams:
            del self.streams[stream]
            self.limits.total -= 1

    def drop_quietest(self) -> None:
        next(iter(self.streams)).close()

    def close(self) -> None:
        for stream in tuple(self.streams):
            stream.close()
        self.limits.groups.discard(self)
