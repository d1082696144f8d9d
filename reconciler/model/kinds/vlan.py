"""A VLAN link of ours on a link of the host, for macvlan and ipvlan links to sit on. vlan_id: 1 to 4094 (IEEE 802.1Q)."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import OfLink, Places, Traits, made_link, these, upper_links_of, where


class Vlan(OfLink, frozen=True, kw_only=True):
    """A VLAN link of ours on a link of the host, for macvlan and ipvlan links to sit on. vlan_id: 1 to 4094 (IEEE 802.1Q).

    Its MTU is its parent's, and the host has no address on it, nor takes one from routers there: has_ipv6, as for `Bridge`.
    """

    kind: ClassVar[str] = "Vlan"
    traits: ClassVar[Traits] = made_link(20, "vlan", these("parent", "vlan_id"), these("is_up"), is_endpoint_link=False)
    ns: NsRef
    ifname: str
    parent: str
    vlan_id: int
    has_ipv6: bool = False
    is_up: bool = True

    def may_carry(self) -> Places:
        return (upper_links_of(self.ifname),)

    def describe(self) -> str:
        return f"vlan {self.ifname} (id {self.vlan_id}) on {self.parent or '?'}{where(self.ns)}"
