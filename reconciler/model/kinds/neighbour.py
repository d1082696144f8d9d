"""A permanent neighbour entry on a VXLAN device: what its proxy answers for a remote endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.ip import IPAddress
from reconciler.model.kinds.base import FELT_LIVE, NO_FIELDS, Key, OnLink, Traits, inside_out, where


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour(OnLink):
    """A permanent neighbour entry on a VXLAN device: what its proxy answers for a remote endpoint."""

    kind: ClassVar[str] = "Neighbour"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(27),
        immutable=NO_FIELDS,
        felt=FELT_LIVE,
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
        is_news=True,
    )
    ns: NsRef
    ifname: str
    address: IPAddress
    mac: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, str(self.address))

    def describe(self) -> str:
        return f"neighbour {self.address} at {self.mac} on {self.ifname}{where(self.ns)}"
