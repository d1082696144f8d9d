"""A Compose file as a tree in which every part knows where it stood, so that it is still known when files are merged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.importing.values import NotCarried
from reconciler.spec.document import Document, Tagged, Tree, kind_of, parse_document, shown

RESET: Final = "!reset"
OVERRIDE: Final = "!override"
TAGS: Final = frozenset((RESET, OVERRIDE))


class Place(Struct, frozen=True):
    """line, column: from 1, 0 where nobody knows them."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def fault(self, message: str) -> SpecError:
        return SpecError(self.file, self.line, self.column, message)


class Node(Struct, frozen=True):
    """One value. key: where the key stands that it is the value of, of an item where the item stands. tag: of TAGS, or ""."""

    value: Mapping[str, Node] | tuple[Node, ...] | str | int | bool | None
    place: Place
    key: Place
    tag: str = ""

    @property
    def entries(self) -> Mapping[str, Node]:
        """What a mapping has by name; nothing where it is no mapping."""
        return self.value if isinstance(self.value, Mapping) else {}

    def get(self, name: str) -> Node | None:
        """Return what a mapping has by this name; None where it has nothing, or only null."""
        found = self.entries.get(name)
        return found if found is not None and found.value is not None else None


class Notes(Struct, frozen=True):
    """What is told beside the result."""

    faults: list[SpecError] = field(default_factory=list)
    not_carried: dict[NotCarried, None] = field(default_factory=dict)

    def fault(self, place: Place, message: str) -> None:
        self.faults.append(place.fault(message))

    def left_out(self, place: Place, what: str, why: str) -> None:
        self.not_carried[NotCarried(where=str(place), what=what, why=why)] = None


def parsed(file: str, text: str, faults: list[SpecError]) -> Node | None:
    """Return the tree of a file, None with faults where it is no YAML within the limits."""
    document, found = parse_document(file, text, tags=TAGS)
    faults += found
    if document is None:
        return None
    top = Place(file, 1, 1)
    return _node(document, document.data, top, top)


def from_json(value: object, twin: Node | None, place: Place) -> Node:
    """Return the tree of what `docker compose config` printed, where `$` is doubled and keys are sorted.

    twin: the same as we see it, which knows where things stand and in which order. place: of what it does not know.
    """
    at, key = (twin.place, twin.key) if twin is not None else (place, place)
    if isinstance(value, dict):
        found = {_single(name): from_json(inner, _inner(twin, _single(name)), place) for name, inner in value.items()}
        return Node({name: found[name] for name in _in_order(found, twin)}, at, key)
    if isinstance(value, list):
        return Node(tuple(from_json(inner, _inner(twin, index), place) for index, inner in enumerate(value)), at, key)
    return Node(_single(value) if isinstance(value, str) else value if isinstance(value, int) else None, at, key)


def _single(text: str) -> str:
    return text.replace("$$", "$")


def _in_order(names: Mapping[str, Node], twin: Node | None) -> list[str]:
    known = list(twin.entries) if twin is not None else []
    if twin is not None and isinstance(twin.value, tuple):
        known = [_name(item) for item in twin.value]
    turns = {name: turn for turn, name in enumerate(known)}
    return sorted(names, key=lambda name: turns.get(name, len(turns)))


def _inner(twin: Node | None, step: str | int) -> Node | None:
    """Return what is there in the twin, which may have a list of `key=value` in place of a mapping."""
    if twin is None or not isinstance(twin.value, tuple):
        return twin.entries.get(str(step)) if twin is not None else None
    if isinstance(step, str):
        return next((item for item in twin.value if _name(item) == step), None)
    return twin.value[step] if step < len(twin.value) else None


def _name(item: Node) -> str:
    return str(item.value).partition("=")[0]


def _node(document: Document, data: Tree | Tagged, place: Place, key: Place) -> Node:
    tag, data = (data.tag, data.value) if isinstance(data, Tagged) else ("", data)

    def inner(step: str | int, value: Tree) -> Node:
        at_key, at_value = document.places(data, step)
        return _node(document, value, Place(document.file, *at_value), Place(document.file, *at_key))

    if isinstance(data, dict):
        return Node({name: inner(name, value) for name, value in data.items()}, place, key, tag)
    if isinstance(data, list):
        return Node(tuple(inner(index, value) for index, value in enumerate(data)), place, key, tag)
    return Node(data, place, key, tag)


def mapping(node: Node | None, what: str) -> Mapping[str, Node]:
    """Return the entries of a mapping; none for what is not there. Raises SpecError for anything else."""
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        raise node.place.fault(f"{what}: expected a mapping, got {_kind(node)}")
    return node.value


def items(node: Node | None, what: str) -> tuple[Node, ...]:
    """Return the items of a list; none for what is not there. Raises SpecError for anything else."""
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, tuple):
        raise node.place.fault(f"{what}: expected a list, got {_kind(node)}")
    return node.value


def text(node: Node, what: str) -> str:
    """Return a scalar as it was typed. Raises SpecError for a list or mapping."""
    match node.value:
        case None:
            return ""
        case bool():
            return "true" if node.value else "false"
        case str() | int():
            return str(node.value)
    raise node.place.fault(f"{what}: expected text, got {_kind(node)}")


def pairs(node: Node | None, what: str) -> Mapping[str, Node]:
    """Return a mapping, or a list of `key=value` and `key`, as a mapping. Raises SpecError for anything else."""
    if node is None or not isinstance(node.value, tuple):
        return mapping(node, what)
    found: dict[str, Node] = {}
    for item in node.value:
        name, equals, value = text(item, what).partition("=")
        found[name] = replace(item, value=value if equals else None)
    return found


def rewritten(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the same with every scalar changed."""
    if isinstance(node.value, Mapping):
        return replace(node, value={name: rewritten(inner, change) for name, inner in node.value.items()})
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(rewritten(inner, change) for inner in node.value))
    return change(node)


def _kind(node: Node) -> str:
    if isinstance(node.value, Mapping):
        return "a mapping"
    return "a list" if isinstance(node.value, tuple) else f"{kind_of(node.value)} ({shown(str(node.value))})"
