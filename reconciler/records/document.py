"""The JSON of a record, bounded in length and depth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final, NoReturn

import msgspec

DEPTH_MAX: Final = 64
"""Levels of lists and objects in each other; ours have six, a container engine's descriptions about ten."""


class Misfit(Exception):
    """A record is not what it should be; the text says why, without repeating its content."""


def json_object(text: str | bytes | bytearray, length_max: int) -> Mapping[str, object]:
    """Return the JSON object that a text is. Raises Misfit."""
    value = json_value(text, length_max)
    if not isinstance(value, dict):
        raise Misfit("not a JSON object")
    return value


def json_value(text: str | bytes | bytearray, length_max: int) -> object:
    """Return the value that a JSON text stands for (RFC 8259, so no NaN, nor a number too large for one). Raises Misfit."""
    if len(text) > length_max:
        raise Misfit(f"longer than {length_max} {'characters' if isinstance(text, str) else 'bytes'}")
    try:
        text = text if isinstance(text, str) else text.decode()
        value: object = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Misfit("not JSON") from None
    if text.count("[") + text.count("{") > DEPTH_MAX and _is_deeper(value, DEPTH_MAX):
        raise Misfit(f"nested more than {DEPTH_MAX} levels deep")
    return value


def json_bytes(value: object) -> bytes:
    """Return the JSON of a plain value. Text of others may have halves of pairs, which UTF-8 cannot say and escapes can."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    """Python reads 1e999 as infinity, which no whole number can be made of, and which would be no JSON when written."""
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)


def _is_deeper(value: object, depth: int) -> bool:
    """Return whether more than `depth` containers stand in each other; without recursion, whose limit depends on the caller."""
    level = [value] if type(value) in (dict, list) else []
    for _ in range(depth):
        if not level:
            return False
        members = (member for each in level for member in (each.values() if isinstance(each, dict) else each))  # type: ignore[attr-defined]  # a list
        level = [member for member in members if type(member) in (dict, list)]
    return bool(level)
