"""A bridge device that is up."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import NO_FIELDS, OfLink, Traits, made_link, these, where


class Bridge(OfLink, frozen=True, kw_only=True):
    """A bridge device that is up.

    mtu: bytes. has_ipv6: whether it takes IPv6 packets at all, has_link_local: whether it makes itself an fe80:: address (both
    wanted on IPv6 networks only). heeds_routers: whether it takes addresses and routes from router advertisements, which any
    sandbox can send. mark: its alias on the host, see `model.marks`.
    """

    kind: ClassVar[str] = "Bridge"
    traits: ClassVar[Traits] = made_link(20, "bridge", NO_FIELDS, these("mac", "is_up"), is_endpoint_link=False)
    ns: NsRef
    ifname: str
    mac: str
    mtu: int
    has_ipv6: bool = False
    has_link_local: bool = False
    heeds_routers: bool = False
    is_up: bool = True
    mark: str = ""

    def describe(self) -> str:
        return f"bridge {self.ifname} (mtu {self.mtu}){where(self.ns)}"
