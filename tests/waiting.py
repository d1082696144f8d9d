"""Waiting with a deadline: for what happens, never for time to pass.

Every deadline of the tests is one of these; TEST_PATIENCE in the environment, 2 say, makes all of them longer on a slow machine.
Whoever waited longer than half of a deadline, though not in vain, is listed at the end of the run: there the next failure will be.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from reconciler.errors import KvUnavailable

T = TypeVar("T")

PATIENCE: Final = float(os.environ.get("TEST_PATIENCE") or 1)


class Wait(NamedTuple):
    """One that was nearly in vain."""

    waited_s: float
    deadline_s: float


narrow: list[Wait] = []
"""Those of the test that runs; tests/conftest.py reads and empties it."""


def patient(seconds: float) -> float:
    """Give a deadline as it is on this machine, for what waits by itself: a socket's timeout, a process."""
    return seconds * PATIENCE


class Deadline:
    """One that runs from now on, for loops that `eventually` and `until` do not fit."""

    def __init__(self, deadline_s: float) -> None:
        self._began, self._whole_s = time.monotonic(), patient(deadline_s)

    @property
    def left_s(self) -> float:
        """Seconds; 0 when it is over."""
        return max(0.0, self._began + self._whole_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left_s == 0

    def met(self) -> None:
        """Say that what was waited for has come."""
        waited_s = time.monotonic() - self._began
        if waited_s > self._whole_s / 2 > 0:
            narrow.append(Wait(waited_s, self._whole_s))


def eventually(condition: Callable[[], object], deadline_s: float = 10.0, every_s: float = 0.02) -> bool:
    """Poll until `condition()` is true; False when the deadline passes first.

    It is asked once more after that: who had no processor meanwhile has seen nothing of the end.
    """
    deadline = Deadline(deadline_s)
    is_last = deadline.is_over
    while not condition():
        if is_last:
            return False
        time.sleep(every_s)
        is_last = deadline.is_over
    deadline.met()
    return True


def until(ask: Callable[[], T], deadline_s: float = 10.0, every_s: float = 0.05) -> T:
    """Give the first true answer, or fail; a store that cannot be reached yet counts as not true.

    Asks less often than `eventually`, as each question costs the server something too, and once more in the end too.
    """
    deadline = Deadline(deadline_s)
    while True:
        is_last = deadline.is_over
        try:
            answer: T | None = ask()
        except KvUnavailable:
            answer = None
        if answer:
            deadline.met()
            return answer
        assert not is_last, f"not true within {patient(deadline_s)} s"
        time.sleep(every_s)


def exit_code_of(process: subprocess.Popen[Any], deadline_s: float = 20.0) -> int:
    """Wait for the end of a process."""
    deadline = Deadline(deadline_s)
    code = process.wait(patient(deadline_s))
    deadline.met()
    return code


def is_readable(source: Any, deadline_s: float) -> bool:
    """Wait until a descriptor, or what has one, can be read from. Less than a second is a wait for quiet, which is never narrow."""
    deadline = Deadline(deadline_s)
    found = bool(select.select([source], [], [], deadline.left_s)[0])
    if found and deadline_s >= 1:
        deadline.met()
    return found


@contextlib.contextmanager
def within(deadline_s: float) -> Iterator[None]:
    """Insist that what is done meanwhile takes no longer: for what ends by a deadline of its own, a good deal shorter."""
    deadline = Deadline(deadline_s)
    yield
    assert not deadline.is_over, f"longer than {patient(deadline_s)} s"
    deadline.met()


def has_ended(pid: int) -> bool:
    """Say whether the process is over, its parent told of it or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
