"""The lines of the specs that publish ports."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.wanted import Source
from reconciler.spec.document import Document, Path, Tree


def port_source(documents: Sequence[Document], attachment: str, target: int) -> Source | None:
    """Return the line that publishes a port of an attachment."""
    for document in documents:
        entry: Tree = document.data
        place: Path = ("attachments", attachment, "ports")
        for step in place:
            entry = entry.get(str(step)) if isinstance(entry, dict) else None
        for index, port in enumerate(entry if isinstance(entry, list) else ()):
            if _publishes(port, target):
                return document.source((*place, index))
    return None


def _publishes(port: Tree, target: int) -> bool:
    text = str(port.get("target") if isinstance(port, dict) else port).partition("/")[0].rpartition(":")[2]
    first, _, last = text.partition("-")
    return first.isdecimal() and int(first) <= target <= int(last if last.isdecimal() else first)
