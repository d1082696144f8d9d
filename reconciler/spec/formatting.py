"""The text of a spec file -> the same with keys in one order, its modeline first and no stray blanks. Pure.

Whole lines move, each with the comments above it, and what stands in one line in braces moves there; nothing else is written anew,
so that comments, anchors, quotes and layout stay as typed. What would say something else afterwards is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from ruamel.yaml.cyaml import CBaseLoader
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from reconciler.errors import SpecError
from reconciler.spec.attachment import AttachmentSpec, EndpointSpec, LongPort, SandboxSpec
from reconciler.spec.document import parse_document
from reconciler.spec.expectation import ExpectationSpec, PartiesSpec
from reconciler.spec.network import IpamSpec, NetworkSpec, SubnetSpec
from reconciler.spec.spec_model import SpecModel

MODELINE: Final = "# yaml-language-server: $schema="
_MODELINE: Final = re.compile(r"# *yaml-language-server: *\$schema=(\S+)[ \t]*\Z")
_OTHER_BREAKS: Final = re.compile("[\r\x85\u2028\u2029]")
_MERGE: Final = "<<"
_TOP: Final = ("name", "version", "networks", "attachments", "expect")

_MODELS: Final[Mapping[tuple[str, ...], type[SpecModel]]] = {
    ("networks", "*"): NetworkSpec,
    ("networks", "*", "ipam"): IpamSpec,
    ("networks", "*", "ipam", "config", "*"): SubnetSpec,
    ("attachments", "*"): AttachmentSpec,
    ("attachments", "*", "sandbox"): SandboxSpec,
    ("attachments", "*", "networks", "*"): EndpointSpec,
    ("attachments", "*", "ports", "*"): LongPort,
    ("expect", "*"): ExpectationSpec,
    ("expect", "*", "from"): PartiesSpec,
    ("expect", "*", "to"): PartiesSpec,
}


def formatted(file: str, text: str, schema: str = "") -> tuple[str, list[SpecError]]:
    """Return the text in canonical form, or its faults. schema: what the modeline shall name, where the file has none."""
    before, faults = parse_document(file, text)
    if faults or before is None:
        return text, faults
    plain = _without_stray_blanks(text)
    for body in (_ordered(plain), plain, text):
        found = _with_modeline(body, schema)
        after, faults = parse_document(file, found)
        if after is not None and not faults and after.data == before.data:
            return found, []
    return text, []


def _composed(text: str) -> Any:
    """Return the node of the whole text, None where it cannot be told apart: libyaml knows more line breaks than we."""
    if _OTHER_BREAKS.search(text):
        return None
    try:
        return CBaseLoader(text).get_single_node()
    except YAMLError:
        return None


def _without_stray_blanks(text: str) -> str:
    """Blanks at ends of lines and of the file mean nothing but in text of several lines, where they stay."""
    lines = [_without_returns(line) for line in text.removeprefix("\ufeff").split("\n")]
    kept = {line for first, last in _long_texts(_composed("\n".join(lines))) for line in range(first, last)}
    stripped = [line if number in kept else line.rstrip(" \t") for number, line in enumerate(lines)]
    while stripped and not stripped[-1] and len(stripped) - 1 not in kept:
        stripped.pop()
    return "\n".join((*stripped, "")).lstrip("\n")


def _without_returns(line: str) -> str:
    """Take carriage returns from the end of a line, with the blanks behind the first of them."""
    said = line.rstrip(" \t\r")
    return said + line[len(said) :].partition("\r")[0]


def _long_texts(node: Any) -> Iterator[tuple[int, int]]:
    if isinstance(node, ScalarNode):
        if node.start_mark.line < node.end_mark.line:
            yield node.start_mark.line, node.end_mark.line + (node.end_mark.column > 0)
    elif isinstance(node, MappingNode | SequenceNode):
        for _, _, value in _entries(node):
            yield from _long_texts(value)


def _with_modeline(text: str, schema: str) -> str:
    """Put the first modeline on top; one that names another schema than ours is its author's."""
    lines = text.split("\n")
    at = next((number for number, line in enumerate(lines) if _MODELINE.match(line)), None)
    if at is None:
        return f"{MODELINE}{schema}\n{text}" if schema else text
    named = _MODELINE.match(lines.pop(at))
    assert named is not None
    return "\n".join((f"{MODELINE}{named[1]}", *lines))


