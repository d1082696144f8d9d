"""A permanent forwarding entry of a VXLAN device: frames to `mac` go to the host with the underlay address `vtep`."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.ip import IPAddress
from reconciler.model.kinds.base import OF_REMOTE_ENDPOINTS, Key, OnLink, Traits, where


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
