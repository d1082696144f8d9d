"""A progress bar on stderr, for a person who waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from reconciler.cli.terminal import printable
from reconciler.model.plan import Operation

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE_S: Final = 1.0
"""A pass that is over sooner shows nothing."""

_INTERVAL_S: Final = 0.1


class ProgressBar:
    """Told after each operation; draws when the pass has taken longer than a second, ten times a second at most."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _PATIENCE_S
        self._bar: tuple[Progress, TaskID] | None = None

    def __call__(self, done: int, total: int, operation: Operation) -> None:
        now = time.monotonic()
        if now < self._due and done < total:
            return
        if self._bar is None and now >= self._due:
            self._bar = _started(total)
        self._due = now + _INTERVAL_S if self._bar else self._due
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=done, total=total, description=printable(operation.object.kind))
            progress.refresh()

    def close(self) -> None:
        """Take the bar away. A repeat is harmless."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None


def _started(total: int) -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), auto_refresh=False, transient=True)
    progress.start()
    return progress, progress.add_task("", total=total)


@contextmanager
def progress_bar(*, is_wanted: bool) -> Iterator[ProgressBar | None]:
    """Return a bar when a person watches stderr, else None."""
    bar = ProgressBar() if is_wanted and sys.stderr.isatty() else None
    try:
        yield bar
    finally:
        if bar is not None:
            bar.close()
