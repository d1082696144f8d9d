"""Requests to one of several servers of a store: which of them is asked, and what becomes of those who wait.

Knows nothing of stores. Each call is over within its deadline, whatever the servers do. Secrets travel in headers, never
in targets, so that no access log shows them.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, TypeVar

from reconciler.errors import KvError, KvUnavailable
from reconciler.http import client_protocol
from reconciler.http.client_protocol import AnswerTooLong, BadResponse, Head
from reconciler.http.connection import Connection, Origin
from reconciler.http.lines import Lines
from reconciler.kv.config import Endpoint, TlsFiles
from reconciler.kv.polling import ServerLeft
from reconciler.kv.tls_trouble import explained

REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one answer: 50,000 records with room to spare; what is longer is refused rather than held in memory."""

_NOT_TLS: Final = b"HTTP request to an HTTPS server"
"""What servers written in Go say to those who do not encrypt."""

_SHOWN_MAX: Final = 120
_REMOVED: Final = b"[removed]"
_SECRET_MIN: Final = 4
"""Characters of a secret that is looked for: shorter ones stand in every answer by chance."""

A = TypeVar("A")

_SERVER_TROUBLE: Final = frozenset({429, 500, 502, 503, 504})


class StoreRequest(client_protocol.Request, frozen=True, kw_only=True):
    """is_repeatable: asking two servers, or twice, does no harm. secrets: what of it no answer may bring into an error."""

    unshown: ClassVar[frozenset[str]] = client_protocol.Request.unshown | {"secrets"}
    is_repeatable: bool
    secrets: tuple[str, ...] = ()


class StoreResponse(client_protocol.Response, frozen=True, kw_only=True):
    server: Endpoint

    def is_of_another_kind(self) -> bool:
        """Return whether the server has no such page as is asked for, or expects TLS: it is not the one that was meant."""
        return (self.status == 404 and self.body.startswith(b"404 page")) or _NOT_TLS in self.body

    def foreign(self, kind: str) -> KvUnavailable:
        """Return what to say of an answer that no server of this kind gives: its own words, and what to look at."""
        said = " ".join(self.body.decode(errors="replace").split())[:_SHOWN_MAX]
        shown = said if said.isprintable() else ascii(said)
        if _NOT_TLS in self.body:
            advice = "it expects TLS: give kv.cacertfile"
        elif b"CommonName" in self.body:
            advice = "give kv.certfile a certificate without a common name, and user and password in kv.secretfile"
        else:
            advice = "does a server of that kind listen there, or is a proxy in between? See --cluster-store"
        return KvUnavailable(f"{self.server}: the answer is not {kind}'s ({self.status} {shown!r}); {advice}")

    @property
    def is_server_trouble(self) -> bool:
        """Return whether the server, not the request, is the matter: another one, or the same later, may answer."""
        return self.status in _SERVER_TROUBLE


def without_secrets(body: bytes | bytearray, secrets: Sequence[str]) -> bytes | bytearray:
    """Return an answer without what the request had of secrets. A store gives none back; who else may listen there, and what stands
    in between, repeats requests in its errors, and errors are for all to read.
    """
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1]):
            if len(form) >= _SECRET_MIN and form.encode() in body:
                body = body.replace(form.encode(), _REMOVED)
    return body


