"""One owned nft table with its constant chains, sets and maps. digest: of the text that `firewall.ruleset` gives."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import (
    UNFELT,
    Key,
    OfFirewall,
    Owners,
    Traits,
    in_firewall,
    where,
)
from reconciler.model.units import HOST_UNIT, Unit


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

    def owner(self, owners: Owners) -> Unit | None:
        return HOST_UNIT if self.ns == HOST else owners.of_namespace(self.ns)
