"""What an engine tells of its containers as it happens (`/events`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.container_engine.exchange import connected, translated
from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import Request
from reconciler.http.lines import Lines
from reconciler.records.document import Misfit, json_value

_TARGET: Final = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D"
_LINE_MAX: Final = 1 << 20
_READ_S: Final = 0.001
"""Who reads was told that there is something; what has come is read without patience."""

_TELLING: Final = frozenset(
    {"create", "start", "restart", "die", "died", "stop", "unpause", "rename", "destroy", "remove", "cleanup"}
)
"""After these a container may be another one, or none. The rest, as commands run in it, leave it as it is."""


class ContainerEvent(Struct, frozen=True, kw_only=True):
    """Something happened to this container. names: what it is called, and was."""

    id: str
    names: frozenset[str]

    def concerns(self, name: str) -> bool:
        """Return whether somebody who calls a container so means this one. name: its name, its id, or the beginning of that."""
        return name in self.names or self.id.startswith(name)


class EventStream:
    """Readable when there is something to tell. Raises ContainerEngineError when the engine does not begin in time.

    path: of the engine's socket.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self._lines = Lines(_LINE_MAX)
        with connected(path, time.monotonic() + timeout_s, "it does not tell of events in time") as self._connection:
            try:
                head = self._connection.begin(Request(method="GET", target=_TARGET))
                if head.status != 200:
                    raise ContainerEngineError(f"{path}: it answers {head.status} when asked for events")
            except BaseException:
                self.close()
                raise

    def fileno(self) -> int:
        return self._connection.connect().fileno()

    def close(self) -> None:
        self._connection.discard()

    def read(self) -> list[ContainerEvent]:
        """Return what has come. Raises ContainerEngineError when nothing will come any more."""
        self._connection.deadline = time.monotonic() + _READ_S
        with translated(self.path, ""):
            try:
                piece = self._connection.more()
            except TimeoutError:  # what came is no whole piece
                return []
            if not piece:
                raise ContainerEngineError(f"{self.path}: the engine has hung up")
            self._lines.add(piece)
            return [event for line in self._lines.whole() for event in _events(line)]


def _events(line: bytes) -> Iterator[ContainerEvent]:
    """Read one line; nothing for what is none of our business or makes no sense."""
    try:
        match json_value(line, _LINE_MAX):
            case {"Action": str(action), "Actor": {"ID": str(container), "Attributes": dict(attributes)}}:
                if action in _TELLING:
                    yield ContainerEvent(id=container, names=frozenset(_names(attributes)))
    except Misfit:
        return


def _names(attributes: dict[str, object]) -> Iterator[str]:
    for key in ("name", "oldName"):
        name = attributes.get(key)
        if isinstance(name, str):
            yield name.removeprefix("/")
