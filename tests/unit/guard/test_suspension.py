"""When suspensions end, and that none of their changes goes unnoticed."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from reconciler.guard.suspension import Suspension, next_end, resume, suspend, suspended_at, suspensions


def suspension(network: str, until: float) -> Suspension:
    return Suspension(network=network, actor="anna", reason="", since=0.0, until=until)


def test_a_suspension_that_ended_since_the_look_is_still_to_be_looked_after(tmp_path: Path) -> None:
    suspend(tmp_path, [suspension("front", 110.0), suspension("back", 300.0), suspension("dmz", 0.0)], 50.0)

    assert next_end(tmp_path, since=100.0) == 110.0
    assert next_end(tmp_path, since=111.0) == 300.0
    assert next_end(tmp_path, since=400.0) is None


def test_two_changes_within_one_step_of_the_file_systems_clock_differ(tmp_path: Path) -> None:
    marks = [suspended_at(tmp_path)]
    for change in (
        lambda: suspend(tmp_path, [suspension("front", 0.0)], 1.0),
        lambda: suspend(tmp_path, [suspension("other", 0.0)], 1.0),
        lambda: resume(tmp_path, ["other"], 1.0),
        lambda: resume(tmp_path, [], 1.0),
    ):
        change()
        file = tmp_path / "suspensions.json"
        if file.exists():
            os.utime(file, ns=(0, 0))
        marks.append(suspended_at(tmp_path))

    assert all(before != after for before, after in pairwise(marks))


def test_a_moment_that_no_calendar_has_is_the_last_one(tmp_path: Path) -> None:
    """A file that says so ended each pass."""
    (tmp_path / "suspensions.json").write_text(
        '{"suspensions": {"front": {"actor": "me", "since": -9e99, "until": 1e300}}}'
    )

    (found,) = suspensions(tmp_path, 100.0)

    assert "since 1970-01-01T00:00:00Z until 9999-12-31T23:59:59Z" in str(found.error())
