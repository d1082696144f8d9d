"""Standard streams that somebody closed, or stopped reading: a command does its work all the same, and says how it ended."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Final, TextIO

_STANDARD: Final = (0, 1, 2)


def keep_streams_usable() -> None:
    """Open the standard streams that are closed on /dev/null, so that no file of ours gets their number.

    A stream that cannot show a character gets its escape.
    """
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            # open(2) gives the lowest free number, which is this one. Children shall have it too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _writer(1)
    sys.stderr = sys.stderr or _writer(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_what_follows(stream: TextIO) -> None:
    """Send a stream that nobody reads to /dev/null: what is buffered would fail again at the end, and spoil the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to stderr as it is when a record comes. A reader that left is no error: what the pass does matters more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        if isinstance(sys.exc_info()[1], OSError):
            drop_what_follows(self.stream)
        else:
            super().handleError(record)


def _writer(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
