"""Templates are rendered in a process of their own, which may take so much time and memory: a bomb costs its own file, nobody else.

The limits inside `templates` are what authors meet; these here hold whatever a template finds to do between them.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from reconciler.errors import SpecError
from reconciler.spec.document import LineMap
from reconciler.spec.files import SpecText
from reconciler.spec.templates import Renderer, TooMuch

SECONDS_MAX: Final = 5.0
"""Of the processor, for one template."""
ALL_SECONDS_MAX: Final = 30
"""For all templates of a folder."""
MEMORY_MAX: Final = 256 << 20
"""Bytes beyond what the process has when it begins."""
WAIT_SECONDS_MAX: Final = 60.0
"""For all templates of a folder, whatever the process does: one that waits for what never comes takes no time of the processor."""

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_AGAIN_SECONDS: Final = 0.1
_PIECE: Final = 1 << 16

Rendered = tuple[str, LineMap]


def rendered(
    renderer: Renderer, templates: Sequence[SpecText], faults: list[SpecError]
) -> Iterator[tuple[SpecText, Rendered]]:
    """Yield each template with what it came to; those that came to nothing have a fault added. faults: those of `renderer`."""
    reading, writing = os.pipe()
    mask = {
        *map(int, signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING))
    }  # what they mean to the parent never begins in the child
    try:
        pid = os.fork()
        if pid == 0:
            _be_the_child(renderer, templates, faults, writing, mask)
    except OSError as error:
        os.close(reading)
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        faults += [SpecError(text.name, 0, 0, f"cannot be rendered now: {error.strerror}") for text in templates]
        return
    done, why = 0, f"bad template: {_beyond(SECONDS_MAX)}"
    try:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for template, line in zip(templates, _lines(reading), strict=False):
            said = json.loads(line)
            done += 1
            faults += [SpecError(*fault) for fault in said["faults"]]
            if said["text"] is not None:
                yield template, (said["text"], _line_map(said))
    except TimeoutError:
        why = f"not rendered within {WAIT_SECONDS_MAX:g} s: try again with less at work here, or have the template do less"
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if done < len(templates):
        faults.append(SpecError(templates[done].name, 0, 0, why))
        faults += [
            SpecError(text.name, 0, 0, f"not rendered, as {templates[done].name} took too long")
            for text in templates[done + 1 :]
        ]


def _lines(reading: int) -> Iterator[bytearray]:
    """Yield what the child says, without what it ended in the middle of. Raises TimeoutError when all waits take too long."""
    poll, left_s, line = select.poll(), WAIT_SECONDS_MAX, bytearray()
    poll.register(reading, select.POLLIN)
    while True:
        began = time.monotonic()
        if not poll.poll(max(left_s, 0) * 1000):
            raise TimeoutError
        left_s -= time.monotonic() - began
        if not (piece := os.read(reading, _PIECE)):
            return
        for index, part in enumerate(piece.split(b"\n")):
            if index:
                yield line
                line = bytearray()
            line += part


def _line_map(said: dict[str, Any]) -> LineMap:
    return LineMap(lines=tuple(said["lines"]), same=frozenset(said["same"]), is_rendered=True)


def _beyond(seconds: float) -> str:
    return f"it takes more than {seconds:g} s of processor time, or {MEMORY_MAX >> 20} MiB of memory"


def _be_the_child(
    renderer: Renderer, templates: Sequence[SpecText], faults: list[SpecError], writing: int, mask: set[int]
) -> NoReturn:
    """Never returns: nothing of what the parent was about goes on here."""
    try:
        gc.freeze()  # what the parent had thrown away is not cleared away here: that may wait for a thread, and here is none
        signal.set_wakeup_fd(-1)
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number in (signal.SIGPROF, signal.SIGXCPU):
            signal.signal(number, _out_of_time)
        os.closerange(3, writing)  # sockets that are locks must not outlive the parent here
        os.closerange(writing + 1, 1 << 16)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY_MAX)
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_CPU, ALL_SECONDS_MAX, ALL_SECONDS_MAX + 1)
        for template in templates:
            _write_all(writing, _said(renderer, template, faults))
    finally:
        os._exit(0)


def _said(renderer: Renderer, template: SpecText, faults: list[SpecError]) -> bytes:
    before = len(faults)
    # Told again and again: what is raised while something is being thrown away is lost.
    signal.setitimer(signal.ITIMER_PROF, SECONDS_MAX, _AGAIN_SECONDS)
    try:
        text, line_map = renderer.render(template) or (None, LineMap())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    said = {
        "text": text,
        "lines": line_map.lines,
        "same": sorted(line_map.same),
        "faults": [(fault.file, fault.line, fault.column, fault.message) for fault in faults[before:]],
    }
    return f"{json.dumps(said)}\n".encode()


def _write_all(descriptor: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(descriptor, left) :]


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, within what the process is allowed."""
    allowed = resource.getrlimit(kind)[1]
    most = sys.maxsize if allowed == resource.RLIM_INFINITY else allowed
    resource.setrlimit(kind, (min(soft, most), allowed if hard is None else min(hard, most)))


def _out_of_time(*_: object) -> NoReturn:
    raise TooMuch(_beyond(SECONDS_MAX))
