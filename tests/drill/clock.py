"""A host's wall clock, set forward or back while its watcher runs: a hook of `tests.fork_server`, as no namespace shifts it."""

from __future__ import annotations

import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from reconciler import gather

_true_time, _true_time_ns = time.time, time.time_ns


def shift_by(file: str) -> None:
    """Have all that this process reads the wall clock by be off by the seconds that the file says, 0 while there is none."""
    path = Path(file)

    def shift_s() -> int:
        try:
            return int(path.read_text() or 0)
        except FileNotFoundError:
            return 0

    class Shifted(datetime):
        """Only `now` is asked for; what it gives is a datetime as any."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(_true_time() + shift_s(), tz)

    time.time = lambda: _true_time() + shift_s()
    time.time_ns = lambda: _true_time_ns() + shift_s() * 1_000_000_000
    vars(gather)["datetime"] = Shifted
