"""Questions to an engine at its socket: several at once, all over by one deadline, whatever the engine does.

HTTP/1.0, so that an answer ends with its connection and comes without chunk frames.
"""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from reconciler.errors import ContainerEngineError

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of one answer, of which an engine's are some 10 kB; what is longer is refused rather than held in memory."""

_AT_ONCE: Final = 16
_PIECE: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    body: bytes


Answer = Reply | ContainerEngineError


@dataclass(slots=True)
class _Question:
    number: int
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)


def ask(path: Path, targets: Sequence[str], timeout_s: float) -> list[Answer]:
    """GET each target; one answer each, in the same order. Takes at most `timeout_s`, for all of them together."""
    deadline = time.monotonic() + timeout_s
    too_late = ContainerEngineError(f"{path}: no answer within {timeout_s:g} s; look after the container engine there")
    answers: list[Answer] = [too_late] * len(targets)
    waiting = list(reversed(list(enumerate(targets))))
    with selectors.DefaultSelector() as selector, ExitStack() as sockets:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < _AT_ONCE:
                number, target = waiting.pop()
                try:
                    question = _Question(number, sockets.enter_context(asked(path, target)))
                    selector.register(question.socket, selectors.EVENT_READ, question)
                except ContainerEngineError as error:
                    answers[number] = error
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            for key, _ in selector.select(left_s):
                answer = _received(path, key.data)
                if answer is not None:
                    answers[key.data.number] = answer
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
    return answers


def asked(path: Path, target: str) -> socket.socket:
    """Send a request, and give the socket that the answer will come from, which does not block. Raises ContainerEngineError."""
    request = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("ascii")
    connection = connected(path)
    try:
        if connection.send(request) != len(request):
            raise ContainerEngineError(f"{path}: it does not take a request")
    except OSError as cause:
        connection.close()
        raise ContainerEngineError(f"{path}: {cause.strerror or cause}") from cause
    except ContainerEngineError:
        connection.close()
        raise
    return connection


def connected(path: Path) -> socket.socket:
    """Give a connection that does not block. Raises ContainerEngineError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(str(path))
    except (OSError, ValueError) as cause:
        connection.close()
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        advice = "start it, or name its socket with --container-engine"
        raise ContainerEngineError(f"no container engine answers at {path}: {reason}; {advice}") from cause
    return connection


def _received(path: Path, question: _Question) -> Answer | None:
    """Take what has come; None while there is more to come."""
    try:
        piece = question.socket.recv(_PIECE)
    except BlockingIOError:
        return None
    except OSError as cause:
        return ContainerEngineError(f"{path}: {cause.strerror}")
    question.received += piece
    if len(question.received) > ANSWER_BYTES_MAX:
        return ContainerEngineError(f"{path}: an answer over {ANSWER_BYTES_MAX} bytes; this is no container engine")
    return None if piece else parsed(path, bytes(question.received))


def parsed(path: Path, message: bytes) -> Answer:
    """Read a whole answer, or the head of one as if it had no body."""
    response = http.client.HTTPResponse(cast(socket.socket, _Received(message)))
    try:
        response.begin()
        return Reply(status=response.status, body=response.read())
    except (http.client.HTTPException, OSError, ValueError) as cause:
        return ContainerEngineError(f"{path}: no answer of a container engine ({type(cause).__name__})")


class _Received:
    """All that HTTPResponse asks of a socket."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._message)
