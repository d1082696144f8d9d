"""Our nft tables, and what is in them."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import (
    FELT_LIVE,
    UNFELT,
    Key,
    OfFirewall,
    OwnerLookup,
    Phase,
    PlanStep,
    Traits,
    in_firewall,
    where,
)
from reconciler.model.units import HOST_UNIT, Unit

PUBLISHING_SETS = ("published",)
"""How the names of sets begin whose elements lead traffic in: filled when everything behind them stands, emptied before it goes."""


class FirewallRules(OfFirewall, frozen=True, kw_only=True):
    """One owned nft table with its constant chains, sets and maps. digest: of the text that `firewall.ruleset` gives.

    ns: the host, or the namespace of an overlay network.
    """

    kind: ClassVar[str] = "FirewallRules"
    traits: ClassVar[Traits] = in_firewall(UNFELT, is_exclusive=True)
    ns: NsRef = HOST
    family: str
    table: str
    digest: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.family, self.table)

    def describe(self) -> str:
        return f"nft table {self.family} {self.table} ({self.digest}){where(self.ns)}"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return HOST_UNIT if self.ns == HOST else owners.of_namespace(self.ns)


class FirewallElement(OfFirewall, frozen=True, kw_only=True):
    """One element of an owned set or map. element: its parts as nft prints them; value: the map's right side, "" in a set.

    The unit travels as the element's comment, so that whoever finds it knows whose it is.
    """

    kind: ClassVar[str] = "FirewallElement"
    traits: ClassVar[Traits] = in_firewall(FELT_LIVE, is_exclusive=False)
    ns: NsRef = HOST
    family: str
    table: str
    set_name: str
    element: tuple[str, ...]
    value: str = ""

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.family, self.table, self.set_name, *self.element)

    def describe(self) -> str:
        value = f" : {self.value}" if self.value else ""
        return f"nft element {self.set_name} {{ {' . '.join(self.element)}{value} }}{where(self.ns)}"

    def step(self, *, is_delete: bool) -> PlanStep:
        if self.set_name.startswith(PUBLISHING_SETS):
            return PlanStep(Phase.UNPUBLISH, 0) if is_delete else PlanStep(Phase.PUBLISH, 0)
        return OfFirewall.step(self, is_delete=is_delete)

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return self.unit
