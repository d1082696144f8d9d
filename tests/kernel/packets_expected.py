"""Who reaches whom, asked until what is expected has come and then was quiet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.container_engines import packets
from tests.container_engines.packet_matrix import SILENT, Cell
from tests.waiting import Deadline

QUIET_S: Final = 0.5
"""How long to wait for what must not come, once all else is there."""


def answers_expected(
    parties: Sequence[packets.Party], names: Mapping[str, str], expected: Mapping[Cell, str]
) -> dict[Cell, str]:
    """Ask for all cells that are expected; a refusal by a router counts as silence."""
    waited_for = [cell for cell, answer in expected.items() if answer != SILENT]
    deadline = Deadline(10)

    def is_enough(found: Mapping[Cell, str], passed_s: float) -> bool:
        while waited_for and found[waited_for[-1]] != SILENT:
            waited_for.pop()
        return deadline.is_over or (not waited_for and passed_s > QUIET_S)

    found = packets.answers(parties, names, list(expected), is_enough)
    return {cell: SILENT if answer == "unreachable" else answer for cell, answer in found.items()}
