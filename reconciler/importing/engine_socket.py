"""What an engine tells over its socket of its networks and containers, all of it within a deadline and bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from reconciler.container_engine.exchange import ANSWER_BYTES_MAX, EngineResponse, ask
from reconciler.container_engine.inspection import inspect_target
from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import Response
from reconciler.importing.engine import read_docker
from reconciler.importing.podman import read_podman
from reconciler.importing.values import Imported, NotCarried
from reconciler.records.document import Misfit, json_object, json_value
from reconciler.records.lenient import items_of, text_of

Document = Mapping[str, object]

TIMEOUT_S: Final = 10.0
_TIMEOUT_EACH_S: Final = 0.05
"""On top, for each container that is described."""

_LIST_BYTES_MAX: Final = 32 << 20
"""Of a list; an entry is some kB long."""

_CONTAINERS_MAX: Final = 10_000
"""Of which each is asked for by itself."""

_VERSION: Final = "/version"
_CONTAINERS: Final = "/containers/json?all=true"
_NETWORKS: Final = "/networks"
_PODMAN_NETWORKS: Final = "/v4.0.0/libpod/networks/json"
_PODMAN: Final = "Podman Engine"


def read_engine(
    socket: Path, *, with_stopped: bool, joined: Iterable[str] = (), parent: str = "", timeout_s: float = TIMEOUT_S
) -> Imported:
    """Ask the engine, Docker's or Podman's. Raises ContainerEngineError when it does not answer, or not as one.

    joined: containers that specs join already. parent: the link of the host's default route.
    """
    version, listed = _replies(socket, (_VERSION, _CONTAINERS), timeout_s)
    is_podman = _is_podman(_object(socket, _VERSION, version))
    target = _PODMAN_NETWORKS if is_podman else _NETWORKS
    networks = _list(socket, target, _replies(socket, (target,), timeout_s)[0])
    ids = list(filter(None, (text_of(each, "Id") for each in _list(socket, _CONTAINERS, listed))))
    if len(ids) > _CONTAINERS_MAX:
        raise ContainerEngineError(
            f"{socket}: the engine has {len(ids)} containers, more than {_CONTAINERS_MAX}: remove what is old"
        )
    containers, not_carried = _described(socket, ids, timeout_s + _TIMEOUT_EACH_S * len(ids))
    if is_podman:
        found = read_podman(networks, containers, with_stopped=with_stopped, joined=joined, parent=parent)
    else:
        found = read_docker(networks, containers, with_stopped=with_stopped, joined=joined)
    return Imported(
        networks=found.networks, attachments=found.attachments, not_carried=(*found.not_carried, *not_carried)
    )


def _is_podman(version: Document) -> bool:
    names = (each.get("Name") for each in items_of(version, "Components") if isinstance(each, Mapping))
    return _PODMAN in names


def _replies(socket: Path, targets: Sequence[str], timeout_s: float) -> list[Response]:
    return [_whole(socket, target, reply) for target, reply in _asked(socket, targets, timeout_s, _LIST_BYTES_MAX)]


def _asked(
    socket: Path, targets: Sequence[str], timeout_s: float, body_max: int
) -> Iterable[tuple[str, EngineResponse]]:
    return zip(targets, ask(socket, targets, timeout_s, body_max=body_max), strict=True)


def _whole(socket: Path, target: str, reply: EngineResponse) -> Response:
    if isinstance(reply, ContainerEngineError):
        raise reply
    if reply.status != 200:
        raise ContainerEngineError(f"{socket}: the engine answers {reply.status} when asked for {target}")
    return reply


def _object(socket: Path, target: str, reply: Response) -> Document:
    try:
        return json_object(reply.body, _LIST_BYTES_MAX)
    except Misfit as cause:
        raise ContainerEngineError(f"{socket}: what the engine says to {target} is {cause}") from cause


def _list(socket: Path, target: str, reply: Response) -> list[Document]:
    try:
        found = json_value(reply.body, _LIST_BYTES_MAX)
    except Misfit as cause:
        raise ContainerEngineError(f"{socket}: what the engine says to {target} is {cause}") from cause
    if not isinstance(found, list):
        raise ContainerEngineError(f"{socket}: what the engine says to {target} is no list")
    return [each for each in found if isinstance(each, dict)]


def _described(socket: Path, ids: Sequence[str], timeout_s: float) -> tuple[list[Document], list[NotCarried]]:
    """Return what is said of each container, and of which nothing is. One that went since it was listed is not told of."""
    found, not_carried = [], []
    targets = [inspect_target(each) for each in ids]
    replies = _asked(socket, targets, timeout_s, ANSWER_BYTES_MAX)
    for container_id, (target, reply) in zip(ids, replies, strict=True):
        if isinstance(reply, ContainerEngineError):
            raise reply
        if reply.status == 404:
            continue
        try:
            found.append(_object(socket, target, _whole(socket, target, reply)))
        except ContainerEngineError as error:
            not_carried.append(NotCarried(where=f"container {container_id[:12]}", what="the container", why=str(error)))
    return found, not_carried
