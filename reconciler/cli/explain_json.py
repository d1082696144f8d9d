"""An explanation for machines."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.explain.values import Explanation, Sentence, SpecEdit
from reconciler.model.wanted import Source
from reconciler.status.json_text import Json, json_text


def explanation_json(told: Explanation) -> str:
    return json_text(
        {
            "version": "1.0",
            "from": told.client,
            "to": told.server,
            "answer": str(told.verdict),
            "path": sentences_json(told.path),
            "reasons": [sentences_json(reason) for reason in told.reasons],
            "changes": [_change(change) for change in told.changes],
            "notes": sentences_json(told.notes),
            "probes": sentences_json(told.probes),
        }
    )


def sentences_json(sentences: Iterable[Sentence]) -> list[Json]:
    return [
        {
            "about": str(one.about),
            "text": one.text,
            "source": None if one.source is None else _source(one.source),
            "host": None if one.kernel is None else [*one.kernel],
        }
        for one in sentences
    ]


def _change(change: SpecEdit) -> Json:
    return {"text": change.text, "source": _source(change.source)}


def _source(source: Source) -> Json:
    return {"file": source.file, "line": source.line, "column": source.column}
