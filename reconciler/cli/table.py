"""Columns as docker's client prints them: Go's tab writer with a minimum width of 10 and 3 spaces between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_WIDTH_MIN: Final = 10
_PADDING: Final = 3


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return head and rows as lines; the last column is not padded."""
    lines = [head, *rows]
    widths = [max(_WIDTH_MIN, _PADDING + max(map(len, column))) for column in zip(*lines, strict=True)]
    return "".join(_line(cells, widths) + "\n" for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return "".join((*padded, cells[-1]))
