"""A network plugin that answers what a test tells it to, well or badly, and keeps every request as it came."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import patient

Arguments = Mapping[str, Any]
Behaviour = Callable[[socket.socket, threading.Event], None]
"""Does what it does on a connection that a request came in by; the event says that the test is over."""

Answer = Mapping[str, Any] | Behaviour | Callable[[Arguments], Mapping[str, Any]]

GOOD: Mapping[str, Answer] = {
    "Plugin.Activate": {"Implements": ["NetworkDriver"]},
    "NetworkDriver.GetCapabilities": {"Scope": "local"},
    "NetworkDriver.CreateNetwork": {},
    "NetworkDriver.DeleteNetwork": {},
    "NetworkDriver.CreateEndpoint": {"Interface": {}},
    "NetworkDriver.DeleteEndpoint": {},
    "NetworkDriver.EndpointOperInfo": {"Value": {}},
    "NetworkDriver.Join": {},
    "NetworkDriver.Leave": {},
}


@dataclass(slots=True, kw_only=True)
class ScriptedPlugin:
    """answers: by method, those of GOOD where nothing else is said; a method without any is answered by 404.

    requests: head and body of each, in order. calls: the same as method and arguments.
    """

    answers: dict[str, Answer] = field(default_factory=lambda: dict(GOOD))
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def called(self, *methods: str) -> list[str]:
        """Give the methods that were called, in order; only `methods` when any are given."""
        return [method for method, _ in self.calls if not methods or method in methods]

    @contextlib.contextmanager
    def serving(self, path: Path, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedPlugin]:
        """Listen at a Unix socket meanwhile."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(path))
            with self._accepting(server, tls):
                yield self
        path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def serving_tcp(self, tls: ssl.SSLContext | None = None) -> Iterator[int]:
        """Listen on 127.0.0.1 meanwhile; give the port."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind(("127.0.0.1", 0))
            with self._accepting(server, tls):
                yield server.getsockname()[1]

    @contextlib.contextmanager
    def _accepting(self, server: socket.socket, tls: ssl.SSLContext | None) -> Iterator[None]:
        server.listen(64)
        self._is_over.clear()
        thread = threading.Thread(target=self._accept, args=(server, tls), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(patient(5))
            assert not thread.is_alive()

    def _accept(self, server: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                connection, _ = server.accept()
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(patient(10))
                    secured = tls.wrap_socket(connection, server_side=True) if tls is not None else connection
                    with secured:
                        self._serve(secured)

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (piece := connection.recv(65536)):
                return
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))[15:])
        while len(body) < length:
            body += connection.recv(65536)
        method = head.split(b" ")[1].decode().removeprefix("/")
        arguments = json.loads(body) if body else None
        self.requests.append((head, body))
        self.calls.append((method, arguments))
        self._answer(connection, method, arguments)

    def _answer(self, connection: socket.socket, method: str, arguments: Any) -> None:
        answer = self.answers.get(method)
        if answer is None:
            http(404, b"404 page not found\n")(connection, self._is_over)
        elif isinstance(answer, Mapping):
            http(200, json.dumps(answer).encode())(connection, self._is_over)
        elif isinstance(answer, _Behaviour):
            answer(connection, self._is_over)
        else:
            http(200, json.dumps(answer(arguments)).encode())(connection, self._is_over)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class _Behaviour:
    act: Behaviour

    def __call__(self, connection: socket.socket, is_over: threading.Event) -> None:
        self.act(connection, is_over)


def http(status: int, body: bytes, *, announced: int | None = None) -> _Behaviour:
    """Answer so. announced: the length that is said, where it is not the real one."""

    def act(connection: socket.socket, _: threading.Event) -> None:
        length = len(body) if announced is None else announced
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + body)

    return _Behaviour(act)


def raw(content: bytes) -> _Behaviour:
    return _Behaviour(lambda connection, _: connection.sendall(content))


def hang() -> _Behaviour:
    """Say nothing until the caller goes away or the test is over."""

    def act(connection: socket.socket, is_over: threading.Event) -> None:
        connection.settimeout(0.02)
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    return

    return _Behaviour(act)


def drip() -> _Behaviour:
    """Answer a byte now and then, without an end."""

    def act(connection: socket.socket, is_over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not is_over.wait(0.02):
            connection.sendall(b" ")

    return _Behaviour(act)


def flood(size_bytes: int) -> _Behaviour:
    """Answer with that many bytes, for as long as the caller takes them."""

    def act(connection: socket.socket, is_over: threading.Event) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size_bytes}\r\n\r\n".encode())
        for _ in range(size_bytes // 65536):
            connection.sendall(b" " * 65536)

    return _Behaviour(act)
