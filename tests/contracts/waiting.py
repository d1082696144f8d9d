"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from reconciler.errors import KvUnavailable
from reconciler.kv.protocol import Entry, Watch

T = TypeVar("T")


def until(ask: Callable[[], T], deadline_s: float = 10.0) -> T:
    """Give the first true answer; a store that cannot be reached yet counts as not true."""
    ends = time.monotonic() + deadline_s
    while True:
        try:
            answer = ask()
        except KvUnavailable:
            answer = None  # type: ignore[assignment]
        if answer:
            return answer
        assert time.monotonic() < ends, f"not true within {deadline_s} s"
        time.sleep(0.02)


class Follower:
    """Keeps what a watch told."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.entries: dict[str, Entry] = {}
        self.resyncs = 0

    def follow(self, timeout_s: float = 5.0) -> bool:
        """Take in one batch; False if none came."""
        batch = self.watch.poll(timeout_s)
        if batch is None:
            return False
        if batch.is_resync:
            self.resyncs += 1
            self.entries = {}
        assert [entry.key for entry in batch.entries] == sorted({entry.key for entry in batch.entries})
        self.entries |= {entry.key: entry for entry in batch.entries}
        for key in batch.deleted:
            self.entries.pop(key, None)
        return True

    def values(self) -> dict[str, bytes]:
        return {key: entry.value for key, entry in self.entries.items()}
