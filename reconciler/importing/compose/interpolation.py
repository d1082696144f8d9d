"""Compose's variables: `${NAME}` and its forms, filled in as compose-go's template package does. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from reconciler.records.faults import shown

_NAME: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_FORMS: Final = (":?", ":-", ":+", "?", "-", "+")
_DEEP_MAX: Final = 16
_LENGTH_MAX: Final = 1 << 16
"""Characters that one value may grow to."""

Told = Callable[[str], None]


class BadVariable(ValueError):
    """What is wrong, for the person who typed it. It never holds the value of a variable."""


def filled(text: str, values: Mapping[str, str], unset: Told, depth: int = 0) -> str:
    """Return the text with its variables filled in. unset: is told the names that have no value and no default.

    Raises BadVariable for one that is required, and for what is no variable.
    """
    if "$" not in text:
        return text
    if depth > _DEEP_MAX:
        raise BadVariable(f"variables are nested deeper than {_DEEP_MAX}")
    parts: list[str] = []
    at = length = 0
    while (dollar := text.find("$", at)) >= 0:
        found, after = _one(text, dollar, values, unset, depth)
        parts += (text[at:dollar], found)
        length += dollar - at + len(found)
        at = after
        if length > _LENGTH_MAX:
            raise BadVariable(f"with its variables filled in the text is longer than {_LENGTH_MAX} characters")
    return "".join((*parts, text[at:]))


def _one(text: str, dollar: int, values: Mapping[str, str], unset: Told, depth: int) -> tuple[str, int]:
    """Return what stands for the `$` at this place, and where the rest begins."""
    following = text[dollar + 1 : dollar + 2]
    if following == "$":
        return "$", dollar + 2
    if following == "{":
        end = _closing(text, dollar + 1)
        return _braced(text[dollar + 2 : end], values, unset, depth), end + 1
    name = _NAME.match(text, dollar + 1)
    if name is None:
        return "$", dollar + 1
    return _value(name[0], values, unset), name.end()


def _closing(text: str, opening: int) -> int:
    """Return where the brace that opens here is closed."""
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    raise BadVariable("`${` has no `}`: close it, or write $$ for a dollar sign")


def _braced(inner: str, values: Mapping[str, str], unset: Told, depth: int) -> str:
    name = _NAME.match(inner)
    if name is None:
        raise BadVariable("`${` is not followed by the name of a variable: write $$ for a dollar sign")
    rest = inner[name.end() :]
    if not rest:
        return _value(name[0], values, unset)
    form = next((form for form in _FORMS if rest.startswith(form)), None)
    if form is None:
        raise BadVariable(
            f"'${{{name[0]}{shown(rest[:20])}…}}' is no form of Compose's: it has {', '.join(_FORMS)} after the name"
        )
    return _formed(name[0], form, rest[len(form) :], values, unset, depth)


def _formed(name: str, form: str, other: str, values: Mapping[str, str], unset: Told, depth: int) -> str:
    """Return the value, or what the form says instead. A colon counts an empty value as none."""
    value = values.get(name)
    is_there = value is not None and (value != "" or form[0] != ":")
    match form[-1]:
        case "+":
            return filled(other, values, unset, depth + 1) if is_there else value or ""
        case "-":
            return value or "" if is_there else filled(other, values, unset, depth + 1)
    if not is_there:
        reason = shown(other)  # as it stands there: Compose would fill in variables, and they may be secret
        raise BadVariable(
            f"variable {name} is required{': ' + reason if reason else ''}: set it in the environment or .env"
        )
    return value or ""


def _value(name: str, values: Mapping[str, str], unset: Told) -> str:
    value = values.get(name)
    if value is None:
        unset(name)
    return value or ""
