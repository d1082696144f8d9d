"""Streams that are closed or that nobody reads, and what else is inherited: a command works, and its exit code says how it went."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import command_environment

SPECS = "networks: {front: {}}\n"


@pytest.mark.parametrize(
    ("redirection", "exit_code"),
    [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0)],
    ids=["no stdout", "no stderr", "none at all", "stderr on a full disk"],
)
def test_a_command_without_a_stream_works_and_says_nothing_of_its_own(
    tmp_path: Path, redirection: str, exit_code: int
) -> None:
    (tmp_path / "a.yaml").write_text(SPECS)
    command = f'"$0" -m reconciler validate --specs "$1" {redirection}'

    done = subprocess.run(  # a true start: it is the streams of a new process that are at stake
        ["/bin/sh", "-c", command, sys.executable, str(tmp_path)],
        env=command_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_reader_of_the_log_that_leaves_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("".join(f"networks{i}: {{}}\n" for i in range(5)))
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "validate", "--specs", str(tmp_path)],
        env=command_environment(),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    process.stderr.close()

    assert process.wait(60) == 65


def test_a_parent_that_ignores_the_end_of_its_children_has_that_for_itself(tmp_path: Path) -> None:
    (tmp_path / "a.yaml.j2").write_text(SPECS)  # rendered by a child
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )

    done = subprocess.run(
        [sys.executable, "-c", ignoring, sys.executable, "-m", "reconciler", "validate", "--specs", str(tmp_path)],
        env=command_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