# ---- order


def _ordered(text: str) -> str:
    root = _composed(text)
    if not isinstance(root, MappingNode) or root.flow_style:
        return text
    lines = tuple(text.split("\n"))
    return "\n".join(_Text(lines).of_block(root, (), 0, len(lines))).rstrip("\n") + "\n"


def _rank(path: tuple[str, ...], keys: Sequence[str]) -> Sequence[int]:
    """Return the order in which the keys shall stand, by their numbers. Names that people chose stay in their order."""
    if path == ():
        known: Sequence[str] = _TOP if set(keys) <= {*_TOP, *(key for key in keys if key.startswith("x-"))} else ()
        own = -1  # what others repeat comes first
    else:
        model = next((found for pattern, found in _MODELS.items() if _fits(path, pattern)), None)
        known = [field.alias or name for name, field in model.__pydantic_fields__.items()] if model else ()
        own = len(known)
    if not known:
        return range(len(keys))
    ranks = {_MERGE: -1, **{key: number for number, key in enumerate(known)}}
    return sorted(range(len(keys)), key=lambda number: ranks.get(keys[number], own))


def _fits(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(want in ("*", got) for got, want in zip(path, pattern, strict=True))


class _Text(Struct, frozen=True):
    """Lines and columns count from 0, as nodes have them."""

    lines: tuple[str, ...]

    def of_block(self, node: Any, path: tuple[str, ...], first: int, end: int) -> list[str]:
        """Return the lines of a mapping or list that is spread over them, from `first` up to `end`."""
        lines = self.lines
        starts = self._starts(node, first)
        if starts is None:
            return self._inline(node, path, list(lines[first:end]), first)
        bounds = [*starts, end]
        parts = [
            self._entry(key, value, (*path, name), bounds[number], bounds[number + 1])
            for number, (name, key, value) in enumerate(_entries(node))
        ]
        order = (
            _rank(path, [name for name, _, _ in _entries(node)]) if isinstance(node, MappingNode) else range(len(parts))
        )
        if list(order) != list(range(len(parts))):
            parts = _rearranged(parts, order, node.start_mark.column, self._tail(node, end))
        return [*lines[first : starts[0]], *(line for part in parts for line in part)]

    def _tail(self, node: Any, end: int) -> int:
        """Count the lines at the end that belong to nobody: from the first blank one after what is said."""
        content = _last_line(node) + 1
        return end - next((at for at in range(content, end) if not self.lines[at].strip()), end)

    def _starts(self, node: Any, first: int) -> list[int] | None:
        """Return where entries begin, with the comments above them; None where lines do not hold whole entries."""
        if node.flow_style or not node.value:
            return None
        starts: list[int] = []
        for number, (_, key, _) in enumerate(_entries(node)):
            at, column = key.start_mark.line, key.start_mark.column
            prefix = self.lines[at][:column].strip(" ")
            if _is_elsewhere(key, node) or prefix.strip("-") or (prefix and isinstance(node, MappingNode) and number):
                return None
            while at > (starts[-1] + 1 if starts else first) and self._is_above(at):
                at -= 1
            starts.append(at)
        return starts if len({*starts}) == len(starts) else None

    def _is_above(self, at: int) -> bool:
        """Return whether a remark with the same margin stands above this line."""
        above, margin = self.lines[at - 1], _margin(self.lines[at])
        return _margin(above) == margin and above.startswith("#", margin)

    def _entry(self, key: Any, value: Any, path: tuple[str, ...], first: int, end: int) -> list[str]:
        lines = list(self.lines[first:end])
        at = value.start_mark.line
        if isinstance(value, ScalarNode) or not first <= at < end:  # an alias is the node that it repeats
            return lines
        is_beside_key = at == key.start_mark.line and key is not value
        if value.flow_style or is_beside_key:
            return self._inline(value, path, lines, first)
        begin = at if key is value else key.start_mark.line + 1
        return [*lines[: begin - first], *self.of_block(value, path, begin, end)]

    def _inline(self, node: Any, path: tuple[str, ...], lines: list[str], first: int) -> list[str]:
        """Order what stands in braces in one line."""
        start, end = node.start_mark, node.end_mark
        if not node.flow_style or start.line != end.line:
            return lines
        at = start.line - first
        line = lines[at]
        return [
            *lines[:at],
            line[: start.column] + self._braces(line, node, path) + line[end.column :],
            *lines[at + 1 :],
        ]

    def _braces(self, line: str, node: Any, path: tuple[str, ...]) -> str:
        if isinstance(node, ScalarNode) or not node.value:
            return line[node.start_mark.column : node.end_mark.column]
        entries = _entries(node)
        if any(_is_elsewhere(key, node) or value.start_mark.index < key.start_mark.index for _, key, value in entries):
            return line[node.start_mark.column : node.end_mark.column]
        spans = [(key.start_mark.column, max(key.end_mark.column, value.end_mark.column)) for _, key, value in entries]
        texts = [
            line[start : value.start_mark.column]
            + self._braces(line, value, (*path, name))
            + line[value.end_mark.column : end]
            for (name, _, value), (start, end) in zip(entries, spans, strict=True)
        ]
        order = _rank(path, [name for name, _, _ in entries]) if isinstance(node, MappingNode) else range(len(texts))
        found, at = "", node.start_mark.column
        for (start, end), number in zip(spans, order, strict=True):
            found += line[at:start] + texts[number]
            at = end
        return found + line[at : node.end_mark.column]


def _entries(node: Any) -> list[tuple[str, Any, Any]]:
    """Return name, key and value of each; an item of a list is its own key."""
    if isinstance(node, MappingNode):
        return [(str(key.value), key, value) for key, value in node.value]
    return [("*", item, item) for item in node.value]


def _is_elsewhere(part: Any, node: Any) -> bool:
    """Return whether it is an alias: a node that stands before."""
    return bool(part.start_mark.index < node.start_mark.index)


def _rearranged(parts: list[list[str]], order: Sequence[int], column: int, tail: int) -> list[list[str]]:
    """Put the parts in order. What stands before the first key of a list's item (`- `) stays before the first.

    tail: how many lines at the end do not move; below text of several lines, remarks with a wide margin would be read as such.
    """
    keyed = next(number for number, line in enumerate(parts[0]) if not _is_remark(line))
    prefix = parts[0][keyed][:column]
    parts[0][keyed] = " " * column + parts[0][keyed][column:]
    last = len(parts[-1]) - tail
    parts[-1], rest = parts[-1][:last], parts[-1][last:]
    moved = [parts[number] for number in order]
    if not column:
        moved = [part if number == 0 else ["", *_without_edges(part)] for number, part in enumerate(moved)]
        moved[0] = _without_edges(moved[0])
    top = next(number for number, line in enumerate(moved[0]) if not _is_remark(line))
    moved[0][top] = prefix + moved[0][top][column:]
    return [*moved, [" " * column + line.strip() if line.strip() else line for line in rest]]


def _without_edges(lines: list[str]) -> list[str]:
    return "\n".join(lines).strip("\n").split("\n")


def _last_line(node: Any) -> int:
    """Return the last line that the node has a part in; the end of a list or mapping is that of its last entry."""
    if not isinstance(node, ScalarNode) and not node.flow_style and node.value:
        _, key, value = _entries(node)[-1]
        return max(int(key.end_mark.line), _last_line(value))
    first, last, column = int(node.start_mark.line), int(node.end_mark.line), int(node.end_mark.column)
    return last - (column == 0 and last > first)


def _is_remark(line: str) -> bool:
    stripped = line.strip()
    return not stripped or stripped.startswith("#")


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
