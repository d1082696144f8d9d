"""A setting below /proc/sys of a namespace. name: path with slashes, as `net/ipv4/ip_forward`."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import FORWARDING, HOST, NsRef
from reconciler.model.kinds.base import (
    BEFORE_FIREWALL,
    NO_FIELDS,
    UNFELT,
    Key,
    Kind,
    OwnerLookup,
    Phase,
    Places,
    PlanStep,
    Traits,
    inside_out,
    where,
)
from reconciler.model.units import HOST_UNIT, Unit


class Sysctl(Kind, frozen=True, kw_only=True):
    """A setting below /proc/sys of a namespace. name: path with slashes, as `net/ipv4/ip_forward`."""

    kind: ClassVar[str] = "Sysctl"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(40),
        immutable=NO_FIELDS,
        felt=UNFELT,
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
        is_removable=False,
    )
    ns: NsRef
    name: str
    value: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.name)

    def describe(self) -> str:
        return f"sysctl {self.name} = {self.value}{where(self.ns)}"

    def step(self, *, is_delete: bool) -> PlanStep:
        if self.ns != HOST:
            return self.traits.rank.step(is_delete=is_delete)
        if self.name in FORWARDING.values() and self.value == "0":
            return BEFORE_FIREWALL
        return PlanStep(Phase.BUILD, 40 + self._turn())

    def _turn(self) -> int:
        """Have links heed routers whatever happens before the host begins to forward, and as before when all else is put back.

        Whichever link begins to forward, the kernel forgets the routers of all that do not (rt6_purge_dflt_routers). What the
        switch of the host overrides is put back after it.
        """
        if self.name.endswith("/accept_ra"):
            return -1 if self.value == "2" else 2
        return 0 if self.name in FORWARDING.values() else 1

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return HOST_UNIT

    def touches(self) -> tuple[NsRef, ...]:
        return (self.ns,)

    def carries(self) -> Places:
        return ()

    def sits_on(self) -> Places:
        return tuple((self.ns, link) for link in self.name.split("/")[3:4])
