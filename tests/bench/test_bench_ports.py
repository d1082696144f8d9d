"""The bench of published ports, on a small scale: that it runs. Its figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_ports import bench
from tests.machine import Machine

pytestmark = pytest.mark.kernel


def test_bench_connects_through_one_and_through_many_published_ports(machine: Machine, tmp_path: Path) -> None:
    one, many = bench(tmp_path, ports=5, connections=5, rounds=1)

    assert one > 0
    assert many > 0
