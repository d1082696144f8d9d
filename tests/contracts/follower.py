"""What a watch of a store told, kept."""

from __future__ import annotations

from reconciler.kv.protocol import KvEntry, Watch
from tests.waiting import patient


class Follower:
    """Keeps what a watch told."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.entries: dict[str, KvEntry] = {}
        self.resyncs = 0

    def follow(self, timeout_s: float = 5.0) -> bool:
        """Take in one batch; False if none came."""
        batch = self.watch.poll(patient(timeout_s))
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
