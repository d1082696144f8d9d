"""As test_faults, of a watcher: what it remembers stays true whatever call fails, and its next pass heals the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import Reconcile
from tests.faults.scenes import Host
from tests.faults.trying import parts, try_part_watched
from tests.faults.watched import Round, to_specs, watching
from tests.machine import Machine
from tests.pipeline.two_states import FIRST, SANDBOXES, SECOND

pytestmark = [pytest.mark.kernel, pytest.mark.long]


@parts(6)
def test_watcher(reconcile: Reconcile, machine: Machine, uplink: str, tmp_path: Path, part: int) -> None:
    host = Host(reconcile=reconcile, sandboxes=SANDBOXES)
    reconcile.write(specs=FIRST)
    reconcile.ok()
    moves = {"change watched": to_specs(SECOND), "change back watched": to_specs(FIRST)}
    with watching(host, tmp_path, "--prune-limit", "9,100%") as watcher:
        try_part_watched("watched", Round.of(watcher, moves), part)
