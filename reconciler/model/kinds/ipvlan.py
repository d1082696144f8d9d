"""An ipvlan link in a sandbox; all on one parent share its MAC address. mode: l2, l3 or l3s. flag: bridge, private or vepa."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import OnParent, Traits, made_link, these, where


class Ipvlan(OnParent, frozen=True, kw_only=True):
    """An ipvlan link in a sandbox; all on one parent share its MAC address. mode: l2, l3 or l3s. flag: bridge, private or vepa.

    Otherwise as `Macvlan`.
    """

    kind: ClassVar[str] = "Ipvlan"
    traits: ClassVar[Traits] = made_link(30, "ipvlan", these("parent", "mode", "flag"), is_endpoint_link=True)
    ns: NsRef
    ifname: str
    parent: str
    mode: str
    flag: str
    mtu: int

    def describe(self) -> str:
        kind = f"{self.mode} {self.flag}"
        return f"ipvlan {self.ifname} on {self.parent or '?'} ({kind}, mtu {self.mtu}){where(self.ns)}"
