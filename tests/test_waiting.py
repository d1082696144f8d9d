"""Deadlines of tests: one factor for all, and those that were nearly missed are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import waiting

ROOT = Path(__file__).parent.parent


def test_answer_in_good_time_is_not_told() -> None:
    assert waiting.eventually(lambda: True, 1)
    assert waiting.until(lambda: 7, 1) == 7
    with waiting.within(1):
        pass
    assert waiting.narrow == []


def test_late_answer_is_told_and_none_at_all_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("tests.waiting.time.monotonic", lambda: now)

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("tests.waiting.time.sleep", pass_time)

    assert waiting.eventually(lambda: now > waiting.patient(6), 10, every_s=1)
    assert not waiting.eventually(lambda: False, 10)
    with pytest.raises(AssertionError, match="not true within"):
        waiting.until(lambda: False, 10)
    with pytest.raises(AssertionError, match="longer than"), waiting.within(10):
        pass_time(waiting.patient(11))

    told = [waiting.narrow.pop() for _ in tuple(waiting.narrow)]  # else this run would tell of it
    assert told == [(waiting.patient(6) + 1, waiting.patient(10))]

    def answer_late(answers: Iterator[bool]) -> bool:
        pass_time(waiting.patient(11))
        return next(answers)

    for wait in (waiting.eventually, waiting.until):
        assert wait(partial(answer_late, iter([False, True])), 10), "asked once more when the deadline has passed"
        waiting.narrow.pop()


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_one_factor_makes_deadlines_longer_and_the_end_of_the_run_names_the_narrow_ones(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_runtest_makereport, pytest_terminal_summary\n"
    )
    (tmp_path / "test_late.py").write_text(
        "import time\n"
        "from tests.waiting import eventually\n"
        "def test_late():\n"
        "    began = time.monotonic()\n"
        "    assert eventually(lambda: time.monotonic() - began > 0.45, 0.2)\n"
        "def test_quick():\n"
        "    assert eventually(lambda: True)\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        *workers,
        str(tmp_path),
    ]
    environment = {**os.environ, "TEST_PATIENCE": "4", "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=waiting.patient(60)
    )

    assert done.returncode == 0, done.stdout
    assert "s of 0.8 s: test_late.py::test_late" in done.stdout
    assert "::test_quick" not in done.stdout
    assert "passed" in done.stdout.splitlines()[-1]
