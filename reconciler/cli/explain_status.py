"""`reconcile explain` of a word of the status, and of drift: for a terminal and for machines."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.terminal import folded, printable
from reconciler.explain.drift import Drift
from reconciler.explain.status_words import WordMeaning
from reconciler.model.words import counted
from reconciler.status.json_text import json_text


def word_text(told: WordMeaning) -> str:
    return "".join(f"{line}\n" for line in _word_lines(told))


def _word_lines(told: WordMeaning) -> Iterator[str]:
    yield from folded(f"{told.word} ({told.kind}): {told.says}", "")
    if told.reason:
        yield from folded(f"its reason in the status: {told.reason}", "  ")
    if told.advice:
        yield from folded(f"what to do: {told.advice}", "  ")
    if told.tried_again:
        yield from folded(f"tried again: {told.tried_again}", "  ")
    for name, says in told.errors:
        yield from folded(f"{name}: {says}", "  ")
    for said in told.now:
        yield from folded(printable(f"now {said.who}, since {said.since}: {said.message}"), "  ")
    if not told.now:
        yield "  the last pass said it of nothing here"


def word_json(told: WordMeaning) -> str:
    return json_text(
        {
            "version": "1.0",
            "word": told.word,
            "kind": told.kind,
            "says": told.says,
            "advice": told.advice,
            "reason": told.reason or None,
            "triedAgain": told.tried_again or None,
            "exitCodes": [*told.exit_codes],
            "errors": [{"name": name, "says": says} for name, says in told.errors],
            "now": [{"who": one.who, "message": one.message, "since": one.since} for one in told.now],
        }
    )


def drift_text(told: Drift) -> str:
    return "".join(f"{line}\n" for line in _drift_lines(told))


def _drift_lines(told: Drift) -> Iterator[str]:
    yield from folded(printable(f"network {told.network}: {counted(told.repaired, 'change')} put something back"), "")
    for one in told.repairs:
        whose = f"{one.attachment}: " if one.attachment else ""
        left = "left as it is: " if one.event == "drifted" else ""
        yield from folded(printable(f"{one.time} {whose}{left}{one.message}"), "  ")
    if not told.repairs:
        yield "  no event of this host tells of drift there"


def drift_json(told: Drift) -> str:
    return json_text(
        {
            "version": "1.0",
            "network": told.network,
            "repaired": told.repaired,
            "events": [
                {"time": one.time, "event": one.event, "attachment": one.attachment or None, "message": one.message}
                for one in told.repairs
            ],
        }
    )
