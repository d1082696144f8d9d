"""Plain data -> YAML as people write specs: blocks outside, braces where a thing fits into a line. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork, NotCarried

_WIDTH: Final = 118
_BRACES_DEEP_MAX: Final = 2
_PLAIN: Final = re.compile(r"(?:[A-Za-z_/]|[0-9](?=[0-9_.-]*[g-np-sv-wyG-NP-SV-WY]))[A-Za-z0-9_./-]*\Z")
"""A word that no YAML takes for anything but text: one that begins with a digit has a letter that no number or date has."""
_IPV4: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?\Z")
_WORDS: Final = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
"""What some YAML takes for something else than text, in any case of letters."""
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

Entry = ImportedNetwork | ImportedAttachment


def section_text(section: str, entries: tuple[Entry, ...]) -> str:
    """Return one section of a spec file, with a remark above each entry that says where it came from. "" for none."""
    if not entries:
        return ""
    parts = ("\n".join(_entry_lines(entry)) for entry in entries)
    return f"{section}:\n" + "\n".join(f"{part}\n" for part in parts)


def head_text(imported: Imported) -> str:
    """Return the remarks at the top: what of the source as a whole is not carried."""
    lines = [line for each in imported.not_carried for line in _not_carried_lines(each, "")]
    return "".join(f"{line}\n" for line in lines)


def _entry_lines(entry: Entry) -> Iterator[str]:
    yield from _remark(entry.source, "  ")
    for each in entry.not_carried:
        yield from _not_carried_lines(each, "  ")
    yield from _lines(entry.name, dict(entry.body), "  ", is_entry=True)


def _not_carried_lines(each: NotCarried, indent: str) -> Iterator[str]:
    yield from _remark(f"not carried: {each.what} ({each.where}): {each.why}", indent)


def _remark(text: str, indent: str) -> Iterator[str]:
    printable = "".join(character if character.isprintable() else _escape(character) for character in text)
    return iter(
        textwrap.wrap(
            printable,
            _WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}#   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _lines(key: str, value: object, indent: str, *, is_entry: bool = False) -> Iterator[str]:
    """Yield a key with its value. is_entry: its own keys stand one a line, unless there are none."""
    in_line = f"{indent}{_scalar(key)}: {in_braces(value)}"
    is_small = not isinstance(value, dict | list) or not value
    if is_small or (not is_entry and _fitsin_braces(value) and len(in_line) <= _WIDTH):
        yield in_line
        return
    yield f"{indent}{_scalar(key)}:"
    for item in value if isinstance(value, list) else ():
        yield f"{indent}  - {in_braces(item)}"
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from _lines(name, inner, f"{indent}  ")


def _fitsin_braces(value: object) -> bool:
    """Return whether people would write it so: no list of mappings, nothing that is nested much."""
    if isinstance(value, list):
        return not any(isinstance(item, dict) for item in value)
    return _depth(value) <= _BRACES_DEEP_MAX


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=-1)


def in_braces(value: object) -> str:
    """Return a value in one line, in which no two parts of it begin at one place."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(key))}: {in_braces(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_braces, value)) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    text = str(value)
    if _IPV4.match(text) or (_PLAIN.match(text) and text.lower() not in _WORDS):
        return text
    return '"' + "".join(_ESCAPES.get(each) or (each if each.isprintable() else _escape(each)) for each in text) + '"'


def _escape(character: str) -> str:
    """Return YAML's escape (YAML 1.2.2, section 5.7)."""
    point = ord(character)
    return f"\\x{point:02x}" if point < 1 << 8 else f"\\u{point:04x}" if point < 1 << 16 else f"\\U{point:08x}"
