"""What the embedded DNS server serves, row by row as its file has it: what changes is a few rows and not the whole. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

FORMAT: Final = 2
"""Of the text form. A server that does not know it keeps what it has."""


class ZoneRows(Struct, frozen=True, kw_only=True):
    """JSON texts by name. networks: a row for each endpoint, in order; sandboxes: one row each. host_servers: addresses."""

    host_servers: str = "[]"
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sandboxes: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the file's text: one network or sandbox a line, by name, the same bytes for the same rows."""
        networks = ",\n".join(
            f"[{json.dumps(name)},[{','.join(rows)}]]" for name, rows in sorted(self.networks.items())
        )
        sandboxes = ",\n".join(map(self.sandboxes.__getitem__, sorted(self.sandboxes)))
        return (
            f'{{"format":{FORMAT},"host_servers":{self.host_servers},\n'
            f'"networks":[\n{networks}\n],"sandboxes":[\n{sandboxes}\n]}}\n'
        )
