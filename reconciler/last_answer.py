"""Pure functions that are asked the same question again and again: remember the last answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class LastAnswer(Generic[P, T]):
    """Calls `function`, or gives its last answer when the arguments are equal to the last ones. For pure functions only."""

    def __init__(self, function: Callable[P, T]) -> None:
        self._function = function
        self._last: tuple[tuple[object, ...], dict[str, object], T] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        # Tuples compare identical members without calling their __eq__, so the usual hit costs nothing.
        if self._last is not None and self._last[0] == args and self._last[1] == kwargs:
            return self._last[2]
        answer = self._function(*args, **kwargs)
        self._last = (args, dict(kwargs), answer)
        return answer


class LastAnswers:
    """Calls pure functions, each by a `LastAnswer` of its own."""

    def __init__(self) -> None:
        self._of: dict[object, LastAnswer[..., Any]] = {}

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        answer: T = self._of.setdefault(function, LastAnswer(function))(*args, **kwargs)
        return answer
