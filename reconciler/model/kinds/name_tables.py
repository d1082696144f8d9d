"""What the embedded DNS server of this host has in force. digest: of the text that `dns.zones` gives."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from reconciler.model.kinds.base import NO_FIELDS, UNFELT, Apart, Key, Kind, OwnerLookup, Traits, inside_out
from reconciler.model.units import NAMES_UNIT, Unit
from reconciler.model.zone_rows import ZoneRows

_DIGEST: Final = re.compile("[0-9a-f]{64}")


class NameTables(Apart, frozen=True, kw_only=True):
    """What the embedded DNS server of this host has in force. digest: of the text that `dns.zones` gives.

    rows: what the text is made of. As observed there are none, the text is "", and the digest says in words why a server that runs,
    or does not, is not the one wanted.
    """

    kind: ClassVar[str] = "NameTables"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(90), immutable=NO_FIELDS, felt=UNFELT, is_exclusive=False, is_endpoint_link=False, memory=""
    )
    uncompared: ClassVar[frozenset[str]] = Kind.uncompared | {"text", "rows"}
    is_small: ClassVar[bool] = False
    unshown: ClassVar[frozenset[str]] = frozenset({"text", "rows"})
    digest: str
    text: str = ""
    rows: ZoneRows = ZoneRows()

    @property
    def key(self) -> Key:
        return (self.kind,)

    def describe(self) -> str:
        return "name tables of the embedded DNS server"

    def is_news_after(self, before: Kind | None) -> bool:
        """Names of other hosts come and go by themselves: where the server has tables that were published, others are no drift."""
        return isinstance(before, NameTables) and _DIGEST.fullmatch(before.digest) is not None

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return NAMES_UNIT
