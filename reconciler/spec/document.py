"""YAML text -> plain data that remembers where every key and value stood. Knows nothing of networks.

The data is built from libyaml's events by a loop, never by recursion: libyaml's own composer overflows the C stack on
deep nesting, and here every limit holds before anything is built. What libyaml reads by an older YAML, `indicators` puts right.

Scalars follow the YAML 1.2 core schema with two differences that keep what was typed: a number that is not a plain
decimal integer (`1.10`, `010`, `0x1F`, `1e3`) stays text, and so does a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, field
from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined]  # re-exported without saying so
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.errors import SpecError
from reconciler.model.wanted import Source
from reconciler.spec.indicators import MarkedText, marked

Tree = dict[str, "Tree"] | list["Tree"] | str | int | bool | None
Path = tuple[str | int, ...]

BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 32
EVENTS_MAX: Final = 200_000
ALIASES_MAX: Final = 10_000
"""Aliases of one document."""
FAULTS_MAX: Final = 100
"""Of one file; what is beyond says how many more there are."""

_CORE_TAGS: Final = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "bool", "null", "map", "seq")}
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_MERGE: Final = "<<"
_VARIABLE: Final = re.compile(r"\$(?:[A-Za-z_]|\{[A-Za-z_])")

_KINDS: Final = {dict: "a mapping", list: "a list", str: "text", int: "a number", bool: "true or false"}


class LineMap(Struct, frozen=True):
    """From lines of a rendered template to the template's own. Empty: the text is the file itself.

    lines: template line of each rendered line, 0 where it cannot be told. same: numbers of the rendered lines that are the
    template's own, byte by byte.
    """

    lines: tuple[int, ...] = ()
    same: frozenset[int] = frozenset()
    is_rendered: bool = False

    def place(self, line: int, column: int) -> tuple[int, int]:
        if not self.is_rendered:
            return line, column
        index = min(line, len(self.lines)) - 1
        if index < 0 or not self.lines[index]:
            return 0, 0
        return self.lines[index], column if line in self.same else 1

    def fault(self, file: str, line: int, column: int, message: str) -> SpecError:
        """Make the error for a place in the rendered text."""
        at, at_column = self.place(line, column)
        if not at and self.is_rendered:
            message = f"in the rendered text, line {line}, column {column}: {message}"
        return SpecError(file, at, at_column, message)


_Place = tuple[int, int]
"""Line and column, both from 1."""
_Entry = tuple[_Place, _Place]
"""Where a key and its value stand; of a list item both are the item's."""


class Document(Struct, frozen=True):
    """One parsed file. `data` is shared where the YAML used aliases: read it, never change it.

    repeated: the first two steps of the way to each key that was given twice.
    """

    file: str
    data: Tree
    line_map: LineMap = field(default_factory=LineMap)
    repeated: frozenset[Path] = frozenset()
    _entries: dict[int, dict[str | int, _Entry]] = field(default_factory=dict)

    def entries(self, section: str) -> Iterator[tuple[str, Tree]]:
        """Yield what a section at the top has, by name; nothing where it is no such section."""
        found = self.data.get(section) if isinstance(self.data, dict) else None
        return iter(found.items() if isinstance(found, dict) else ())

    def source(self, path: Path, *, at_key: bool = False) -> Source:
        """Return where the value at `path` stands, or its key. Steps that the data lacks are passed over."""
        node, found = self.data, None
        for step in path:
            if isinstance(node, list) and isinstance(step, str) and step in node:
                step = node.index(step)
            entry = self._entries.get(id(node), {}).get(step)
            if entry is None:
                continue
            found, node = entry, node[step]  # type: ignore[index]  # an entry says that the step fits
        line, column = (1, 1) if found is None else found[0 if at_key else 1]
        return Source(self.file, *self.line_map.place(line, column))

    def places(self, node: Tree, step: str | int) -> tuple[_Place, _Place]:
        """Return line and column of a key and of its value, or of an item twice. node: a part of the data."""
        return self._entries[id(node)][step]

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> SpecError:
        place = self.source(path, at_key=at_key)
        if not place.line and self.line_map.is_rendered:
            message = f"in the rendered text: {message}"
        return SpecError(self.file, place.line, place.column, message)


