"""Logs: one line per record on stderr, as text or JSON."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Final

from reconciler.cli.streams import StderrHandler
from reconciler.cli.terminal import printable

log = logging.getLogger("reconciler")
operations_log = logging.getLogger("reconciler.operations")

_LEVELS: Final = {-2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO}
_PREFIXED: Final = logging.WARNING


def configure_logs(verbosity: int, log_format: str) -> None:
    """Send the package's logs to stderr. A repeat replaces what was set up before.

    On a terminal the progress bar stands for the single operations; -v shows them there too, with all details.
    """
    handler = StderrHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_once)
    _once.start_over()
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(_LEVELS.get(max(verbosity, -2), logging.DEBUG))
    is_bar_enough = verbosity == 0 and log_format == "text" and sys.stderr.isatty()
    operations_log.setLevel(logging.WARNING if is_bar_enough else logging.NOTSET)


class _OncePerPass(logging.Filter):
    """Lets a warning through once in a pass, of which several looks may meet the same thing. Other threads are in no pass."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def start_over(self) -> None:
        self._told.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.thread != threading.main_thread().ident:
            return True
        text = record.getMessage()
        is_new = text not in self._told
        self._told.add(text)
        return is_new


_once: Final = _OncePerPass()


def end_of_pass() -> None:
    """Tell from now on what was told before as well. For processes of several passes; others are one pass."""
    _once.start_over()


class TextFormatter(logging.Formatter):
    """The message alone; warnings and errors say what they are. A record is one line, whatever its message holds."""

    def format(self, record: logging.LogRecord) -> str:
        is_prefixed = record.levelno >= _PREFIXED and not hasattr(record, "is_located")
        prefix = f"{record.levelname.lower()}: " if is_prefixed else ""
        return prefix + printable(record.getMessage())


class JsonFormatter(logging.Formatter):
    """An object per line: time (RFC 3339), level, logger, message, and `unit` where one is meant."""

    def format(self, record: logging.LogRecord) -> str:
        import json

        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        unit = getattr(record, "unit", None)
        return json.dumps(said if unit is None else {**said, "unit": str(unit)})
