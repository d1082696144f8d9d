"""JSON as docker prints it: four spaces, keys in the order given, text unescaped but for what could harm a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Final, TypeAlias

from msgspec import Struct

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | Rendered | None"

_HARMFUL: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""DEL and C1 controls, line separators, marks that turn the writing direction, halves of surrogate pairs."""

_INDENT: Final = "    "
_WORDS: Final = {None: "null", True: "true", False: "false"}


class Rendered(Struct, frozen=True):
    """A value that is text already, with the indentation of the place where it stands."""

    text: str


def json_text(value: Json) -> str:
    """Return what `json.dumps(value, indent=4, ensure_ascii=False)` gives, and a final newline, in half the time.

    A first pass renders thousands of documents; the standard encoder runs in Python as soon as it shall indent.
    """
    return _harmless(_text(value, "\n") + "\n")


def member_text(name: str, value: Json, depth: int) -> str:
    """Return one member of an object whose members are indented so many times, for `object_parts`."""
    return _harmless(f"{encode_basestring(name)}: {_text(value, chr(10) + depth * _INDENT)}")


def object_parts(members: Iterable[str], depth: int) -> Iterator[str]:
    """Yield the object of members that `member_text` gave for the same depth, piece by piece, as each copy of megabytes counts."""
    inner = "\n" + depth * _INDENT
    before = "{" + inner
    for member in members:
        yield before
        yield member
        before = "," + inner
    yield inner.removesuffix(_INDENT) + "}" if before[0] == "," else "{}"


def _harmless(text: str) -> str:
    is_harmless = text.isascii() and "\x7f" not in text
    return text if is_harmless else _HARMFUL.sub(_escape, text)


def _text(value: Json, newline: str) -> str:
    """newline: a line break and the indentation that the value's own closing bracket has."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, (bool, int, float)):
        return _WORDS[value] if value is None or isinstance(value, bool) else repr(value)
    if isinstance(value, Rendered):
        return value.text
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    inner = newline + _INDENT
    if isinstance(value, (dict, Mapping)):  # the concrete type first: many times quicker
        # Most members are text: asking for that here spares a call for each.
        members = [
            f"{encode_basestring(key)}: {encode_basestring(member) if type(member) is str else _text(member, inner)}"
            for key, member in value.items()
        ]
        return f"{{{inner}{f',{inner}'.join(members)}{newline}}}"
    return f"[{inner}{f',{inner}'.join([_text(item, inner) for item in value])}{newline}]"


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
