"""What the person is told who may have to mend a record: bounded, on one line, nothing that a terminal obeys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.model.words import counted

_LEFT_OUT_MAX: Final = 100
_SHOWN_MAX: Final = 300


def left_out(records: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return why records are left out, a line each, and of the many how many more there are. records: path and reason."""
    lines = [f"record {path[:200]!r} left out: {reason}" for path, reason in records[:_LEFT_OUT_MAX]]
    more = len(records) - _LEFT_OUT_MAX
    return (*lines, f"{counted(more, 'more record')} left out") if more > 0 else tuple(lines)


def shown(text: str) -> str:
    """Return a stranger's text for a message: one line, nothing that a terminal would obey, not too long."""
    line = "".join(char if char.isprintable() else " " for char in text[: _SHOWN_MAX * 4])
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN_MAX else f"{line[:_SHOWN_MAX]}…"
