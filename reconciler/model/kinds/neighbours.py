"""What VXLAN devices know of endpoints on other hosts: permanent neighbour and forwarding entries."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.ip import IPAddress
from reconciler.model.kinds.base import OF_REMOTE_ENDPOINTS, Key, OnLink, Traits, where


class Neighbour(OnLink, frozen=True, kw_only=True):
    """A permanent neighbour entry on a VXLAN device: what its proxy answers for a remote endpoint."""

    kind: ClassVar[str] = "Neighbour"
    traits: ClassVar[Traits] = OF_REMOTE_ENDPOINTS
    ns: NsRef
    ifname: str
    address: IPAddress
    mac: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, str(self.address))

    def describe(self) -> str:
        return f"neighbour {self.address} at {self.mac} on {self.ifname}{where(self.ns)}"


class FdbEntry(OnLink, frozen=True, kw_only=True):
    """A permanent forwarding entry of a VXLAN device: frames to `mac` go to the host with the underlay address `vtep`.

    vtep: as observed None when it leads there by another port or VNI.
    """

    kind: ClassVar[str] = "FdbEntry"
    traits: ClassVar[Traits] = OF_REMOTE_ENDPOINTS
    ns: NsRef
    ifname: str
    mac: str
    vtep: IPAddress | None

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, self.mac)

    def describe(self) -> str:
        return f"fdb entry {self.mac} to {self.vtep} on {self.ifname}{where(self.ns)}"
