"""Serve /metrics and /healthz on a socket, from the watcher's own loop: a watcher that hangs does not say that it is well.

As much HTTP as a scraper and a health probe speak (RFC 9112): one request per connection, no body. Everything is bounded: how many
clients, how long a request, how long it may take. Slow clients are dropped; nothing here waits.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import selectors
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

from reconciler.errors import ConfigError
from reconciler.watch.metrics import Metrics

CLIENTS_MAX: Final = 16
REQUEST_MAX: Final = 4096
TIMEOUT_S: Final = 5.0
_BACKLOG: Final = 64
_PATH_MAX: Final = 107
"""sun_path less the terminating zero (unix(7))."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `unix` a path, or `host` (an IP address, as written) and `port`."""

    unix: Path | None = None
    host: str = ""
    port: int = 0


def parse_address(text: str) -> Address:
    """Read `unix:/PATH`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises ConfigError."""
    if text.startswith("unix:/") and "\0" not in text and len(os.fsencode(text)) - len("unix:") <= _PATH_MAX:
        return Address(unix=Path(text.removeprefix("unix:")))
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host)
    except ValueError:
        address = None
    is_bracketed = host.startswith("[")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536
    if address is None or not is_port or is_bracketed != (address.version == 6):
        raise ConfigError(f"metrics: expected unix:/PATH, 127.0.0.1:PORT or [::1]:PORT, not {text[:200]!r}")
    return Address(host=str(address), port=int(port))


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    until_s: float
    request: bytes = b""
    answer: memoryview = field(default_factory=lambda: memoryview(b""))


class MetricsServer:
    """Readable (`fileno`) when there is something to do, which `serve` does. Raises ConfigError when it cannot listen."""

    def __init__(self, address: Address, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._address, self._metrics, self._clock = address, metrics, clock
        self._listener = _listening(address)
        self._own_inode = os.stat(address.unix).st_ino if address.unix else 0
        self._selector = selectors.EpollSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._clients: dict[int, _Client] = {}
        self._deaf_until_s = 0.0

    def fileno(self) -> int:
        return self._selector.fileno()

    def serve(self) -> None:
        """Do what can be done without waiting. Call when readable, and now and then to let go of slow clients."""
        self._keep_time()
        for key, _ in self._selector.select(0):
            client = self._clients.get(key.fd)
            if key.fileobj is self._listener:
                self._accept()
            elif client is not None:  # else it was dropped a moment ago
                (self._write if client.answer else self._read)(client)

    def close(self) -> None:
        """Stop serving; a unix socket's file goes unless another one has taken its place."""
        for client in tuple(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        if self._address.unix:
            with suppress(OSError):
                if os.lstat(self._address.unix).st_ino == self._own_inode:
                    os.unlink(self._address.unix)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._be_deaf()
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS_MAX:
            self._drop(min(self._clients.values(), key=lambda client: client.until_s))
        client = _Client(connection, self._clock() + TIMEOUT_S)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)
        self._read(client)

    def _be_deaf(self) -> None:
        """Without descriptors to spare the listener would stay readable, and keep the watcher's loop spinning."""
        self._selector.unregister(self._listener)
        self._deaf_until_s = self._clock() + TIMEOUT_S

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(REQUEST_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.request += data
        if not data:
            self._drop(client)
        elif len(client.request) > REQUEST_MAX:
            self._answer(client, _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        elif b"\r\n\r\n" in client.request or b"\n\n" in client.request:
            self._answer(client, self._response(client.request))

    def _answer(self, client: _Client, response: bytes) -> None:
        client.answer = memoryview(response)
        self._selector.modify(client.socket, selectors.EVENT_WRITE)
        self._write(client)

    def _write(self, client: _Client) -> None:
        try:
            sent = client.socket.send(client.answer)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.answer = client.answer[sent:]
        if not client.answer:
            with suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            self._drop(client)

    def _response(self, request: bytes) -> bytes:
        words = request.split(b"\n", 1)[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        if words[0] not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED)
        return self._page(words[1].split(b"?", 1)[0], is_head=words[0] == b"HEAD")

    def _page(self, path: bytes, *, is_head: bool) -> bytes:
        if path == b"/metrics":
            content_type, content = self._metrics.page()
            return _response(HTTPStatus.OK, content, content_type, is_head=is_head)
        if path == b"/healthz":
            health = self._metrics.health()
            status = HTTPStatus.OK if health.is_well else HTTPStatus.SERVICE_UNAVAILABLE
            return _response(status, f"{health.reason}\n".encode(errors="replace"), is_head=is_head)
        return _response(HTTPStatus.NOT_FOUND, is_head=is_head)

    def _keep_time(self) -> None:
        now = self._clock()
        if self._deaf_until_s and self._deaf_until_s <= now:
            self._deaf_until_s = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)
        for client in tuple(self._clients.values()):
            if client.until_s <= now:
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        del self._clients[client.socket.fileno()]
        client.socket.close()


class ServedMetrics(Metrics):
    """Counts, and serves what it counted each time the watcher's loop turns. Raises ConfigError when it cannot listen."""

    def __init__(self, address: Address, quiet_max_s: float) -> None:
        super().__init__(quiet_max_s)
        self._server = MetricsServer(address, self)

    def fileno(self) -> int:
        return self._server.fileno()

    def serve(self) -> None:
        """Answer who asks, without waiting."""
        self._server.serve()

    def beat(self) -> None:
        self._server.serve()

    def close(self) -> None:
        self._server.close()


def _response(
    status: HTTPStatus, content: bytes = b"", content_type: str = "text/plain; charset=utf-8", *, is_head: bool = False
) -> bytes:
    content = content or f"{status.value} {status.phrase}\n".encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
    return head if is_head else head + content


def _listening(address: Address) -> socket.socket:
    try:
        return _listening_unix(address.unix) if address.unix else _listening_tcp(address)
    except OSError as error:
        where = f"unix:{address.unix}" if address.unix else f"{address.host} port {address.port}"
        raise ConfigError(f"metrics: cannot listen at {where}: {error.strerror or error}") from error


def _listening_tcp(address: Address) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        return _started(listener)
    except OSError:
        listener.close()
        raise


def _listening_unix(path: Path) -> socket.socket:
    """Take the place of a socket that nobody listens at any more; anything else there is in the way. Readable by our group."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_dead(path)
        before = os.umask(0o117)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        return _started(listener)
    except OSError:
        listener.close()
        raise


def _started(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    return listener


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is something else than a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.setblocking(False)
        try:
            asker.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return  # somebody listens and has no time: bind says so
