"""A link in a sandbox that is administratively up: `lo`, a veth's peer, a macvlan. Never deleted by itself."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import (
    NO_FIELDS,
    Disruption,
    Felt,
    IsOwnLink,
    Key,
    Kind,
    OnLink,
    Traits,
    inside_out,
    where,
)


class LinkUp(OnLink, frozen=True, kw_only=True):
    """A link in a sandbox that is administratively up: `lo`, a veth's peer, a macvlan. Never deleted by itself."""

    kind: ClassVar[str] = "LinkUp"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(50),
        immutable=NO_FIELDS,
        felt=Felt(update=Disruption.LIVE, delete=Disruption.NONE),
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
        is_removable=False,
    )
    ns: NsRef
    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"link {self.ifname} up{where(self.ns)}"

    def is_barred_by(self, found: Kind, is_own_link: IsOwnLink) -> bool:
        return self.ifname != "lo"
