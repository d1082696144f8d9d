"""The unit files that quadlet reads: sections of `Key=value` with continued lines, as systemd has them, and drop-ins. Pure.

As quadlet does it: a line is stripped before the next one is put behind it, and an empty value forgets the ones before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

_SECTION: Final = re.compile(r"\[([^][]+)\]\s*\Z")
_TRUE: Final = ("1", "yes", "true", "on")
_ESCAPES: Final = {**dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)), "s": " "}
_CODE: Final = re.compile(r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}")
_SPECIFIER: Final = re.compile(r"%(.?)", re.DOTALL)


class UnitFault(Exception):
    """`str()` says what is wrong; line: where, from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Setting(NamedTuple):
    section: str
    key: str
    value: str


class UnitFile(Struct, frozen=True, kw_only=True):
    """name: of the file. settings: in the order in which they count."""

    name: str
    settings: tuple[_Setting, ...]

    def with_drop_in(self, text: str) -> UnitFile:
        return UnitFile(name=self.name, settings=(*self.settings, *_settings(text)))

    def has_section(self, section: str) -> bool:
        return any(setting.section == section for setting in self.settings)

    def all(self, section: str, key: str) -> list[str]:
        """Return each value since the last empty one."""
        found: list[str] = []
        for setting in self.settings:
            if (setting.section, setting.key) == (section, key):
                found = [*found, setting.value] if setting.value else []
        return found

    def last(self, section: str, key: str) -> str:
        """Return the value that counts, without the quotes around it; "" for none."""
        values = [each.value for each in self.settings if (each.section, each.key) == (section, key)]
        value = values[-1].rstrip() if values else ""
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value

    def is_on(self, section: str, key: str) -> bool:
        return self.last(section, key).lower() in _TRUE

    def words(self, section: str, key: str, *, is_unescaped: bool = True) -> list[str]:
        """Return the words of all values. is_unescaped: that a backslash stands for something."""
        return [word for value in self.all(section, key) for word in split_words(value, is_unescaped=is_unescaped)]

    def keys(self, section: str) -> list[str]:
        return list(dict.fromkeys(setting.key for setting in self.settings if setting.section == section))


def parse_unit(name: str, text: str) -> UnitFile:
    """Raises UnitFault."""
    return UnitFile(name=name, settings=tuple(_settings(text)))


def _settings(text: str) -> Iterator[_Setting]:
    section = ""
    for number, line in _logical_lines(text):
        match = _SECTION.match(line)
        key, equals, value = line.partition("=")
        if match:
            section = match[1]
        elif not equals or not key.strip():
            raise UnitFault(number, "expected [SECTION], KEY=VALUE or a comment")
        elif not section:
            raise UnitFault(number, "a key stands before the first [SECTION]")
        else:
            yield _Setting(section, key.strip(), value.strip())


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with those that continue them, and the number of the first; comments are left out between them, too."""
    begun, first = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        first = first if begun else number
        begun += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield first, begun
            begun = ""
    if begun:
        yield first, begun


def split_words(text: str, *, is_unescaped: bool) -> list[str]:
    """Split at white space outside quotes, which go."""
    words: list[str] = []
    word, quote, at = None, "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "\\" and is_unescaped:
            meant, at = _unescaped(text, at)
            word = (word or "") + meant
        elif quote:
            word, quote = (word, "") if character == quote else ((word or "") + character, quote)
        elif character in "\"'":
            word, quote = word or "", character
        elif not character.isspace():
            word = (word or "") + character
        elif word is not None:
            words.append(word)
            word = None
    return words if word is None else [*words, word]


def _unescaped(text: str, at: int) -> tuple[str, int]:
    """Return what the escape after a backslash stands for, and where it ends."""
    match = _CODE.match(text, at)
    if match:
        digits = match[0]
        code = int(digits, 8) if digits.isdigit() and len(digits) == 3 else int(digits[1:], 16)
        return (chr(code) if code <= 0x10FFFF else "\ufffd"), match.end()
    character = text[at : at + 1]
    return _ESCAPES.get(character, character), at + 1


def expanded(text: str, meanings: Mapping[str, str]) -> str:
    """Put in what the specifiers of systemd.unit(5) stand for. Raises ValueError, with the one that nobody here knows."""

    def meaning(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if match[1] not in meanings:
            raise ValueError(match[0])
        return meanings[match[1]]

    return _SPECIFIER.sub(meaning, text)


def drop_in_folders(name: str) -> Sequence[str]:
    """Return where drop-ins of a unit may lie, the one that counts most first: `web.container.d`, …, `container.d`."""
    stem, _, kind = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    found = [f"{kind}.d"]
    parts = prefix.split("-")
    for end in range(1, len(parts)):
        begin = "-".join(parts[:end]) + "-"
        found += [f"{begin}.{kind}.d", *([f"{begin}@.{kind}.d"] if at else [])]
    if instance:
        found.append(f"{prefix}@.{kind}.d")
    return [*reversed([*found, f"{name}.d"])]
