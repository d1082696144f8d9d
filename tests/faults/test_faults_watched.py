"""As test_faults, of a watcher: what it remembers stays true whatever call fails, and its next pass heals the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import Reconcile
from tests.faults.scenes import Host, Point
from tests.faults.trying import parts, try_part_watched
from tests.faults.watched import DEADLINE_S, Move, Round, to_specs, watching
from tests.machine import Machine
from tests.pipeline.two_states import FIRST, SANDBOXES, SECOND
from tests.unit.review.repository import commit, make_repository
from tests.waiting import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.long]


@parts(6)
def test_watcher(reconcile: Reconcile, machine: Machine, uplink: str, tmp_path: Path, part: int) -> None:
    host = Host(reconcile=reconcile, sandboxes=SANDBOXES)
    reconcile.write(specs=FIRST)
    reconcile.ok()
    moves = {"change watched": to_specs(SECOND), "change back watched": to_specs(FIRST)}
    with watching(host, tmp_path, "--prune-limit", "9,100%") as watcher:
        try_part_watched("watched", Round.of(watcher, moves), part)


@parts(8)
def test_watcher_of_a_repository(
    reconcile: Reconcile, machine: Machine, uplink: str, tmp_path: Path, part: int
) -> None:
    """What is not git's is the same with a repository and without."""
    repository = make_repository(tmp_path / "repository", {"specs/a.yaml": FIRST})
    host = Host(reconcile=reconcile, sandboxes=SANDBOXES)

    def to_commit(specs: str) -> Move:
        return Move(begin=lambda _: commit(repository, {"specs/a.yaml": specs}))

    def is_of_git(point: Point) -> bool:
        return point.call.border == "process started" or "/git/" in point.call.what

    moves = {"commit watched": to_commit(SECOND), "commit back watched": to_commit(FIRST)}
    options = ("--git", f"{repository}#main:specs", "--git-interval", "1s")
    with watching(host, tmp_path, "--prune-limit", "9,100%", more=options) as watcher:
        assert eventually((machine.status_dir / "summary.json").exists, DEADLINE_S)
        try_part_watched("git watched", Round.of(watcher, moves, is_tried=is_of_git), part)
