"""`.env`: text -> variables, as compose-go's dotenv package reads it. Pure. Values may be secret: no message holds one."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Final

from reconciler.errors import SpecError
from reconciler.importing.compose.interpolation import BadVariable, filled

_SPACE: Final = " \t\v\f\r\x85\xa0"
_KEY: Final = re.compile(rf"(?:export[{_SPACE}]+)?([\w.\-\[\]]+)[{_SPACE}]*(=|:|\n|\Z)")
_ESCAPE: Final = re.compile(r"\\([abcfnrtv$\"\\]|0[0-7]{0,3})")
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}


def variables(file: str, content: str, outer: Mapping[str, str]) -> dict[str, str]:
    """Return what the file sets. outer: what is set already, which wins where values use variables. Raises SpecError."""
    found: dict[str, str] = {}
    known = ChainMap(dict(outer), found)
    text = content.removeprefix("\ufeff").replace("\r\n", "\n")
    at = _statement(text, 0)
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            raise _fault(file, text, at, "expected NAME=value")
        name, mark = key[1], key[2]
        at = key.end()
        if mark in "=:" and mark:
            found[name], at = _value(file, text, at, known)
        elif name in outer:
            found[name] = outer[name]
        at = _statement(text, at)
    return found


def _fault(file: str, text: str, at: int, message: str) -> SpecError:
    return SpecError(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), message)


def _statement(text: str, at: int) -> int:
    """Return where the next one begins, after blanks, empty lines and remarks."""
    while at < len(text):
        if text[at] == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif not text[at].isspace():
            return at
        else:
            at += 1
    return at


def _value(file: str, text: str, at: int, values: Mapping[str, str]) -> tuple[str, int]:
    """Return the value that begins here, and where the rest begins."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    quote = text[at : at + 1]
    if quote not in ("'", '"') or not quote:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        plain = text[at:end].partition(" #")[0].rstrip()
        return _filled(file, text, at, plain, values), end
    end = _closing(file, text, at, quote)
    inner = text[at + 1 : end].replace(f"\\{quote}", quote)
    if quote == '"':
        inner = _filled(file, text, at, _ESCAPE.sub(_unescaped, inner), values)
    return inner, end + 1


def _closing(file: str, text: str, at: int, quote: str) -> int:
    end = at + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise _fault(file, text, at, "a quoted value is not closed")
    return end


def _unescaped(match: re.Match[str]) -> str:
    sign = match[1]
    if sign == "$":
        return "$$"
    if sign[0] == "0":  # three octal digits after it, or nothing
        return chr(int(sign[1:], 8)) if len(sign) == 4 and sign < "0400" else f"\\{sign[1:]}"
    return _ESCAPED[sign]


def _filled(file: str, text: str, at: int, value: str, values: Mapping[str, str]) -> str:
    try:
        return filled(value, values, lambda name: None)
    except BadVariable as error:
        raise _fault(file, text, at, str(error)) from error
