"""What `reconcile explain ATTACHMENT` says: for a terminal and for machines."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.explain_json import sentences_json
from reconciler.cli.explain_text import reason_lines, sentence_lines
from reconciler.cli.terminal import folded, printable
from reconciler.explain.overview import Overview
from reconciler.status.json_text import json_text


def overview_text(told: Overview) -> str:
    return "".join(f"{line}\n" for line in _lines(told))


def _lines(told: Overview) -> Iterator[str]:
    where = f" on host {told.host}" if told.host else ", on no host that the specs name"
    yield from folded(printable(f"{told.attachment}{where}"), "")
    for sentence in told.about:
        yield from sentence_lines(f"{sentence.about}: ", sentence)
    for reason in told.reasons:
        yield from reason_lines(reason)
    for word, names in (
        ("reaches", told.reached),
        ("does not reach", told.not_reached),
        ("not known whether it reaches", told.not_known),
    ):
        if names:
            yield from folded(printable(f"{word}: {', '.join(names)}"), "  ")


def overview_json(told: Overview) -> str:
    return json_text(
        {
            "version": "1.0",
            "attachment": told.attachment,
            "host": told.host or None,
            "about": sentences_json(told.about),
            "reaches": [*told.reached],
            "doesNotReach": [*told.not_reached],
            "notKnown": [*told.not_known],
            "reasons": [sentences_json(reason) for reason in told.reasons],
        }
    )
