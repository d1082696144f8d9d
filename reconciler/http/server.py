"""Answer HTTP requests on a socket from the loop of whoever serves: no thread, nothing here waits.

Everything is bounded: how many clients, what a request may weigh, how long an exchange may take from its first moment to the last
byte of its answer. Clients that are slow are dropped; when there are too many, whoever has had the most time makes room.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from msgspec import Struct, field

from reconciler.http.listening import ListeningSocket
from reconciler.http.server_protocol import BadRequest, ServedRequest, ServedResponse, ServerProtocol

log = logging.getLogger(__name__)

Handler = Callable[[ServedRequest], ServedResponse]
"""Answers at once: while it thinks, nobody else is served."""

_CHUNK: Final = 1 << 16
_OUT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CLOSE: Final = ("Connection", "close")


class ClientLimits(Struct, frozen=True):
    """What clients may cost. timeout_s: of one exchange, and of a connection without any.

    head_max, body_max: bytes of a request; answers 431 and 413 to more.
    """

    clients: int = 16
    head_max: int = 4096
    body_max: int = 4096
    timeout_s: float = 5.0


class _Client(Struct, eq=False):
    """is_leaving: it has its last answer, and what it still sends is thrown away, so that the answer is not lost to a reset."""

    socket: socket.socket
    protocol: ServerProtocol
    until_s: float
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    is_leaving: bool = False


class HttpServer:
    """Readable (`fileno`) when there is something to do, which `serve` does. Closes the listener with itself."""

    def __init__(
        self,
        listener: ListeningSocket,
        handler: Handler,
        limits: ClientLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener, self._handler, self._limits, self._clock = listener, handler, limits, clock
        self._selector = selectors.EpollSelector()
        self._selector.register(listener.socket, selectors.EVENT_READ)
        self._clients: dict[int, _Client] = {}
        self._deaf_until_s = 0.0

    def fileno(self) -> int:
        return self._selector.fileno()

    def serve(self) -> None:
        """Do what can be done without waiting. Call when readable, and now and then to let go of slow clients."""
        self._keep_time()
        for key, _ in self._selector.select(0):
            client = self._clients.get(key.fd)
            if key.fileobj is self._listener.socket:
                self._accept()
            elif client is not None:  # else it was dropped a moment ago
                self._advance(client)

    def close(self) -> None:
        for client in tuple(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.socket.accept()
        except OSError as error:
            if error.errno in _OUT_OF:
                self._be_deaf()
            return
        connection.setblocking(False)
        if len(self._clients) >= self._limits.clients:
            self._drop(min(self._clients.values(), key=lambda client: client.until_s))
        protocol = ServerProtocol(self._limits.head_max, self._limits.body_max)
        client = _Client(connection, protocol, self._clock() + self._limits.timeout_s)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)
        self._read(client)

    def _be_deaf(self) -> None:
        """Without descriptors or memory to spare the listener would stay readable, and keep the loop spinning."""
        self._selector.unregister(self._listener.socket)
        self._deaf_until_s = self._clock() + self._limits.timeout_s

    def _advance(self, client: _Client) -> None:
        """Take one step: who sends many requests at once gets one answer each time it is its turn."""
        if client.unsent:
            self._write(client)
        elif self._selector.get_key(client.socket).events == selectors.EVENT_WRITE:
            self._answer(client)
        else:
            self._read(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
        elif not client.is_leaving:
            client.protocol.receive(data)
            self._answer(client)

    def _answer(self, client: _Client) -> None:
        """Answer the next request, if all of it came."""
        try:
            request = client.protocol.next_request()
        except BadRequest as refusal:
            client.is_leaving = True
            self._send(client, client.protocol.answered(ServedResponse.of(refusal.status, _CLOSE)))
            return
        if request is not None:
            self._send(client, self._answered(client.protocol, request))
        elif ahead := client.protocol.go_ahead():
            self._send(client, ahead)
        else:
            self._selector.modify(client.socket, selectors.EVENT_READ)

    def _answered(self, protocol: ServerProtocol, request: ServedRequest) -> bytes:
        try:
            return protocol.answered(self._handler(request))
        except Exception:  # one page that fails must not end what else the process does
            log.exception("%s %s", request.method, request.path)
            return protocol.answered(ServedResponse.of(HTTPStatus.INTERNAL_SERVER_ERROR, _CLOSE))

    def _send(self, client: _Client, data: bytes) -> None:
        client.unsent = memoryview(data)
        self._selector.modify(client.socket, selectors.EVENT_WRITE)
        self._write(client)

    def _write(self, client: _Client) -> None:
        try:
            sent = client.socket.send(client.unsent)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.unsent = client.unsent[sent:]
        if not client.unsent:
            self._written(client)

    def _written(self, client: _Client) -> None:
        """Go on to what the client may have sent meanwhile, or part from it."""
        if client.protocol.is_idle:
            client.until_s = self._clock() + self._limits.timeout_s
        elif client.protocol.is_over:
            self._part(client)

    def _part(self, client: _Client) -> None:
        with suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
        if client.is_leaving:
            self._selector.modify(client.socket, selectors.EVENT_READ)
        else:
            self._drop(client)

    def _keep_time(self) -> None:
        now = self._clock()
        if self._deaf_until_s and self._deaf_until_s <= now:
            self._deaf_until_s = 0.0
            self._selector.register(self._listener.socket, selectors.EVENT_READ)
        for client in tuple(self._clients.values()):
            if client.until_s <= now:
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        del self._clients[client.socket.fileno()]
        client.socket.close()
