"""What an engine tells of its containers as it happens (`/events`)."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.container_engine.exchange import Reply, asked, parsed
from reconciler.errors import ContainerEngineError

_TARGET: Final = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D"
_HEAD_MAX: Final = 1 << 16
_LINE_MAX: Final = 1 << 20
_PIECE: Final = 1 << 16

_TELLING: Final = frozenset(
    {"create", "start", "restart", "die", "died", "stop", "unpause", "rename", "destroy", "remove", "cleanup"}
)
"""After these a container may be another one, or none. The rest, as commands run in it, leave it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """Something happened to this container. names: what it is called, and was."""

    id: str
    names: frozenset[str]

    def concerns(self, name: str) -> bool:
        """Say whether somebody who calls a container so means this one. name: its name, its id, or the beginning of that."""
        return name in self.names or self.id.startswith(name)


class EventStream:
    """Readable when there is something to tell. Raises ContainerEngineError when the engine does not begin in time.

    path: of the engine's socket.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self._rest = b""
        self._socket = asked(path, _TARGET)
        try:
            self._begin(time.monotonic() + timeout_s)
        except ContainerEngineError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> list[ContainerEvent]:
        """Give what has come. Raises ContainerEngineError when nothing will come any more."""
        *lines, self._rest = (self._rest + self._received()).split(b"\n")
        if len(self._rest) > _LINE_MAX:
            raise ContainerEngineError(f"{self.path}: an event over {_LINE_MAX} bytes; this is no container engine")
        return [event for line in lines for event in _events(line)]

    def _begin(self, deadline: float) -> None:
        while b"\r\n\r\n" not in self._rest:
            if len(self._rest) > _HEAD_MAX:
                raise ContainerEngineError(f"{self.path}: no answer of a container engine")
            readable = select.poll()
            readable.register(self._socket, select.POLLIN)
            if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ContainerEngineError(f"{self.path}: it does not tell of events in time")
            self._rest += self._received()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        if b"\r\ntransfer-encoding:" in head.lower():
            raise ContainerEngineError(f"{self.path}: it answers HTTP/1.0 in chunks")
        begun = parsed(self.path, head.split(b"\r\n")[0] + b"\r\nContent-Length: 0\r\n\r\n")
        if not isinstance(begun, Reply):
            raise begun
        if begun.status != 200:
            raise ContainerEngineError(f"{self.path}: it answers {begun.status} when asked for events")

    def _received(self) -> bytes:
        try:
            piece = self._socket.recv(_PIECE)
        except BlockingIOError:
            return b""
        except OSError as cause:
            raise ContainerEngineError(f"{self.path}: {cause.strerror}") from cause
        if not piece:
            raise ContainerEngineError(f"{self.path}: the engine has hung up")
        return piece


def _events(line: bytes) -> Iterator[ContainerEvent]:
    """Read one line; nothing for what is none of our business or makes no sense."""
    try:
        match json.loads(line):
            case {"Action": str(action), "Actor": {"ID": str(container), "Attributes": dict(attributes)}}:
                if action in _TELLING:
                    yield ContainerEvent(id=container, names=frozenset(_names(attributes)))
    except (ValueError, RecursionError):
        return


def _names(attributes: dict[str, object]) -> Iterator[str]:
    for key in ("name", "oldName"):
        name = attributes.get(key)
        if isinstance(name, str):
            yield name.removeprefix("/")