class Tagged(Struct, frozen=True):
    """A value with a tag that whoever had the text parsed knows."""

    tag: str
    value: Tree


def parse_document(
    file: str, text: str, line_map: LineMap | None = None, *, tags: frozenset[str] = frozenset()
) -> tuple[Document | None, list[SpecError]]:
    """Build the document. None with a fault when the text is no YAML within the limits; duplicate keys are faults beside it.

    tags: others than YAML's own that are no fault. A value with one of them is `Tagged` in the data.
    """
    readable = marked(text)
    builder = _Builder(file, line_map or LineMap(), readable, tags)
    try:
        builder.run(_events(readable.text))
    except SpecError as fault:
        return None, [*builder.faults, fault]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = _said(error, readable, mark.index if mark else len(readable.text))
        return None, [*builder.faults, builder.line_map.fault(file, line, column, f"bad YAML: {said}")]
    except UnicodeEncodeError as error:
        line, column = _line_and_column(readable.text[: error.start])
        return None, [*builder.faults, builder.line_map.fault(file, line, column, "bad YAML: half a character")]
    except YAMLError as error:
        line, column = _reader_place(readable.text, error)
        reason = getattr(error, "reason", None) or "it cannot be read"
        return None, [*builder.faults, builder.line_map.fault(file, line, column, f"bad YAML: {reason}")]
    repeated = frozenset(builder.repeated)
    return Document(file, builder.root, builder.line_map, repeated, builder.entries), builder.faults


def _events(text: str) -> Iterator[Any]:
    parser = CParser(text)
    while parser.check_event():
        yield parser.get_event()


def _said(error: MarkedYAMLError, readable: MarkedText, index: int) -> str:
    """Put libyaml's words so that they say what to do. index: of the character that it stopped at."""
    problem, at = error.problem or "", readable.text[index : index + 1]
    around = readable.read_back(readable.text[index - 1 : index + 40]) if index else ""
    if around.startswith("${") and (variables := unfilled(around.partition("}")[0] + "}")):
        return variables
    if at == "\t":
        return "a tab stands where only spaces can: indent with spaces"
    if "cannot start any token" in problem:
        return f"text cannot begin with {shown(at)}: quote it"
    if problem == "found unexpected ':'":
        return "found unexpected ':': put a space after it, or quote the text that it is part of"
    return ", ".join(part for part in (error.context, problem) if part)


def _reader_place(text: str, error: YAMLError) -> tuple[int, int]:
    """Turn the offset of a character that YAML does not allow into line and column."""
    offset = getattr(error, "position", None)
    if not isinstance(offset, int):
        return 0, 0
    return _line_and_column(text.encode()[:offset].decode(errors="replace"))


