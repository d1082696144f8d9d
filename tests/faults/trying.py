"""Which part of the points is tried, and where it is written down."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scenes import Circle, Point, Tally

MODE: Final = os.environ.get("FAULTS", "")
"""Empty in the suite; "all", or "every": then also of calls that are alike each one."""

PARTS: Final = 12
"""Parts that the points of a circle are tried in where all are."""

SHARE: Final = 90
"""The suite tries one point of so many of each way."""

TALLIES: Final = Path(__file__).parent.parent.parent / "build" / "faults"


def parts(first: int) -> pytest.MarkDecorator:
    """first: the one that the suite tries."""
    return pytest.mark.parametrize("part", range(PARTS) if MODE else (first,))


def share_of(part: int) -> Callable[[Sequence[Point]], Sequence[Point]]:
    """Give what takes its part of the points of a way."""
    return lambda found: found[part :: PARTS if MODE else SHARE]


def try_part(name: str, circle: Circle, part: int) -> None:
    """Try a part of the points, and write down what came of it."""
    tally = Tally()
    plan = list(map(share_of(part), circle.plan(is_every=MODE == "every")))
    failures = circle.try_all(plan, tally)
    write_tally(name, part, circle.ways, tally, failures)
    assert tally.total == sum(map(len, plan))


def write_tally(name: str, part: int, ways: Iterable[str], tally: Tally, failures: Sequence[str]) -> None:
    """Write down what came of a part, where all are tried; fail if one did."""
    if MODE:
        TALLIES.mkdir(parents=True, exist_ok=True)
        (TALLIES / f"{name}-{part}.json").write_text(tally.text(list(ways), len(failures)))
    assert not failures, "\n\n".join(failures)
    assert tally.total
