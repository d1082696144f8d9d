"""What a watch remembers of its folder, for stores that tell that something changed but not what."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.kv.protocol import Batch, Entry


class Snapshot:
    """The versions last told. Empty until the first `take`."""

    def __init__(self) -> None:
        self._versions: dict[str, int] | None = None

    def take(self, entries: Sequence[Entry]) -> Batch | None:
        """Compare with what is there now, sorted by key: give what differs and remember it; None if nothing does."""
        before = self._versions
        self._versions = {entry.key: entry.version for entry in entries}
        if before is None:
            return Batch(is_resync=True, entries=tuple(entries))
        written = tuple(entry for entry in entries if before.get(entry.key) != entry.version)
        deleted = tuple(sorted(before.keys() - self._versions.keys()))
        return Batch(is_resync=False, entries=written, deleted=deleted) if written or deleted else None

    def forget(self) -> None:
        """Make the next batch a resync."""
        self._versions = None