class Cancellation:
    """Lets another thread end the exchange that this object was handed to. Once cancelled, always cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self.event = threading.Event()

    def cancel(self) -> None:
        with self._lock:
            self.event.set()
            if self._connection is not None:
                self._connection.interrupt()

    def hold(self, connection: _Connection | None) -> None:
        with self._lock:
            self._connection = connection
            if connection is not None and self.event.is_set():
                connection.interrupt()


class HttpClient:
    """Talks to the server that answered last; keeps its connections. Safe to use from several threads."""

    def __init__(self, endpoints: Sequence[Endpoint], tls: TlsFiles | None, timeout_s: float) -> None:
        self._endpoints = tuple(endpoints)
        self._files = tls
        self._tls = tls.context() if tls else None
        self._timeout_s = timeout_s
        self._preferred = 0
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._waiting: set[_Connection] = set()
        self._is_shaken = False
        self._is_closed = False

    def send(
        self, request: StoreRequest, *, timeout_s: float | None = None, cancellation: Cancellation | None = None
    ) -> StoreResponse:
        """Return the answer of the first server that has one. Raises KvUnavailable after `timeout_s`.

        Once a request may have reached a server, only a repeatable one is sent to the next. timeout_s: for an answer
        that is meant to take long; then one server only is asked.
        """
        attempts = len(self._endpoints) if timeout_s is None else 1
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        for attempts_left in range(attempts, 0, -1):
            share_s = (deadline - time.monotonic()) / attempts_left
            try:
                reply = self._exchange(request, time.monotonic() + share_s, cancellation)
                if attempts_left == 1 or not reply.is_server_trouble or not request.is_repeatable:
                    return reply
            except _Failed as failure:
                cancelled = cancellation is not None and cancellation.event.is_set()
                may_repeat = request.is_repeatable or not failure.was_sent
                if attempts_left == 1 or cancelled or not may_repeat:
                    raise failure.as_unavailable() from failure.__cause__
        raise AssertionError("unreachable: the last attempt returns or raises")

    def confirm(self, request: StoreRequest, timeout_s: float) -> StoreResponse:
        """Ask one server after the other, each for its share of `timeout_s`, until one answers. Raises KvUnavailable.

        Whoever waits elsewhere then, or since before a failure, is sent here: what those wait for may never come.
        """
        deadline = time.monotonic() + timeout_s
        for left in range(len(self._endpoints), 0, -1):
            server = self._endpoints[self._preferred]
            try:
                reply = self._exchange(request, time.monotonic() + (deadline - time.monotonic()) / left, None)
            except _Failed as found:
                failure = found
            else:
                if not reply.is_server_trouble:
                    self._call_here()
                    return reply
                text = reply.body.decode(errors="replace")[:200].strip()
                failure = _Failed(server, f"{reply.status} {text}", was_sent=True)
            self._is_shaken = True
        raise failure.as_unavailable() from failure.__cause__

    def stream(self, request: StoreRequest, cancellation: Cancellation) -> LineStream:
        """Send a request whose answer goes on and on, one line per message. Raises KvUnavailable."""
        connection = self._new_connection()
        cancellation.hold(connection)
        self._begin_to_wait(connection)
        try:
            connection.deadline = time.monotonic() + self._timeout_s
            return LineStream(connection, connection.stream_head(request), self._end_waiting, request.secrets)
        except _Failed as failure:
            self._end_waiting(connection)
            self._prefer_next(connection)
            raise failure.as_unavailable() from failure.__cause__

    def close(self) -> None:
        """Close the connections; those that other threads use at this moment as soon as they have their answers."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.discard()

    def _exchange(self, request: StoreRequest, deadline: float, cancellation: Cancellation | None) -> StoreResponse:
        connection = self._take_connection()
        connection.deadline = deadline
        if cancellation is not None:
            cancellation.hold(connection)
            self._begin_to_wait(connection)
        try:
            reply = connection.reply(request)
        except _Failed:
            self._prefer_next(connection)
            raise
        finally:
            if cancellation is not None:
                cancellation.hold(None)
                self._end_waiting(connection)
        if reply.is_server_trouble:
            self._prefer_next(connection)
        self._give_back(connection)
        return reply

    def _begin_to_wait(self, connection: _Connection) -> None:
        with self._lock:
            self._waiting.add(connection)

    def _end_waiting(self, connection: _Connection) -> None:
        with self._lock:
            self._waiting.discard(connection)

    def _call_here(self) -> None:
        """End the waits at other servers, and after a failure all."""
        with self._lock:
            here = self._endpoints[self._preferred]
            for connection in self._waiting:
                if self._is_shaken or connection.endpoint != here:
                    connection.is_left = True
                    connection.interrupt()
            self._is_shaken = False

    def _take_connection(self) -> _Connection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.endpoint == self._endpoints[self._preferred] and connection.is_fresh():
                    return connection
                connection.discard()
        return self._new_connection()

    def _new_connection(self) -> _Connection:
        return _Connection(self._endpoints[self._preferred], self._tls, self._files)

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if connection.is_reusable and not self._is_closed:
                self._idle.append(connection)
                return
        connection.discard()

    def _prefer_next(self, failed: _Connection) -> None:
        """Whom we left ourselves says nothing of a server."""
        with self._lock:
            if self._endpoints[self._preferred] == failed.endpoint and not failed.is_left:
                self._preferred = (self._preferred + 1) % len(self._endpoints)


