"""Questions to an engine at its socket: several at once, all over by one deadline, whatever the engine does."""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import Answer as HttpAnswer
from reconciler.http.client_protocol import AnswerTooLong, BadAnswer, Request
from reconciler.http.exchange import Exchange

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of one answer, of which an engine's are some 10 kB; what is longer is refused rather than held in memory."""

_AT_ONCE: Final = 16

Answer = HttpAnswer | ContainerEngineError


def ask(path: Path, targets: Sequence[str], timeout_s: float) -> list[Answer]:
    """GET each target; one answer each, in the same order. Takes at most `timeout_s`, for all of them together."""
    deadline = time.monotonic() + timeout_s
    too_late = ContainerEngineError(f"{path}: no answer within {timeout_s:g} s; look after the container engine there")
    answers: list[Answer] = [too_late] * len(targets)
    waiting = list(reversed(list(enumerate(targets))))
    with selectors.DefaultSelector() as selector, ExitStack() as opened:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < _AT_ONCE:
                number, target = waiting.pop()
                try:
                    exchange = opened.enter_context(closing(asked(path, target, ANSWER_BYTES_MAX)))
                    selector.register(exchange, selectors.EVENT_READ, number)
                except ContainerEngineError as error:
                    answers[number] = error
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            for key, _ in selector.select(left_s):
                assert isinstance(key.fileobj, Exchange)
                answer = _answer(path, key.fileobj)
                if answer is not None:
                    answers[key.data] = answer
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
    return answers


def asked(path: Path, target: str, body_max: int | None = None) -> Exchange:
    """Ask, and give what the answer will come by. Raises ContainerEngineError."""
    try:
        return Exchange(path, Request(method="GET", target=target), body_max)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        advice = "start it, or name its socket with --container-engine"
        raise ContainerEngineError(f"no container engine answers at {path}: {reason}; {advice}") from cause


def advance(path: Path, exchange: Exchange) -> None:
    """Take what has come. Raises ContainerEngineError."""
    try:
        exchange.advance()
    except AnswerTooLong as cause:
        raise ContainerEngineError(f"{path}: {cause}; this is no container engine") from cause
    except BadAnswer as cause:
        raise ContainerEngineError(f"{path}: no answer of a container engine: {cause}") from cause
    except OSError as cause:
        raise ContainerEngineError(f"{path}: {cause.strerror}") from cause


def _answer(path: Path, exchange: Exchange) -> Answer | None:
    """Take what has come; None while there is more to come."""
    try:
        advance(path, exchange)
    except ContainerEngineError as error:
        return error
    return exchange.answering.answer() if exchange.answering.is_over else None
