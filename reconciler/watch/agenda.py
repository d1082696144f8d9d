"""What is to be done later, each under a key: a delaying queue that asks no clock. Pure."""

from __future__ import annotations

from typing import Final

NEVER_S: Final = float("inf")


class Agenda:
    """What stands here under a key stands once, for the earliest of the times that it was added for.

    Times are of one monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}

    def add(self, key: str, at_s: float) -> None:
        self._due_s[key] = min(at_s, self._due_s.get(key, NEVER_S))

    def cancel(self, key: str) -> None:
        self._due_s.pop(key, None)

    def take(self, now_s: float) -> frozenset[str]:
        """Return the keys whose time has come; they stand here no more."""
        due = frozenset(key for key, at_s in self._due_s.items() if at_s <= now_s)
        for key in due:
            del self._due_s[key]
        return due

    def next_s(self) -> float:
        """Return when the next one is due."""
        return min(self._due_s.values(), default=NEVER_S)
