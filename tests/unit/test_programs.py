"""Programs that are run for what they say: all of it, or they are ended."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from reconciler.programs import Heard, SaidTooMuch, end, said_by
from tests.waiting import eventually, patient


def heard(script: str, *, given: bytes = b"") -> Heard:
    return said_by(
        ("sh", "-c", script),
        folder=Path("/"),
        environment={"PATH": "/usr/bin:/bin"},
        timeout_s=patient(10),
        bytes_max=1 << 18,
        given=given,
    )


def test_all_that_is_said_is_heard() -> None:
    assert heard("cat; echo bad >&2; exit 3", given=b"a" * 200_000) == Heard(
        code=3, out=b"a" * 200_000, complaint=b"bad\n"
    )


def test_what_reads_nothing_may_be_given_something() -> None:
    assert heard("exec <&-; echo a", given=b"a" * 200_000).out == b"a\n"


def test_of_complaints_the_end_is_kept() -> None:
    said = heard("yes long | head -c 200000 >&2; echo end >&2")

    assert said.complaint.endswith(b"end\n")
    assert len(said.complaint) == 1 << 16


@pytest.mark.parametrize("script", ["yes", "yes >&2", "yes & yes >&2"])
def test_who_says_too_much_is_ended(script: str) -> None:
    with pytest.raises(SaidTooMuch):
        heard(script)


@pytest.mark.parametrize("script", ["sleep 1000", "exec >&- 2>&-; sleep 1000"])
def test_who_takes_too_long_is_ended_with_what_it_started(script: str) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    with pytest.raises(TimeoutError):
        said_by(
            ("sh", "-c", f"sleep 1000 & {script}"),
            folder=Path("/"),
            environment={"PATH": "/usr/bin:/bin"},
            timeout_s=patient(0.5),
            bytes_max=1,
            begun=processes.append,
        )

    assert eventually(lambda: running_of_group(processes[0].pid) == [])


def running_of_group(group: int) -> list[str]:
    """Return the processes of a group that are no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(path.parent.name)
    return found


def test_who_has_ended_can_be_ended() -> None:
    processes = []
    said_by(("true",), folder=Path("/"), environment={}, timeout_s=patient(10), bytes_max=1, begun=processes.append)

    end(processes[0])
