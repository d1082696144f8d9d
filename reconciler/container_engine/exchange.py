"""Questions to an engine at its socket: several at once, all over by one deadline, whatever the engine does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import AnswerTooLong, BadResponse, Request, Response
from reconciler.http.connection import Connection, Origin

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of one answer, of which an engine's are some 10 kB; what is longer is refused rather than held in memory."""

_AT_ONCE: Final = 16

EngineResponse = Response | ContainerEngineError


def ask(
    path: Path, targets: Sequence[str], timeout_s: float, *, body_max: int = ANSWER_BYTES_MAX
) -> list[EngineResponse]:
    """GET each target; one answer each, in the same order. Takes at most `timeout_s`, for all of them together."""
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, which who joins no containers need not spend

    deadline = time.monotonic() + timeout_s

    def answer(target: str) -> EngineResponse:
        request = Request(method="GET", target=target)
        try:
            with connected(path, deadline, f"no answer within {timeout_s:g} s") as connection:
                try:
                    return connection.exchange(request, body_max=body_max, is_last=True)
                finally:
                    connection.discard()
        except ContainerEngineError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(answer, targets))


@contextmanager
def connected(path: Path, deadline: float, too_late: str) -> Iterator[Connection]:
    """Connect; raises ContainerEngineError for what goes wrong from then on. too_late: what to say of an engine that hangs."""
    connection = Connection(Origin(name="localhost", unix=str(path)))
    connection.deadline = deadline
    with translated(path, too_late):
        try:
            connection.connect()
        except TimeoutError:
            raise
        except (OSError, ValueError) as cause:
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
            advice = "start it, or name its socket with --container-engine"
            raise ContainerEngineError(f"no container engine answers at {path}: {reason}; {advice}") from cause
        yield connection


@contextmanager
def translated(path: Path, too_late: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as cause:
        raise ContainerEngineError(f"{path}: {too_late}; look after the container engine there") from cause
    except AnswerTooLong as cause:
        raise ContainerEngineError(f"{path}: {cause}; this is no container engine") from cause
    except BadResponse as cause:
        raise ContainerEngineError(f"{path}: no answer of a container engine: {cause}") from cause
    except OSError as cause:
        raise ContainerEngineError(f"{path}: {cause.strerror}") from cause
