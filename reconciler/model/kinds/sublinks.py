"""Macvlan and ipvlan links in sandboxes, on a link of the host's own namespace."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import OnParent, Traits, made_link, these, where


class Macvlan(OnParent, frozen=True, kw_only=True):
    """A macvlan link in a sandbox, on a link of the host's own namespace. Its own state is a `LinkUp`.

    parent: as observed "" when it sits on no link of the host. mode: bridge, private, vepa or passthru. mtu: bytes.
    """

    kind: ClassVar[str] = "Macvlan"
    traits: ClassVar[Traits] = made_link(30, "macvlan", these("parent", "mode"), these("mac"), is_endpoint_link=True)
    ns: NsRef
    ifname: str
    parent: str
    mode: str
    mac: str
    mtu: int

    def describe(self) -> str:
        return f"macvlan {self.ifname} on {self.parent or '?'} ({self.mode}, mtu {self.mtu}){where(self.ns)}"


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
