"""Where units are declared: beside what is declared, so that a line that moves changes nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.units import Unit
from reconciler.model.wanted import Source
from reconciler.spec.document import Document, Path, Tree

BUILTIN_SOURCE: Final = Source("<built-in>", 0, 0)


class Places(Mapping[Unit, Source]):
    """The places of networks, attachments and endpoints, found in the documents when asked: few ever are.

    What is implied stands where its attachment does. A network that others declare too stands where it is made.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def __getitem__(self, unit: Unit) -> Source:
        if unit.attachment:
            return self._in_attachment(unit)
        found = self._networks.get(unit.network)
        if found is not None:
            document, key = found
            return document.source(("networks", key), at_key=True)
        if unit.network in BUILTIN_NETWORKS:
            return BUILTIN_SOURCE
        raise KeyError(unit)

    def of_field(self, unit: Unit, field: Path) -> Source | None:
        """Return where a network has a field, else where the unit is declared; None for what is not."""
        found = None if unit.attachment else self._networks.get(unit.network)
        if found is None:
            return self.get(unit)
        document, key = found
        return document.source(("networks", key, *field), at_key=True)

    def __iter__(self) -> Iterator[Unit]:
        yield from (Unit(network=name) for name in self._networks)
        yield from (Unit(attachment=name) for name in self._attachments)

    def __len__(self) -> int:
        return len(self._networks) + len(self._attachments)

    @cached_property
    def _networks(self) -> Mapping[str, tuple[Document, str]]:
        """Return document and key by name; whoever declares it comes before whoever joins it."""
        entries = [(doc, key, value) for doc in self._documents for key, value in doc.entries("networks")]
        entries.sort(key=lambda entry: _is_external(entry[2]))
        return {_name(key, value): (document, key) for document, key, value in reversed(entries)}

    @cached_property
    def _attachments(self) -> Mapping[str, tuple[Document, Tree]]:
        return {key: (doc, value) for doc in reversed(self._documents) for key, value in doc.entries("attachments")}

    def _in_attachment(self, unit: Unit) -> Source:
        document, entry = self._attachments[unit.attachment]
        joined = entry.get("networks") if isinstance(entry, dict) else None
        path: Path = ("attachments", unit.attachment)
        for key in joined if unit.network and isinstance(joined, dict | list) else ():
            if key == unit.network or self._is_called(key, unit.network):
                return document.source((*path, "networks", str(key)), at_key=True)
        return document.source(path, at_key=True)

    def _is_called(self, key: Tree, name: str) -> bool:
        found = self._networks.get(name)
        return found is not None and found[1] == key


def _is_external(entry: Tree) -> bool:
    return isinstance(entry, dict) and entry.get("external") is True


def _name(key: str, entry: Tree) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else key
