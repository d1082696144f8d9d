"""The bench itself, on a small workload: that it runs and compares like with like. Its figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import bench
from tests.bench.workload import Workload
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.mark.long
def test_bench_compares_reconcile_with_a_script_that_makes_the_same_objects(machine: Machine, tmp_path: Path) -> None:
    first, idle = bench(tmp_path / "bench", Workload(networks=2, attachments=6), lambda _: None, rounds=1)

    assert len(first.ours) == len(first.scripts) == len(idle.ours) == len(idle.scripts) == 1
    assert first.ours[0].peak_mb > 0
