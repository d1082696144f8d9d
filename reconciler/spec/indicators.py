"""Which `:` and `?` of a YAML text are indicators, by YAML 1.2. Knows characters, not structure.

libyaml reads YAML 1.1: inside brackets it takes every `:` and `?` for an indicator, and it breaks lines at three characters that
are text today. So before it sees the text, each of those that YAML 1.2 calls text is replaced by a mark, one character by one,
so that places stay; what libyaml gives is read back. There is no other grammar beside this one.

Whether a character is text shows from its neighbours, wherever it stands: between quotes, in comments and in block style a mark
changes nothing, for it is read back. A colon after a quote or bracket may follow a JSON-like key (`"a":b`), and stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain, islice
from typing import Final

from msgspec import Struct

_TEXT: Final = re.compile(
    r"""
    (?= [!"'\]}:?\x85\u2028\u2029] ) (?:  # one look at most characters
      ! (?<![^\s,\[{]!) (?: <[^>\s]*> | [^\s,\[\]{}]* )  # a tag is left as it is
    | ["'\]}] [ \t\r\n]* :  # so is the colon of a JSON-like key
    | (?P<colon> : (?=[^\s,\[\]{}]) )  # [8080:80], [::1]
    | (?P<closing> : (?=[,\]}]) )  # {a:, b: 1}: of a key without a value, when in brackets
    | (?P<question> \? (?: (?<=[^\s,\[{]\?) | (?<=[^\s,\[{:?-]\ \?) | (?=[^\s,\[\]{}]) ) )
    | (?P<next_line> \x85 ) | (?P<line_separator> \u2028 ) | (?P<paragraph_separator> \u2029 )
    )""",
    re.VERBOSE,
)
_CHARACTERS: Final[Mapping[str, str]] = {
    "colon": ":",
    "closing": ":",
    "question": "?",
    "next_line": "\x85",
    "line_separator": "\u2028",
    "paragraph_separator": "\u2029",
}
_MARKS: Final = (range(0xE000, 0xF900), range(0x10000, 0x110000))
"""What marks are made of: private use first. More of them than a text has room for."""


_ESCAPED: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")


class MarkedText(Struct, frozen=True):
    """text: for libyaml. marks: what each stands for. colon: the commonest. closing: of a colon that a flow key may end with."""

    text: str
    marks: Mapping[int, str]
    colon: str
    closing: str

    def read_back(self, scalar: str) -> str:
        plain = scalar.replace(self.colon, ":")
        return plain if plain.isascii() else plain.translate(self.marks)


def marked(text: str) -> MarkedText:
    """Mark what is text. Marks are characters that the text does not have, nor gives by an escape."""
    used = frozenset() if text.isascii() else frozenset(map(ord, text))
    if "\\" in text:
        used |= {int(short or long, 16) for short, long in _ESCAPED.findall(text)}
    free = (chr(code) for code in chain(*_MARKS) if code not in used)
    marks = dict(zip(_CHARACTERS, islice(free, len(_CHARACTERS)), strict=True))

    def mark(match: re.Match[str]) -> str:
        return match[0] if match.lastgroup is None else marks[match.lastgroup]

    meant = {ord(marks[name]): character for name, character in _CHARACTERS.items()}
    return MarkedText(_TEXT.sub(mark, text), meant, marks["colon"], marks["closing"])
