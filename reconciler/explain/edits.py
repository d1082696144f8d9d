"""Edits of the specs: what they do to the data of a document, and what becomes of all hosts by them. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from reconciler.explain.declared import DeclaredHosts, decided
from reconciler.explain.values import SpecEdit
from reconciler.spec.document import Document, Path, Tree
from reconciler.spec.files import SpecText
from reconciler.spec.load import LoadedSpecs, load_texts

_REST = ("expect",)


class Edit(Struct, frozen=True, kw_only=True):
    """Puts `value` at a place of an entry; None takes away what is there. path: section and key of the entry, and on from there."""

    path: Path
    value: Tree

    def change(self, documents: Sequence[Document]) -> SpecEdit:
        """Return how a person reads it."""
        document = next(each for each in documents if _entry(each, self.path) is not None)
        before = _at(document.data, self.path)
        where = ".".join(str(step) for step in self.path if not isinstance(step, int))
        return SpecEdit(text=f"{where}: {_words(before, self.value)}", source=document.source(self.path, at_key=True))


def changed(specs: DeclaredHosts, edits: Sequence[Edit], kept: Collection[str] | None = None) -> DeclaredHosts:
    """Return what all hosts have by the specs with these edits. kept: attachments, without all others where it is not None."""
    texts: dict[int, SpecText] = {}
    loads: dict[str, LoadedSpecs] = {}
    first: LoadedSpecs | None = None
    for host, loaded in specs.loads.items():
        for document in loaded.documents:
            if id(document) not in texts:  # hosts share what is no template
                texts[id(document)] = SpecText(document.file, json.dumps(_edited(document, edits, kept)))
        loads[host] = load_texts(
            [texts[id(document)] for document in loaded.documents],
            host=host,
            digest="",
            is_bridge_enabled=specs.settings.is_bridge_enabled,
            previous=first,
            is_for_host_alone=first is not None,
        )
        first = first or loads[host]
    return decided(specs.settings, loads)


def _edited(document: Document, edits: Sequence[Edit], kept: Collection[str] | None) -> Tree:
    data: Tree = json.loads(json.dumps(document.data))  # aliases of YAML are one value each from here on
    for edit in edits:
        if _entry(document, edit.path) is not None:
            _put(data, edit.path, edit.value)
    if isinstance(data, dict):
        attachments = data.get("attachments")
        if kept is not None and isinstance(attachments, dict):
            data["attachments"] = {name: entry for name, entry in attachments.items() if name in kept}
        for key in _REST:
            data.pop(key, None)
    return data


def _entry(document: Document, path: Path) -> Path | None:
    """Return the place of the entry that a path is in, None where the document does not have it."""
    section, key = str(path[0]), path[1]
    return path[:2] if any(name == key for name, _ in document.entries(section)) else None


def _put(data: Tree, path: Path, value: Tree) -> None:
    """Put a value in, and the mappings on the way that are not there."""
    node = data
    for step in path[:-1]:
        if isinstance(node, dict):
            node[str(step)] = node[str(step)] if node.get(str(step)) is not None else {}
            node = node[str(step)]
        elif isinstance(node, list) and isinstance(step, int):
            node = node[step]
    last = path[-1]
    if isinstance(node, list) and isinstance(last, int):
        node[last] = value
    elif isinstance(node, dict) and value is None:
        node.pop(str(last), None)
    elif isinstance(node, dict):
        node[str(last)] = value


def at(documents: Sequence[Document], path: Path) -> Tree:
    """Return what stands at a place, None for nothing."""
    return next((_at(each.data, path) for each in documents if _entry(each, path) is not None), None)


def _at(data: Tree, path: Path) -> Tree:
    for step in path:
        if isinstance(data, dict):
            data = data.get(str(step))
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def _words(before: Tree, after: Tree) -> str:
    if isinstance(before, list | dict) and isinstance(after, list | dict):
        added = [*_added(before, after)]
        if added:
            return f"add {', '.join(added)}"
    if before is None and isinstance(after, list):
        return f"add {', '.join(map(_one, after))}"
    return f"{_one(before)} -> {_one(after)}"


def _added(before: Tree, after: Tree) -> Iterator[str]:
    known = before if isinstance(before, list | dict) else ()
    for each in after if isinstance(after, list | dict) else ():
        if each not in known:
            yield _one(each)


def _one(value: Tree) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)
