"""`reconcile explain` of a word of the status, and of drift: for a terminal and for machines."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.terminal import folded, printable
from reconciler.explain.drift import Drift
from reconciler.explain.status_words import WordMeaning
from reconciler.model.words import counted
from reconciler.status.json_text import json_text


def word_text(meaning: WordMeaning) -> str:
    return "".join(f"{line}\n" for line in _word_lines(meaning))


def _word_lines(meaning: WordMeaning) -> Iterator[str]:
    yield from folded(f"{meaning.word} ({meaning.kind}): {meaning.says}", "")
    if meaning.reason:
        yield from folded(f"its reason in the status: {meaning.reason}", "  ")
    if meaning.advice:
        yield from folded(f"what to do: {meaning.advice}", "  ")
    if meaning.tried_again:
        yield from folded(f"tried again: {meaning.tried_again}", "  ")
    for name, says in meaning.errors:
        yield from folded(f"{name}: {says}", "  ")
    for said in meaning.now:
        yield from folded(printable(f"now {said.who}, since {said.since}: {said.message}"), "  ")
    if not meaning.now:
        yield "  the last pass said it of nothing here"


def word_json(meaning: WordMeaning) -> str:
    return json_text(
        {
            "version": "1.0",
            "word": meaning.word,
            "kind": meaning.kind,
            "says": meaning.says,
            "advice": meaning.advice,
            "reason": meaning.reason or None,
            "triedAgain": meaning.tried_again or None,
            "exitCodes": [*meaning.exit_codes],
            "errors": [{"name": name, "says": says} for name, says in meaning.errors],
            "now": [{"who": one.who, "message": one.message, "since": one.since} for one in meaning.now],
        }
    )


def drift_text(drift: Drift) -> str:
    return "".join(f"{line}\n" for line in _drift_lines(drift))


def _drift_lines(drift: Drift) -> Iterator[str]:
    yield from folded(printable(f"network {drift.network}: {counted(drift.repaired, 'change')} put something back"), "")
    for one in drift.repairs:
        whose = f"{one.attachment}: " if one.attachment else ""
        left = "left as it is: " if one.event == "drifted" else ""
        yield from folded(printable(f"{one.time} {whose}{left}{one.message}"), "  ")
    if not drift.repairs:
        yield "  no event of this host tells of drift there"


def drift_json(drift: Drift) -> str:
    return json_text(
        {
            "version": "1.0",
            "network": drift.network,
            "repaired": drift.repaired,
            "events": [
                {"time": one.time, "event": one.event, "attachment": one.attachment or None, "message": one.message}
                for one in drift.repairs
            ],
        }
    )
