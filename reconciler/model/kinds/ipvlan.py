"""An ipvlan link in a sandbox; all on one parent share its MAC address. mode: l2, l3 or l3s. flag: bridge, private or vepa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import FELT_AS_LINK, OnParent, Traits, inside_out, these, where


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipvlan(OnParent):
    """An ipvlan link in a sandbox; all on one parent share its MAC address. mode: l2, l3 or l3s. flag: bridge, private or vepa.

    Otherwise as `Macvlan`.
    """

    kind: ClassVar[str] = "Ipvlan"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(30),
        immutable=these("parent", "mode", "flag"),
        felt=FELT_AS_LINK,
        is_exclusive=True,
        is_endpoint_link=True,
        memory="",
        link_kind="ipvlan",
    )
    ns: NsRef
    ifname: str
    parent: str
    mode: str
    flag: str
    mtu: int

    def describe(self) -> str:
        kind = f"{self.mode} {self.flag}"
        return f"ipvlan {self.ifname} on {self.parent or '?'} ({kind}, mtu {self.mtu}){where(self.ns)}"
