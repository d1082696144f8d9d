"""Programs that are run for what they say: bounded in time and bytes, as what makes them speak may be anybody's."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from msgspec import Struct

_PIECE: Final = 1 << 16
_COMPLAINT_MAX: Final = 1 << 16
"""Bytes that are kept of what it complains: the last ones."""


class Heard(Struct, frozen=True, kw_only=True):
    """code: that it ended with. out, complaint: what it wrote to stdout and stderr."""

    code: int
    out: bytes
    complaint: bytes


class SaidTooMuch(Exception):
    """It was ended before it had said all."""


def said_by(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    bytes_max: int,
    given: bytes = b"",
    begun: Callable[[subprocess.Popen[bytes]], object] = lambda _: None,
) -> Heard:
    """Run a program to its end. given: what it reads. begun: is handed the process, for who may `end` it.

    Raises OSError where it cannot be run, TimeoutError, and SaidTooMuch for more than `bytes_max`; nothing of it runs on then.
    """
    with TemporaryFile() as asked:
        asked.write(given)
        asked.seek(0)
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    with process:
        try:
            begun(process)
            return _heard(process, time.monotonic() + timeout_s, bytes_max)
        except BaseException:
            end(process)
            raise


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started. Harmless when it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _heard(process: subprocess.Popen[bytes], deadline: float, bytes_max: int) -> Heard:
    out, complaint, length = list[bytes](), b"", 0
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(_left(deadline)):
                piece = os.read(key.fd, _PIECE)
                length += len(piece)
                if not piece:
                    selector.unregister(key.fd)
                elif length > bytes_max:
                    raise SaidTooMuch
                elif key.fileobj is process.stdout:
                    out.append(piece)
                else:
                    complaint = (complaint + piece)[-_COMPLAINT_MAX:]
    try:
        code = process.wait(_left(deadline))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return Heard(code=code, out=b"".join(out), complaint=complaint)


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