def _line_and_column(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class _Frame(Struct):
    """A collection under construction. key: of the value to come, None while a key is awaited."""

    node: dict[str, Tree] | list[Tree]
    places: dict[str | int, _Entry]
    anchor: str | None
    nodes_before: int
    is_flow: bool
    key: str | None = None
    key_place: _Place = (0, 0)
    is_merge: bool = False
    merged: list[tuple[Tree, _Place]] = field(default_factory=list)


class _Anchored(Struct):
    """What an alias repeats; size counts its nodes with aliases expanded. None while it is still open."""

    node: Tree
    size: int | None


class _Builder(Struct):
    file: str
    line_map: LineMap
    readable: MarkedText
    tags: frozenset[str]
    root: Tree = None
    entries: dict[int, dict[str | int, _Entry]] = field(default_factory=dict)
    faults: list[SpecError] = field(default_factory=list)
    repeated: set[Path] = field(default_factory=set)
    _stack: list[_Frame] = field(default_factory=list)
    _anchors: dict[str, _Anchored] = field(default_factory=dict)
    _documents: int = 0
    _events: int = 0
    _nodes: int = 0
    _aliases: int = 0

    def run(self, events: Iterator[Any]) -> None:
        steps = {
            DocumentStartEvent: self._start_document,
            ScalarEvent: self._scalar,
            AliasEvent: self._alias,
            MappingStartEvent: self._open,
            SequenceStartEvent: self._open,
            MappingEndEvent: self._close,
            SequenceEndEvent: self._close,
        }
        for event in events:
            self._events += 1
            if self._events > EVENTS_MAX:
                raise self._fault(event, f"the file has more than {EVENTS_MAX} keys, values and brackets: split it")
            step = steps.get(type(event))
            if step is not None:
                step(event)

    def _fault(self, event: Any, message: str) -> SpecError:
        return self.line_map.fault(self.file, *_place(event), message)

    def _start_document(self, event: Any) -> None:
        if event.version or event.tags:
            raise self._fault(event, "directives such as %YAML and %TAG are not allowed: remove the line")
        self._documents += 1
        if self._documents > 1:
            raise self._fault(event, "a second document begins here: a spec file holds one, split it into files")

    def _scalar(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        is_key = frame is not None and isinstance(frame.node, dict) and frame.key is None
        if not event.value.isascii() and self._read_back(event, frame) and not is_key:
            self._pair(event)
            return
        if frame is not None and is_key:
            self._key(frame, event)
            return
        node = self._resolve(event)
        self._count(event, 1)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(node, 1)
        self._place_value(event, node)

    def _read_back(self, event: Any, frame: _Frame | None) -> bool:
        """Put back what was marked. True for the `a:` of `[a:, b]`, which is a key, and of which the colon is no part."""
        text: str = event.value
        is_key = frame is not None and frame.is_flow and not event.style and text.endswith(self.readable.closing)
        event.value = self.readable.read_back(text[:-1].rstrip(" \t") if is_key else text)
        return is_key

    def _pair(self, event: Any) -> None:
        """Put a mapping of one key into a list: `[a:, b]`."""
        if isinstance(self._stack[-1].node, dict):
            raise self._fault(event, "bad YAML: a second ':' in one pair: quote the text that it belongs to")
        self._count(event, 2)
        place, key = _place(event), self._key_text(event)
        pair: dict[str, Tree] = {key: None}
        self._place_value(event, pair)
        self.entries[id(pair)] = {key: (place, place)}

    def _resolve(self, event: Any) -> Tree:
        text: str = event.value
        if event.tag and event.tag != "!":
            return self._resolve_tagged(event, text)
        return text if event.tag or not event.implicit[0] else _plain(text)

    def _resolve_tagged(self, event: Any, text: str) -> Tree:
        match _CORE_TAGS.get(event.tag):
            case "str":
                return text
            case "int" if _INT.match(text):
                return int(text)
            case "bool" if text in _BOOLS:
                return _BOOLS[text]
            case "null" if text in _NULLS:
                return None
        if event.tag in self.tags:
            tagged: Tree = self._tagged(event, text if event.style else _plain(text))
            return tagged
        raise self._fault(event, f"tag {shown(event.tag)} is not allowed here: write the plain value")

    def _tagged(self, event: Any, node: Tree) -> Any:
        return Tagged(event.tag, node) if event.tag in self.tags else node

    def _key(self, frame: _Frame, event: Any) -> None:
        frame.key_place = _place(event)
        frame.key = self._key_text(event)
        frame.is_merge = event.value == _MERGE and event.implicit[0]
        first = frame.places.get(event.value)
        if first is not None:
            at, column = self.line_map.place(*first[0])
            self.repeated.add(tuple(frame.key for frame in self._stack[:2] if frame.key is not None))
            also = f"{self.file}:{at}:{column}" if at else "further up"
            self.faults.append(self._fault(event, f"{shown(event.value)} is given twice, first at {also}"))

    def _key_text(self, event: Any) -> str:
        if event.tag and _CORE_TAGS.get(event.tag) != "str":
            raise self._fault(event, f"tag {shown(event.tag)} is not allowed on a key")
        text: str = event.value
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(text, 1)
        return text

    def _alias(self, event: Any) -> None:
        self._aliases += 1
        if self._aliases > ALIASES_MAX:
            raise self._fault(event, f"the file has more than {ALIASES_MAX} aliases")
        target = self._anchors.get(event.anchor)
        if target is None:
            raise self._fault(event, f"alias *{event.anchor[:40]} has no anchor before it")
        if target.size is None:
            raise self._fault(event, f"alias *{event.anchor[:40]} stands inside its own anchor")
        self._refuse_as_key(event)
        self._count(event, target.size)
        self._place_value(event, target.node)

    def _open(self, event: Any) -> None:
        self._refuse_as_key(event)
        is_mapping = isinstance(event, MappingStartEvent)
        own = "map" if is_mapping else "seq"
        if event.tag and event.tag != "!" and _CORE_TAGS.get(event.tag) != own and event.tag not in self.tags:
            raise self._fault(event, f"tag {shown(event.tag)} is not allowed here")
        if len(self._stack) >= DEPTH_MAX:
            raise self._fault(event, f"nested deeper than {DEPTH_MAX} levels")
        node: dict[str, Tree] | list[Tree] = {} if is_mapping else []
        self._count(event, 1)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(node, None)
        self._place_value(event, self._tagged(event, node))
        places = self.entries[id(node)] = {}
        self._stack.append(_Frame(node, places, event.anchor, self._nodes, bool(event.flow_style)))

    def _close(self, event: Any) -> None:
        frame = self._stack.pop()
        if isinstance(frame.node, dict):
            self._merge(frame, frame.node)
        anchored = self._anchors.get(frame.anchor) if frame.anchor else None
        if anchored is not None and anchored.node is frame.node:
            anchored.size = self._nodes - frame.nodes_before + 1

    def _merge(self, frame: _Frame, node: dict[str, Tree]) -> None:
        """Take over what the merge keys bring; the mapping's own keys win, then the earlier of several sources."""
        for value, place in frame.merged:
            for source in value if isinstance(value, list) else [value]:
                if not isinstance(source, dict):
                    raise self.line_map.fault(self.file, *place, "<< takes a mapping or a list of mappings")
                places = self.entries[id(source)]
                for key in [key for key in source if key not in node]:
                    node[key] = source[key]
                    frame.places[key] = places[key]

    def _place_value(self, event: Any, node: Tree) -> None:
        if not self._stack:
            self.root = node
            return
        frame, place = self._stack[-1], _place(event)
        if isinstance(frame.node, list):
            frame.places[len(frame.node)] = (place, place)
            frame.node.append(node)
            return
        key, frame.key = frame.key, None
        assert key is not None  # the parser gives keys and values in turn
        if frame.is_merge:
            frame.merged.append((node, place))
            return
        frame.node[key] = node
        frame.places[key] = (frame.key_place, place)

    def _refuse_as_key(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.node, dict) and frame.key is None:
            is_template = frame.is_flow and not frame.node and not self.line_map.is_rendered
            hint = ": {{ }} is filled in only in spec files called *.yaml.j2" if is_template else ""
            raise self._fault(event, f"a key must be plain text{hint}")

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > EVENTS_MAX:
            raise self._fault(event, f"the file grows beyond {EVENTS_MAX} values with its aliases expanded")


def _plain(text: str) -> Tree:
    """Return what text without quotes and tags says."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    return int(text) if _INT.match(text) else text


def _place(event: Any) -> _Place:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def unfilled(text: str) -> str:
    """Return what to do about Compose's variables where no text fits that has some; "" when it has none."""
    if not _VARIABLE.search(text):
        return ""
    return f"variables such as {shown(text)} are not filled in here: call the file *.yaml.j2 and write {{{{ NAME }}}}"


def shown(text: str) -> str:
    """Quote what a user typed, bounded, without control characters."""
    return ascii(text[:60]) if not text.isprintable() else f"'{text[:60]}'"


def kind_of(value: object) -> str:
    """Return what YAML gave, in words."""
    return "nothing" if value is None else _KINDS.get(type(value), "something else")
