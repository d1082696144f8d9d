"""Which part of the points is tried, and where it is written down."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scenes import Circle, Point, Tally
from tests.faults.watched import Round

MODE: Final = os.environ.get("FAULTS", "")
"""Empty in the suite; "all", or "every": then also of calls that are alike each one."""

PARTS: Final = 12
"""Parts that the points of a circle are tried in where all are."""

SHARE: Final = 90
"""The suite tries one point of so many of each way."""

KEPT: Final = frozenset(
    {
        ("file opened to read /proc/sys/fs/inotify/max_queued_events", "EIO"),
        ("file opened to read *specs.yaml", "EMFILE"),
        ("file renamed, made or removed os.remove /run/netns/*", "EIO"),
    }
)
"""Kinds of calls, and faults, that a watcher once lost something by."""

TALLIES: Final = Path(__file__).parent.parent.parent / "build" / "faults"


def parts(first: int) -> pytest.MarkDecorator:
    """first: the one that the suite tries."""
    return pytest.mark.parametrize("part", range(PARTS) if MODE else (first,))


def share_of(part: int) -> Callable[[Sequence[Point]], Sequence[Point]]:
    """Give what takes its part of the points of a way; in the suite also those that something was lost by once."""
    if MODE:
        return lambda found: found[part::PARTS]
    return lambda found: [*found[part::SHARE], *(point for point in found if _is_kept(point))]


def _is_kept(point: Point) -> bool:
    return point.number == 0 and (point.call.kind, point.fault) in KEPT


def try_part(name: str, circle: Circle, part: int) -> None:
    """Try a part of the points, and write down what came of it."""
    tally = Tally()
    plan = list(map(share_of(part), circle.plan(is_every=MODE == "every")))
    failures = circle.try_all(plan, tally)
    write_tally(name, part, circle.ways, tally, failures)
    assert tally.total == sum(map(len, plan))


def try_part_watched(name: str, tour: Round, part: int) -> None:
    """As `try_part`, in a watcher."""
    tally = Tally()
    failures = tour.try_all(share_of(part), tally)
    write_tally(name, part, tour.stops, tally, failures)


def write_tally(name: str, part: int, ways: Iterable[str], tally: Tally, failures: Sequence[str]) -> None:
    """Write down what came of a part, where all are tried; fail if one did."""
    if MODE:
        TALLIES.mkdir(parents=True, exist_ok=True)
        (TALLIES / f"{name}-{part}.json").write_text(tally.text(list(ways), len(failures)))
    assert not failures, "\n\n".join(failures)
    assert tally.total
