"""A container engine that says what a test wants, for what no real one does: hang, lie, flood, hang up."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import patient

CONTAINER_ID = "0123456789abcdef" * 4

Script = Callable[[socket.socket, str], None]
"""Is given a connection and the target that it asks for; the connection is closed afterwards."""


@contextmanager
def scripted_engine(path: Path, script: Script) -> Iterator[None]:
    """Listen at `path` meanwhile, each connection in a thread of its own."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(64)
        accepting = threading.Thread(target=_accept, args=(server, script), daemon=True)
        accepting.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join(patient(5))
            path.unlink()


def _accept(server: socket.socket, script: Script) -> None:
    with contextlib.suppress(OSError):  # the listening socket was shut down
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection, script), daemon=True).start()


def _serve(connection: socket.socket, script: Script) -> None:
    with connection, contextlib.suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request and (piece := connection.recv(65536)):
            request += piece
        if request:
            script(connection, request.decode().split()[1])


def hang(connection: socket.socket, _: str) -> None:
    """Answer nothing until the other side gives up."""
    connection.recv(1)


def saying(message: bytes) -> Script:
    """Answer with these bytes, whatever is asked."""

    def script(connection: socket.socket, _: str) -> None:
        connection.sendall(message)

    return script


def answer(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n".encode() + data


def container(pid: int, **changes: Any) -> dict[str, Any]:
    """Give the description of a container that runs and may be joined, as far as anybody reads it."""
    return {
        "Id": CONTAINER_ID,
        "Name": "/web",
        "State": {"Running": True, "Pid": pid},
        "HostConfig": {"NetworkMode": "none"},
        "HostsPath": f"/var/lib/docker/containers/{CONTAINER_ID}/hosts",
        "ResolvConfPath": f"/var/lib/docker/containers/{CONTAINER_ID}/resolv.conf",
        **changes,
    }
