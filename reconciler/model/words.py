"""Lists in messages. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def some(items: Sequence[str], shown_max: int) -> str:
    """Return the first items with commas, and how many are left out: two or more, as one is no longer than its count."""
    if len(items) <= shown_max + 1:
        return ", ".join(items)
    return f"{', '.join(items[:shown_max])} and {len(items) - shown_max} more"
