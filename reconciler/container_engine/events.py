"""What an engine tells of its containers as it happens (`/events`)."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.container_engine.exchange import advance, asked
from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import AnswerTooLong
from reconciler.http.lines import Lines
from reconciler.records.document import Misfit, json_value

_TARGET: Final = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D"
_LINE_MAX: Final = 1 << 20

_TELLING: Final = frozenset(
    {"create", "start", "restart", "die", "died", "stop", "unpause", "rename", "destroy", "remove", "cleanup"}
)
"""After these a container may be another one, or none. The rest, as commands run in it, leave it as it is."""


class ContainerEvent(Struct, frozen=True, kw_only=True):
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
        self._lines = Lines(_LINE_MAX)
        self._exchange = asked(path, _TARGET)
        try:
            self._begin(time.monotonic() + timeout_s)
        except ContainerEngineError:
            self._exchange.close()
            raise

    def fileno(self) -> int:
        return self._exchange.fileno()

    def close(self) -> None:
        self._exchange.close()

    def read(self) -> list[ContainerEvent]:
        """Give what has come. Raises ContainerEngineError when nothing will come any more."""
        advance(self.path, self._exchange)
        self._see_that_it_goes_on()
        self._lines.add(self._exchange.answering.take())
        try:
            return [event for line in self._lines.whole() for event in _events(line)]
        except AnswerTooLong as cause:
            raise ContainerEngineError(
                f"{self.path}: an event over {_LINE_MAX} bytes; this is no container engine"
            ) from cause

    def _begin(self, deadline: float) -> None:
        while (head := self._exchange.answering.head) is None:
            readable = select.poll()
            readable.register(self._exchange, select.POLLIN)
            if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ContainerEngineError(f"{self.path}: it does not tell of events in time")
            advance(self.path, self._exchange)
        if head.status != 200:
            raise ContainerEngineError(f"{self.path}: it answers {head.status} when asked for events")
        self._see_that_it_goes_on()

    def _see_that_it_goes_on(self) -> None:
        if self._exchange.answering.is_over:
            raise ContainerEngineError(f"{self.path}: the engine has hung up")


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
