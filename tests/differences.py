"""Where two values of dicts and lists differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def differences(left: Any, right: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Give the place, such as "links[2].mtu", and both values, `ABSENT` where there is none, of the innermost that differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            yield from differences(left.get(key, ABSENT), right.get(key, ABSENT), f"{place}.{key}".removeprefix("."))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        for number, (a, b) in enumerate(zip_longest(left, right, fillvalue=ABSENT)):
            yield from differences(a, b, f"{place}[{number}]")
    elif isinstance(left, str) and isinstance(right, str) and "\n" in left + right:
        yield from differences(left.splitlines(), right.splitlines(), place)
    elif left != right:
        yield place, left, right
