"""Bridges of others that networks take over."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.adoption import Found
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import NO_FIELDS, Disruption, Felt, OfLink, Places, Traits, inside_out, where


class AdoptedBridge(OfLink, frozen=True, kw_only=True):
    """A bridge of others on the host that a network takes over and gives back; what is on it stays theirs.

    Only what stands here is ever changed of it; its MAC is kept, and held fast. is_adopted: it carries our mark. found: how it was,
    where that is known; tells how it is given back, and makes no difference between two.
    """

    kind: ClassVar[str] = "AdoptedBridge"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(20),
        immutable=NO_FIELDS,
        felt=Felt(Disruption.LIVE, Disruption.NONE),
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
        is_lent=True,
    )
    uncompared: ClassVar[frozenset[str]] = frozenset({"unit", "found"})
    ns: NsRef
    ifname: str
    mtu: int
    has_ipv6: bool
    is_up: bool = True
    mark: str = ""
    is_adopted: bool = True
    found: Found | None = None

    def describe(self) -> str:
        return f"bridge {self.ifname} of others (mtu {self.mtu}){where(self.ns)}"

    def carries(self) -> Places:
        """It stays, and so does what is on it."""
        return ()

    def disruption_of_delete(self) -> Disruption:
        """What others have on it notices when it goes back to another MTU, or down."""
        if self.found is None or (self.found.mtu, self.found.is_up) == (self.mtu, self.is_up):
            return Disruption.NONE
        return Disruption.LIVE if self.found.is_up else Disruption.RECREATE
