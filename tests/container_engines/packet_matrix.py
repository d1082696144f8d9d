"""Who reaches whom: questions, answers, and how they are written down. Standard library only, as record.sh runs it too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

SILENT: Final = "."
"""The other answers: `refused`, `unreachable`, `closed` (taken and dropped), `SERVER<SOURCE`."""


class Cell(NamedTuple):
    client: str
    target: str
    """The name of an address."""

    kind: str
    """`icmp`, or protocol and port."""


def to_rows(found: Mapping[Cell, str]) -> dict[str, dict[str, str]]:
    """Give a matrix as people read it: for each client answers, in the order of the kinds, and at which addresses they came."""
    by_row: dict[tuple[str, str], list[str]] = {}
    for cell, answer in found.items():
        by_row.setdefault((cell.client, cell.target), []).append(answer)
    rows: dict[str, dict[str, str]] = {}
    for (client, target), answers_ in by_row.items():
        row, same = " ".join(answers_), rows.setdefault(client, {})
        same[row] = f"{same[row]} {target}" if row in same else target
    return rows


def from_rows(rows: Mapping[str, Mapping[str, str]], kinds: Callable[[str], Sequence[str]]) -> dict[Cell, str]:
    """Read what to_rows gave; kinds: those that an address was asked."""
    found: dict[Cell, str] = {}
    for client, same in rows.items():
        for row, targets in same.items():
            for target in targets.split():
                cells = (Cell(client, target, kind) for kind in kinds(target))
                found.update(zip(cells, row.split(), strict=True))
    return found
