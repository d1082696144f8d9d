"""/etc/hosts or /etc/resolv.conf of one sandbox: <run-dir>/sandboxes/<attachment>/<name>."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.kinds.base import NO_FIELDS, UNFELT, Apart, Key, OwnerLookup, Traits, inside_out
from reconciler.model.units import Unit


class SandboxFile(Apart, frozen=True, kw_only=True):
    """/etc/hosts or /etc/resolv.conf of one sandbox: <run-dir>/sandboxes/<attachment>/<name>.

    netns_name: where `ip netns exec` shall find it too, a link from /etc/netns/<netns_name>/<name>; "" for none.
    """

    kind: ClassVar[str] = "SandboxFile"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(80), immutable=NO_FIELDS, felt=UNFELT, is_exclusive=True, is_endpoint_link=False, memory="files"
    )
    attachment: str
    name: str
    content: str
    netns_name: str = ""

    @property
    def key(self) -> Key:
        return (self.kind, self.attachment, self.name)

    def describe(self) -> str:
        return f"file {self.name} of {self.attachment}"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return Unit(attachment=self.attachment)

    def found_as(self) -> str:
        """What is in the way stands where our link shall be."""
        return f"/etc/netns/{self.netns_name}/{self.name}" if self.netns_name else self.describe()
