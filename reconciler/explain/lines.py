"""The lines of the specs that sentences come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from reconciler.model.units import Unit
from reconciler.model.wanted import Source
from reconciler.review.port_lines import port_source
from reconciler.spec.document import Document
from reconciler.spec.places import Places


class Lines:
    """Finds them in the documents of all hosts. What is built in has none."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents

    @cached_property
    def _places(self) -> Mapping[Unit, Source]:
        return Places(self.documents)

    def of(self, unit: Unit | None) -> Source | None:
        source = None if unit is None else self._places.get(unit)
        return source if source is not None and source.line else None

    def of_port(self, attachment: str, target: int) -> Source | None:
        return port_source(self.documents, attachment, target) or self.of(Unit(attachment=attachment))

    def of_field(self, attachment: str, field: str) -> Source | None:
        """Return where an attachment has a field, else where it stands."""
        for document in self.documents:
            for name, entry in document.entries("attachments"):
                if name == attachment and isinstance(entry, dict) and field in entry:
                    return document.source(("attachments", name, field), at_key=True)
        return self.of(Unit(attachment=attachment))
