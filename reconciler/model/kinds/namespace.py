"""A named network namespace made by us: /run/netns/<name>, as ip-netns(8) lays it out."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import NO_FIELDS, UNFELT, Key, Kind, OwnerLookup, Places, Traits, inside_out
from reconciler.model.units import Unit


class Namespace(Kind, frozen=True, kw_only=True):
    """A named network namespace made by us: /run/netns/<name>, as ip-netns(8) lays it out.

    Marked by `lo`: our link group, and our instance id as its alias.
    """

    kind: ClassVar[str] = "Namespace"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(10), immutable=NO_FIELDS, felt=UNFELT, is_exclusive=True, is_endpoint_link=False, memory=""
    )
    ns: NsRef
    name: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns)

    def describe(self) -> str:
        return f"namespace {self.name}"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return owners.of_namespace(self.ns)

    def owner_unknown(self) -> Unit:
        """It fails alone: somebody's process in it must not stop everything else."""
        return Unit(attachment=self.name)

    def touches(self) -> tuple[NsRef, ...]:
        return (self.ns,)

    def carries(self) -> Places:
        return ((self.ns,),)

    def sits_on(self) -> Places:
        return ()

    def sandbox(self) -> NsRef:
        return self.ns