class LineStream:
    """An answer without an end. Belongs to one thread."""

    def __init__(
        self, connection: _Connection, head: Head, closed: Callable[[_Connection], None], secrets: Sequence[str]
    ) -> None:
        self.status = head.status
        self._secrets = secrets
        self._closed = closed
        self._connection = connection
        self._lines = Lines(REPLY_BYTES_MAX)

    def line(self, timeout_s: float) -> bytes | None:
        """Return the next line; None if none came within `timeout_s`. Raises KvUnavailable when the server hung up."""
        self._connection.deadline = time.monotonic() + max(
            timeout_s, 0.001
        )  # what has come is read without patience too
        try:
            return self._next()
        except TimeoutError:
            return None
        except (OSError, BadResponse) as error:
            raise self._connection.failed(error, was_sent=True).as_unavailable() from error
        except AnswerTooLong as error:
            raise KvError(f"{self._connection.endpoint}: {error}") from error

    def _next(self) -> bytes:
        while (line := self._lines.next()) is None:
            if not (piece := self._connection.more()):
                raise BadResponse("the connection was closed")
            self._lines.add(piece)
        return bytes(without_secrets(line, self._secrets))

    def close(self) -> None:
        self._closed(self._connection)
        self._connection.discard()


class _Failed(Exception):
    """No answer. was_sent: the server may have seen the request. was_left: we hung up."""

    def __init__(self, endpoint: Endpoint, reason: str, *, was_sent: bool, was_left: bool = False) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.was_sent = was_sent
        self._was_left = was_left

    def as_unavailable(self) -> KvUnavailable:
        return (ServerLeft if self._was_left else KvUnavailable)(str(self))


class _Connection(Connection):
    """To one of the servers. is_left: we end it, as the server is no good any more."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, files: TlsFiles | None) -> None:
        super().__init__(Origin(name=str(endpoint), host=endpoint.host, port=endpoint.port, tls=tls))
        self.endpoint = endpoint
        self.is_left = False
        self._files = files

    def reply(self, request: StoreRequest) -> StoreResponse:
        try:
            answer = self._asked(lambda: self.exchange(request, body_max=REPLY_BYTES_MAX))
        except AnswerTooLong as error:
            raise KvError(f"{self.endpoint}: {error}") from error
        body = without_secrets(answer.body, request.secrets)
        return StoreResponse(answer.status, answer.headers, body, server=self.endpoint)

    def stream_head(self, request: StoreRequest) -> Head:
        return self._asked(lambda: self.begin(request))

    def failed(self, reason: Exception | str, *, was_sent: bool) -> _Failed:
        self.discard()
        text = explained(reason, self._files)
        return _Failed(self.endpoint, text, was_sent=was_sent, was_left=self.is_left)

    def _asked(self, ask: Callable[[], A]) -> A:
        try:
            self.connect()
        except OSError as error:
            raise self.failed(error, was_sent=False) from error
        try:
            return ask()
        except (OSError, BadResponse) as error:
            raise self.failed(error, was_sent=True) from error
        except (AnswerTooLong, ValueError):
            self.discard()
            raise
