"""One input of one target, within bounds: of the processor, of memory, of what people are told, and no error but ours."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.cli.logs import TextFormatter
from tests.fuzz.target import Target

CPU_S: Final = 5.0
"""Of the processor, for one input of a few kB. Not by the clock: a machine that is busy is no fault of the product."""

MEMORY: Final = 256 << 20
"""Bytes that a run may take beside what the process has."""

TOLD_MAX: Final = 4000
"""Characters of one message: many times what a person reads."""

_AGAIN_S: Final = 0.2
_PACKAGE: Final = str(Path(__file__).parent.parent.parent / "reconciler")
_FORMATTER: Final = TextFormatter()


class TooLong(BaseException):
    """The input took more of the processor than it may. No Exception, so that nobody takes it for one of what the input is."""


@dataclass(frozen=True)
class Finding:
    """Something that must not be. place: tells it from others; text: for the person who mends it."""

    place: str
    text: str


class Bounds:
    """Tries inputs of one target, one by one. Enter it first: memory is bounded as long as it is open."""

    def __init__(self, target: Target, cpu_s: float = CPU_S, memory: int = MEMORY) -> None:
        self._target, self._cpu_s, self._memory = target, cpu_s, memory
        self._records = _Records()
        self._is_running = False

    def __enter__(self) -> Bounds:
        self._before = signal.signal(signal.SIGPROF, self._out_of_time)
        self._limit = resource.getrlimit(resource.RLIMIT_AS)
        self.renew()
        logging.getLogger("reconciler").addHandler(self._records)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("reconciler").removeHandler(self._records)
        resource.setrlimit(resource.RLIMIT_AS, self._limit)
        signal.signal(signal.SIGPROF, self._before)

    def renew(self) -> None:
        """Count memory from what the process has now."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        own = pages * resource.getpagesize() + self._memory
        most = self._limit[1]
        resource.setrlimit(resource.RLIMIT_AS, (own if most == resource.RLIM_INFINITY else min(own, most), most))

    def tried(self, data: bytes) -> Finding | None:
        """Run the target on an input. Never raises for what the input does."""
        self._records.found.clear()
        try:
            with self._time():
                self._target.run(data)
        except self._target.ours as error:
            self._records.found.append(_record(error))
        except TooLong as error:
            return None if self._target.is_bounded_elsewhere else _finding(f"more than {self._cpu_s:g} CPU s", error)
        except (Exception, SystemExit) as error:
            return _finding(f"{type(error).__name__}: {error}", error)
        return next(filter(None, map(_misfit, self._records.found)), None)

    @contextlib.contextmanager
    def _time(self) -> Iterator[None]:
        self._is_running = True
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s, _AGAIN_S)
        try:
            yield
        finally:
            self._is_running = False
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _out_of_time(self, *_: object) -> None:
        if self._is_running:
            raise TooLong


class _Records(logging.Handler):
    """Keeps what was logged, as it would reach a terminal."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


def _record(error: Exception) -> logging.LogRecord:
    return logging.LogRecord("reconciler", logging.ERROR, "", 0, "%s", (error,), None)


def _misfit(record: logging.LogRecord) -> Finding | None:
    """Return what is wrong with a message: it would be more than one line, or control a terminal, or tells of an unknown error."""
    text = _FORMATTER.format(record)
    if record.exc_info and record.exc_info[1] is not None and record.levelno >= logging.ERROR:
        return _finding(f"logged as a bug: {text}", record.exc_info[1])
    if not text.isprintable():
        return Finding(f"raw characters: {record.msg}", f"raw characters in a message: {text!r}")
    if len(text) > TOLD_MAX:
        place = record.msg if record.args is None or record.msg != "%s" else _of(record)
        return Finding(f"long message: {place}", f"a message of {len(text)} characters: {text[:300]!r}…")
    return None


def _of(record: logging.LogRecord) -> str:
    (error,) = record.args if isinstance(record.args, tuple) and len(record.args) == 1 else (None,)
    return _place(error) if isinstance(error, BaseException) and error.__traceback__ else type(error).__name__


def _finding(what: str, error: BaseException) -> Finding:
    told = "".join(traceback.format_exception(error, limit=-25))
    return Finding(f"{type(error).__name__} at {_place(error)}", f"{what[:1000]}\n\n{told[-8000:]}")


def _place(error: BaseException) -> str:
    """Return the innermost line of ours that an error came through; for what does not hold, that which says so."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
    frame = (frames if isinstance(error, AssertionError) or not own else own)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
