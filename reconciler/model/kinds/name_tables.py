"""What the embedded DNS server of this host has in force. digest: of the text that `dns.zones` gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from reconciler.model.kinds.base import NO_FIELDS, UNFELT, Apart, Key, Owners, Traits, inside_out
from reconciler.model.units import NAMES_UNIT, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTables(Apart):
    """What the embedded DNS server of this host has in force. digest: of the text that `dns.zones` gives.

    As observed the text is "", and the digest says in words why a server that runs, or does not, is not the one wanted.
    """

    kind: ClassVar[str] = "NameTables"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(90), immutable=NO_FIELDS, felt=UNFELT, is_exclusive=False, is_endpoint_link=False, memory=""
    )
    digest: str
    text: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return (self.kind,)

    def describe(self) -> str:
        return "name tables of the embedded DNS server"

    def owner(self, owners: Owners) -> Unit | None:
        return NAMES_UNIT
