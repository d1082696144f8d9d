"""An explanation for machines."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.explain.values import Explanation, Sentence, SpecEdit
from reconciler.model.wanted import Source
from reconciler.status.json_text import Json, json_text


def explanation_json(explanation: Explanation) -> str:
    return json_text(
        {
            "version": "1.0",
            "from": explanation.client,
            "to": explanation.server,
            "answer": str(explanation.verdict),
            "path": sentences_json(explanation.path),
            "reasons": [sentences_json(reason) for reason in explanation.reasons],
            "changes": [_change(change) for change in explanation.changes],
            "notes": sentences_json(explanation.notes),
            "probes": sentences_json(explanation.probes),
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
