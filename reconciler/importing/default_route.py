"""Which link the host's default route leads through: other tools put macvlan networks there that name no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.records.file import content

_ROUTES: Final = Path("/proc/thread-self/net/route")
_UP: Final = 1
"""RTF_UP of linux/route.h."""
_NOWHERE: Final = "00000000"


def default_link() -> str:
    """Return its name, "" when there is none."""
    try:
        text = content(_ROUTES).decode()
    except (OSError, UnicodeDecodeError):
        return ""
    return link_of(text)


def link_of(table: str) -> str:
    """Return the link of the default route with the smallest metric in a table as /proc/net/route (proc(5)) has it."""
    return min(_defaults(table), default=(0, ""))[1]


def _defaults(table: str) -> Iterator[tuple[int, str]]:
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == _NOWHERE and int(fields[3], 16) & _UP:
            yield int(fields[6]), fields[0]
