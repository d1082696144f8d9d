"""A connection to a server, over TCP, TLS or a Unix socket: each exchange is over within its deadline, whatever the server does.

The deadline covers all of it, not each read: a server that sends or takes a byte now and then gets no longer.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from msgspec import Struct

from reconciler.http.client_protocol import BadResponse, ClientProtocol, Head, Request, Response

_PIECE: Final = 1 << 16


class Origin(Struct, frozen=True, kw_only=True):
    """Whom to ask: at `unix`, a path, or at host (name or address, IPv6 without brackets) and port. name: what it is told."""

    name: str
    unix: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None


class Connection:
    """Made when first needed. Belongs to one thread; `interrupt` is for the others.

    deadline: on the clock, for all that follows; what takes longer is a TimeoutError.
    """

    def __init__(self, origin: Origin, clock: Callable[[], float] = time.monotonic) -> None:
        self._origin, self._clock = origin, clock
        self._socket: socket.socket | None = None
        self._protocol = ClientProtocol(origin.name)
        self._is_interrupted = False
        self._closing = threading.Lock()
        """Held to close or shut down: the number of a closed descriptor soon is another's."""
        self.deadline = 0.0

    def connect(self) -> socket.socket:
        """Raises OSError: nothing of a request was sent."""
        with self._interruptible():
            if self._socket is None:
                self._open()
            if self._is_interrupted or self._socket is None:
                raise OSError("closed")
            return self._socket

    def exchange(self, request: Request, *, body_max: int, is_last: bool = False) -> Response:
        """Ask, and give all of the answer. Raises OSError, BadResponse, AnswerTooLong. is_last: tell the server so."""
        self._send(self._protocol.asked(request, is_last=is_last, body_max=body_max))
        while not self._protocol.is_over:
            self._receive()
        return self._protocol.answer()

    def begin(self, request: Request) -> Head:
        """Ask, and give the head of an answer that goes on and on. Raises OSError, BadResponse."""
        self._send(self._protocol.asked(request))
        while self._protocol.head is None:
            self._receive()
        return self._protocol.head

    def more(self) -> bytes:
        """Return what comes next of the answer; nothing when that is over. Raises OSError, BadResponse.

        A wait that timed out can be begun again: nothing is lost.
        """
        while not self._protocol.body and not self._protocol.is_over:
            self._receive()
        return self._protocol.take()

    @property
    def is_reusable(self) -> bool:
        return self._protocol.is_reusable

    def is_fresh(self) -> bool:
        """Return whether the server has left the idle connection open: a closed one is readable."""
        if self._socket is None or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def interrupt(self) -> None:
        """End a wait in another thread: it gets OSError "closed". The descriptor stays until that thread discards it."""
        self._is_interrupted = True
        with self._closing, suppress(OSError):
            if self._socket is not None:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def discard(self) -> None:
        with self._closing:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """What an interrupted wait runs into (an end, a broken pipe, a reset) depends on where it was: all are told alike."""
        try:
            yield
        except (OSError, BadResponse):
            if self._is_interrupted:
                raise OSError("closed") from None
            raise

    def _seconds_left(self) -> float:
        left_s = self.deadline - self._clock()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        return left_s

    def _send(self, data: bytes) -> None:
        """Not by sendall, which with TLS takes its timeout for each piece."""
        connected, rest = self.connect(), memoryview(data)
        with self._interruptible():
            while rest:
                connected.settimeout(self._seconds_left())
                rest = rest[connected.send(rest) :]

    def _receive(self) -> None:
        connected = self.connect()
        with self._interruptible():
            connected.settimeout(self._seconds_left())
            self._protocol.receive(connected.recv(_PIECE))

    def _open(self) -> None:
        """Each socket is there for `interrupt` before anything is waited for."""
        try:
            if self._origin.unix:
                self._socket = made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                made.settimeout(self._seconds_left())
                made.connect(self._origin.unix)
            else:
                self._dial()
            if self._origin.tls is not None:
                self._secure(self._origin.tls)
        except OSError:
            self.discard()
            raise

    def _dial(self) -> None:
        """Try one address after the other, each for its share of the time."""
        found = socket.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM)
        for left, (family, kind, number, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            self._socket = made = socket.socket(family, kind, number)
            try:
                self._reach(made, address, self._seconds_left() / left)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                self.discard()
                if left == 1 or self._is_interrupted:
                    raise
            else:
                return
        raise OSError("the name has no address")

    def _reach(self, made: socket.socket, address: tuple[object, ...], timeout_s: float) -> None:
        """A shutdown ends an attempt that is under way, not one that will be: look for an interruption in between."""
        made.setblocking(False)
        number = made.connect_ex(address)
        if number == errno.EINPROGRESS:
            if self._is_interrupted:
                raise OSError("closed")
            poll = select.poll()
            poll.register(made, select.POLLOUT)
            if not poll.poll(timeout_s * 1000):
                raise TimeoutError("no answer in time")
            number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def _secure(self, tls: ssl.SSLContext) -> None:
        """An end without a word of TLS is an error: what came before it may not be all."""
        assert self._socket is not None
        self._socket.settimeout(self._seconds_left())
        self._socket = secured = tls.wrap_socket(
            self._socket, server_hostname=self._origin.host, suppress_ragged_eofs=False, do_handshake_on_connect=False
        )
        secured.do_handshake()
