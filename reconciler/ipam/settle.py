"""Repeating a choice until everybody who failed keeps what they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from reconciler.errors import ReconcilerError

K = TypeVar("K")
R = TypeVar("R")
E = TypeVar("E", bound=ReconcilerError)


def settled(
    attempt: Callable[[Mapping[K, E]], tuple[R, Mapping[K, E]]], failures: Mapping[K, E]
) -> tuple[R, Mapping[K, E]]:
    """Call `attempt` with the failures so far until it adds none; give its last result and all failures.

    What fails stays as it runs, so what it was promised is not free for others: each failure is a reason to choose
    once more. `attempt` must not judge again what already failed, so that this ends.
    """
    while True:
        result, more = attempt(failures)
        if not more:
            return result, failures
        failures = {**failures, **more}
