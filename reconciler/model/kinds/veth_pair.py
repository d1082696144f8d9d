"""A veth pair whose near side is up, a port of `master`; the peer sits in the sandbox under its final name."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import OfLink, OwnerLookup, Places, Traits, made_link, these
from reconciler.model.units import Unit


class VethPair(OfLink, frozen=True, kw_only=True):
    """A veth pair whose near side is up, a port of `master`; the peer sits in the sandbox under its final name.

    The peer's own state is a `LinkUp`. Near side: no link-local address (addrgenmode none).
    peer_ns: as observed it may be "?" when the peer is in no namespace that we looked into. mtu: as observed 0 says that the
    two ends differ.
    """

    kind: ClassVar[str] = "VethPair"
    traits: ClassVar[Traits] = made_link(
        30, "veth", these("peer_ns", "peer_ifname"), these("master", "peer_mac", "is_up"), is_endpoint_link=True
    )
    ns: NsRef
    ifname: str
    master: str
    mtu: int
    peer_ns: NsRef
    peer_ifname: str
    peer_mac: str
    is_hairpin: bool = False
    is_up: bool = True

    def describe(self) -> str:
        peer = f"{self.peer_ifname} in {self.peer_ns}" if self.peer_ifname else "a peer out of sight"
        return f"veth {self.ifname} on {self.master} to {peer} (mtu {self.mtu})"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return owners.of_host_link(self.ifname)

    def touches(self) -> tuple[NsRef, ...]:
        return self.ns, self.peer_ns

    def carries(self) -> Places:
        return (self.ns, self.ifname), (self.peer_ns, self.peer_ifname)

    def sandbox(self) -> NsRef:
        return self.peer_ns
