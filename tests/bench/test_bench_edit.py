"""The bench of edits, on a small scale: that it runs. Its figures mean nothing here."""

from __future__ import annotations

import pytest

from tests.bench.bench_edit import on_kernel, pure, report
from tests.machine import Machine

pytestmark = pytest.mark.kernel


def test_bench_tells_what_an_edit_costs_without_a_kernel_and_with_one(machine: Machine) -> None:
    assert machine
    for measure in (pure, on_kernel):
        found = measure(4, rounds=1)
        report("small", {4: found})
        assert all(stages["all"] > 0 for stages in found.values()), found
