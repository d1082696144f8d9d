"""From the engine's description of a container to what a look needs of it. Pure, and trusts nothing that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from reconciler.container_engine.exchange import ANSWER_BYTES_MAX
from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import Response
from reconciler.model.containers import NoContainer
from reconciler.records.document import Misfit, json_object
from reconciler.records.lenient import mapping_of

_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
_PID_MAX: Final = 1 << 22
"""PID_MAX_LIMIT of linux/threads.h."""

_SHORT_ID: Final = 12
"""Hex digits of an id as people are shown it; fewer may be anybody's."""

_PATH_MAX: Final = 4096
_SHOWN_MAX: Final = 200
_FILES: Final = {"HostsPath": "hosts", "ResolvConfPath": "resolv.conf"}
"""Of an engine's description, and what they are mounted as below /etc."""


class Running(Struct, frozen=True, kw_only=True):
    """What an engine says of a container that may be joined. files: as in `Container`."""

    id: str
    pid: int
    files: tuple[tuple[str, str], ...]


def inspect_target(name: str) -> str:
    """Return what to ask for. name: of a container, its id, or at least the first twelve digits of that."""
    return f"/containers/{quote(name, safe='')}/json"


def described(engine: Path, name: str, reply: Response) -> Running | NoContainer:
    """Read what the engine at this socket says of a container. Raises ContainerEngineError when that makes no sense."""
    missing = NoContainer(
        reason=f"the engine at {engine} has no container {name}; create and start it with --network none"
    )
    if reply.status == 404:
        return missing
    if reply.status != 200:
        raise ContainerEngineError(f"{engine}: the engine answers {reply.status} when asked for container {name}")
    document = _document(name, reply.body)
    if not _is_meant(name, document):
        return missing
    mode = mapping_of(document, "HostConfig").get("NetworkMode")
    if mode != "none":
        return NoContainer(
            reason=f"container {name} has the network mode {_shown(mode)}, which is the engine's own business; "
            "create it with --network none",
            may_come=False,
        )
    state = mapping_of(document, "State")
    if state.get("Running") is not True or state.get("Pid") == 0:
        return NoContainer(reason=f"container {name} is not running; start it")
    return _running(name, document, state.get("Pid"))


def _is_meant(name: str, document: Mapping[str, object]) -> bool:
    """An engine that has no container of the name gives one whose id begins so: `db` may well be the beginning of another's."""
    found, container_id = document.get("Name"), document.get("Id")
    if not isinstance(found, str) or found.removeprefix("/") == name:
        return True
    return len(name) >= _SHORT_ID and isinstance(container_id, str) and container_id.startswith(name)


def _running(name: str, document: Mapping[str, object], pid: object) -> Running:
    container_id = document.get("Id")
    if not isinstance(container_id, str) or not _ID.match(container_id):
        raise ContainerEngineError(f"the engine gives container {name} the id {_shown(container_id)}")
    if type(pid) is not int or not 0 < pid <= _PID_MAX:
        raise ContainerEngineError(f"the engine gives container {name} the process id {_shown(pid)}")
    return Running(id=container_id, pid=pid, files=tuple(_files(container_id, document)))


def _files(container_id: str, document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the engine's own files: they lie in a folder of the container's id. One that somebody else mounts there is theirs."""
    for field, name in _FILES.items():
        text = document.get(field)
        if isinstance(text, str) and len(text) < _PATH_MAX and text.startswith("/") and "\0" not in text:
            path = PurePosixPath(text)
            if path.name == name and container_id in path.parts and ".." not in path.parts:
                yield name, str(path)


def _document(name: str, body: bytes | bytearray) -> Mapping[str, object]:
    try:
        return json_object(body, ANSWER_BYTES_MAX)
    except Misfit as cause:
        raise ContainerEngineError(f"what the engine says of container {name} is {cause}") from cause


def _shown(value: object) -> str:
    return ascii(value)[:_SHOWN_MAX]
