"""What reaches a terminal: colours where a person watches, and nothing that a name or a message could use to take control."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO


def printable(text: str, *, keep: str = "") -> str:
    """Show control and format characters (Unicode categories C and Z but for the space) as escapes. keep: those to leave."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def has_colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether to colour what goes to `stream` (no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()
