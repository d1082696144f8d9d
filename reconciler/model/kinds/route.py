"""A unicast route of the main table. `gateway` None: on link."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.ip import IPAddress, IPNetwork
from reconciler.model.kinds.base import (
    FELT_LIVE,
    NO_FIELDS,
    IsOwnLink,
    Key,
    Kind,
    OnLink,
    Phase,
    Places,
    PlanStep,
    Traits,
    addresses_of,
    inside_out,
    where,
)


class Route(OnLink, frozen=True, kw_only=True):
    """A unicast route of the main table. `gateway` None: on link."""

    kind: ClassVar[str] = "Route"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(70), immutable=NO_FIELDS, felt=FELT_LIVE, is_exclusive=False, is_endpoint_link=False, memory=""
    )
    ns: NsRef
    destination: IPNetwork
    gateway: IPAddress | None
    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, str(self.destination))

    def describe(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"route {self.destination}{via} dev {self.ifname}{where(self.ns)}"

    def step(self, *, is_delete: bool) -> PlanStep:
        """What leads to a gateway comes before what leads through it."""
        return (
            PlanStep(Phase.BUILD, 69)
            if self.gateway is None and not is_delete
            else self.traits.rank.step(is_delete=is_delete)
        )

    def sits_on(self) -> Places:
        return (self.ns,), (self.ns, self.ifname), addresses_of(self.ns, self.ifname)

    def is_barred_by(self, found: Kind, is_own_link: IsOwnLink) -> bool:
        """Another route to the same place is none of our business; on a link of ours it is drift, to be put right."""
        return isinstance(found, Route) and found != self and not is_own_link(found.ns, found.ifname)
