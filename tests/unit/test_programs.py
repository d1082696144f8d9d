"""Programs that are run for what they say: all of it, or they are ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.programs import Heard, SaidTooMuch, end, said_by
from tests.waiting import eventually, patient


def heard(script: str, *, given: bytes = b"", timeout_s: float | None = None) -> Heard:
    return said_by(
        ("sh", "-c", script),
        folder=Path("/"),
        environment={"PATH": "/usr/bin:/bin"},
        timeout_s=patient(10) if timeout_s is None else timeout_s,
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
def test_who_takes_too_long_is_ended_with_what_it_started(script: str, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        heard(f"sleep 1000 & echo $! >{tmp_path}/pid; {script}", timeout_s=patient(0.5))

    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Return whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_who_has_ended_can_be_ended() -> None:
    processes = []
    said_by(("true",), folder=Path("/"), environment={}, timeout_s=patient(10), bytes_max=1, begun=processes.append)

    end(processes[0])
