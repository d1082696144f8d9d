"""Which containers there are: asked of the engine of this host, Docker's or Podman's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from reconciler.errors import ContainerEngineError
from reconciler.model.containers import ContainerAnswer, NoContainer

if TYPE_CHECKING:
    from reconciler.container_engine.events import EventStream

DEFAULT_SOCKETS: Final = (Path("/run/docker.sock"), Path("/run/podman/podman.sock"))
TIMEOUT_S: Final = 2.0
_TIMEOUT_EACH_S: Final = 0.01
"""On top, for each container that is asked for."""


class Containers(Protocol):
    """Who knows of containers. Each answer is as of some moment not long ago; a container's process may have ended since."""

    def find(self, names: Iterable[str]) -> Mapping[str, ContainerAnswer]:
        """Return an answer for each name or id. Never raises; does not take longer than a few seconds."""


class ContainerEngine:
    """One engine: at `socket`, or at the first of the usual ones that is there. Holds nothing open."""

    def __init__(self, socket: Path | None = None) -> None:
        self._sockets = DEFAULT_SOCKETS if socket is None else (socket,)

    def find(self, names: Iterable[str]) -> Mapping[str, ContainerAnswer]:
        names = tuple(names)
        return {
            name: NoContainer(reason=str(answer)) if isinstance(answer, ContainerEngineError) else answer
            for name, answer in zip(names, self.ask(names), strict=True)
        }

    def ask(self, names: Sequence[str]) -> list[ContainerAnswer | ContainerEngineError]:
        """Return the answers in the order of the names; an error where the engine gave none."""
        if not names:
            return []
        from reconciler.container_engine.inquiry import inspected  # HTTP is imported by who joins containers

        return inspected(self.socket, names, TIMEOUT_S + _TIMEOUT_EACH_S * len(names))

    def events(self) -> EventStream:
        """Begin to listen. Raises ContainerEngineError."""
        from reconciler.container_engine.events import EventStream

        return EventStream(self.socket, TIMEOUT_S)

    @property
    def socket(self) -> Path:
        """Where the engine listens, or would. One that ended badly leaves its socket, and none takes its place meanwhile."""
        return next((path for path in self._sockets if os.path.exists(path)), self._sockets[0])
