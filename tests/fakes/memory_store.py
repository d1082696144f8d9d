"""A key-value store that is a value: it goes on from any state, and each call is one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.kv.protocol import MUST_NOT_EXIST, KvEntry, Put, Session, Watch
from reconciler.kv.steps import KeyStep, StepStore


class MemoryStore(StepStore):
    """changes: how often each key was changed, which is its version. Knows no sessions and watches."""

    def __init__(self, entries: Mapping[str, KvEntry] | None = None, changes: Mapping[str, int] | None = None) -> None:
        self.entries = dict(entries or {})
        self.changes = dict(changes or {})

    def get(self, key: str) -> KvEntry | None:
        return self.entries.get(key)

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        return tuple(self.entries[key] for key in sorted(self.entries) if key.startswith(prefix))

    def carry_out(self, steps: Sequence[KeyStep]) -> None:
        for step in steps:
            step.check(self.entries[step.key].version if step.key in self.entries else MUST_NOT_EXIST)
        for step in steps:
            match step.write:
                case None:
                    continue
                case Put(value=value):
                    if step.key in self.entries and self.entries[step.key].value == value:
                        continue  # as Consul does
                    self.changes[step.key] = version = self.changes.get(step.key, 0) + 1
                    self.entries[step.key] = KvEntry(key=step.key, value=value, version=version)
                case _:
                    self.entries.pop(step.key, None)

    def watch(self, prefix: str) -> Watch:
        raise NotImplementedError

    def session(self, ttl_s: float) -> Session:
        raise NotImplementedError

    def confirm(self, timeout_s: float) -> None:
        """There is one server only."""

    def close(self) -> None:
        """There is nothing to let go of."""
