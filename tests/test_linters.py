"""Formatter, linter and type checker, run as tests so that nobody has to remember them. Configured in pyproject.toml."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [("ruff", "format", "--check", "--quiet", "."), ("ruff", "check", "--quiet", "."), ("mypy", "--no-error-summary")],
    ids=["format", "lint", "types"],
)
def test_linter_finds_nothing(command: tuple[str, ...]) -> None:
    if importlib.util.find_spec(command[0]) is None:
        assert not os.environ.get("CI"), f"{command[0]} must be installed in CI"
        pytest.skip(f"{command[0]} is not installed")

    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
