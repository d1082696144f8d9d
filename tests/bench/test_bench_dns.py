"""The bench of the embedded DNS server itself, on few sandboxes: that it runs and measures. Its figures mean nothing here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bench.bench_dns import measure, serving
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.mark.skipif(shutil.which("dnsperf") is None, reason="not installed: dnsperf")
def test_bench_asks_names_that_are_known(machine: Machine, tmp_path: Path) -> None:
    with serving(machine, tmp_path, sandboxes=4, networks=2) as ours:
        figures = measure([ours.place], tmp_path, seconds=0.4)

    assert ours.place.names == ["c0", "c2"]
    assert figures[0].rate > 0
    assert figures[0].p99_ms > 0
