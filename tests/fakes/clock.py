"""Time that passes when the test says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Called, it gives `now_s`, seconds since some moment."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s
