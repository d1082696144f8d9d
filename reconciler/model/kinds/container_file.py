"""/etc/hosts or /etc/resolv.conf of one container: the engine's own file at `path`, which it mounts into the container."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import NO_FIELDS, UNFELT, Apart, Key, Kind, OwnerLookup, Traits, inside_out
from reconciler.model.units import Unit


class ContainerFile(Apart, frozen=True, kw_only=True):
    """/etc/hosts or /etc/resolv.conf of one container: the engine's own file at `path`, which it mounts into the container.

    process: the container's, as `Container` has it; the engine writes the file anew for each.
    """

    kind: ClassVar[str] = "ContainerFile"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(85),
        immutable=NO_FIELDS,
        felt=UNFELT,
        is_exclusive=False,
        is_endpoint_link=False,
        memory="container_files",
    )
    uncompared: ClassVar[frozenset[str]] = Kind.uncompared | {"process"}
    attachment: str
    name: str
    path: str
    content: str
    process: NsRef = NsRef("")

    @property
    def key(self) -> Key:
        return (self.kind, self.attachment, self.name)

    def describe(self) -> str:
        return f"file {self.name} in the container of {self.attachment}"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return Unit(attachment=self.attachment)
