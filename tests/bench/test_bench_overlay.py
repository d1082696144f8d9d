"""The overlay bench itself, for a moment: that it runs. Its figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_overlay import bench
from tests.machine import Machine

pytestmark = pytest.mark.kernel


def test_bench_measures_both_ways(machine: Machine, tmp_path: Path) -> None:
    figures = bench(tmp_path, seconds=0.2, rounds=1, remotes=300)

    assert figures.overlay > 0
    assert figures.by_hand > 0
    assert figures.program_us > 0
