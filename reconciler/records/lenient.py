"""Members of our own small files, for readers that go on without one that is damaged."""

from __future__ import annotations

from collections.abc import Mapping


def text_of(fields: Mapping[str, object], key: str) -> str:
    """Return a text; "" for anything else."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def number_of(fields: Mapping[str, object], key: str) -> float:
    """Return a number; 0 for anything else, also for a whole one with more digits than numbers of machines have."""
    value = fields.get(key)
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
    except OverflowError:
        return 0.0


def items_of(fields: Mapping[str, object], key: str) -> list[object]:
    """Return a list; an empty one for anything else."""
    value = fields.get(key)
    return value if isinstance(value, list) else []


def mapping_of(fields: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object; an empty one for anything else."""
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


def texts_of(fields: Mapping[str, object], key: str) -> Mapping[str, str]:
    """Return those members of an object that are texts."""
    return {name: value for name, value in mapping_of(fields, key).items() if isinstance(value, str)}
