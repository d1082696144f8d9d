"""A VXLAN device that is up, a port of `master`; its UDP socket stays in the host's namespace, which is the underlay."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.ip import IPAddress
from reconciler.model.kinds.base import OfLink, Traits, made_link, these, where


class Vxlan(OfLink, frozen=True, kw_only=True):
    """A VXLAN device that is up, a port of `master`; its UDP socket stays in the host's namespace, which is the underlay.

    vni: 24 bits (RFC 7348). local: our VTEP; None: chosen by routing. port: UDP. mtu: bytes, of the inner packets.
    is_proxy: answers ARP and neighbour solicitations from its neighbour table. No link-local address.
    """

    kind: ClassVar[str] = "Vxlan"
    traits: ClassVar[Traits] = made_link(
        25,
        "vxlan",
        these("vni", "local", "port", "is_learning", "is_proxy"),
        these("master", "is_up"),
        is_endpoint_link=False,
    )
    ns: NsRef
    ifname: str
    master: str
    vni: int
    local: IPAddress | None
    port: int
    mtu: int
    is_learning: bool = False
    is_proxy: bool = True
    is_up: bool = True

    def describe(self) -> str:
        return f"vxlan {self.ifname} on {self.master} (vni {self.vni}, mtu {self.mtu}){where(self.ns)}"
