"""What the parts of a service are put into, one after the other. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from reconciler.importing.compose.networks import Network
from reconciler.importing.compose.replicas import Replica
from reconciler.importing.compose.tree import Node, Notes
from reconciler.importing.values import NotCarried, Path


class Project(Struct, frozen=True, kw_only=True):
    """networks: by key. names: of networks in the specs, by what Compose calls them. replicas: by service.

    joined: keys of the networks that some container is on, which is found out when it is looked at. are_containers:
    Compose starts them, so they have sandboxes already.
    """

    networks: Mapping[str, Network]
    names: Mapping[str, str]
    replicas: Mapping[str, tuple[Replica, ...]]
    notes: Notes
    joined: set[str]
    are_containers: bool


class Parts(Struct, frozen=True):
    """An attachment in the making."""

    body: dict[str, object] = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)
    not_carried: list[NotCarried] = field(default_factory=list)

    def put(self, path: Path, value: object, node: Node) -> None:
        if path and len(path) == 1:
            self.body[str(path[0])] = value
        self.places[path] = str(node.place)

    def left_out(self, node: Node, what: str, why: str) -> None:
        self.not_carried.append(NotCarried(where=str(node.key), what=what, why=why))
