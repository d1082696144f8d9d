"""Read <state-dir>/events.ndjson, also while it is written and replaced. No rights needed but to read the file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from reconciler.errors import ReconcilerError
from reconciler.records.document import Misfit, json_object
from reconciler.records.file import BYTES_MAX, opened

CURRENT: Final = "events.ndjson"
BEFORE: Final = "events.ndjson.1"
"""The file that was full when `CURRENT` was begun."""

_LINE_MAX: Final = 1 << 16

Event = Mapping[str, object]


class EventFiles:
    """The events of one state folder, in order; a file that is not there holds none."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._file = _opened(state_dir / CURRENT)
        self._rest = b""

    def earlier(self) -> Iterator[Event]:
        """Yield what was written before the current file was begun."""
        before = _opened(self._state_dir / BEFORE)
        if before is None:
            return
        with before:
            is_current = self._file is not None and os.path.sameopenfile(before.fileno(), self._file.fileno())
            if not is_current:  # it was full between two of our steps
                yield from filter(None, map(_event, before))

    def new(self) -> Iterator[Event]:
        """Yield what is complete and was not given before; a line that is being written waits for its end."""
        while True:
            if self._file is None:
                self._file = _opened(self._state_dir / CURRENT)
            if self._file is None:
                return
            is_full = self._is_replaced()  # asked first: once it is, nothing more is written to it
            yield from self._complete_lines(self._file)
            if not is_full:
                return
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _complete_lines(self, file: BinaryIO) -> Iterator[Event]:
        while line := file.readline(_LINE_MAX):
            self._rest += line
            if not line.endswith(b"\n") and len(self._rest) < _LINE_MAX:
                return
            event = _event(self._rest)
            self._rest = b""
            if event is not None:
                yield event

    def _is_replaced(self) -> bool:
        assert self._file is not None
        try:
            return not os.path.samestat(os.stat(self._state_dir / CURRENT), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return True


def latest_events(state_dir: Path, bytes_max: int) -> list[Event]:
    """Return the last events, so many bytes of them at most, in order. None where the file cannot be read."""
    try:
        with opened(state_dir / CURRENT) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - bytes_max))
            lines = file.read(bytes_max).split(b"\n")
    except OSError:
        return []
    whole = lines[1:-1] if size > bytes_max else lines[:-1]  # the last one is being written
    return [event for line in whole if (event := _event(line)) is not None]


def _opened(path: Path) -> BinaryIO | None:
    try:
        return opened(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReconcilerError(f"{path} cannot be read: {error.strerror}") from error


def _event(line: bytes) -> Event | None:
    """Read one line; one that was cut off, or is none of ours, counts as none."""
    try:
        return json_object(line, BYTES_MAX)
    except Misfit:
        return None
