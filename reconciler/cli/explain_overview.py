"""What `reconcile explain ATTACHMENT` says: for a terminal and for machines."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.explain_json import sentences_json
from reconciler.cli.explain_text import reason_lines, sentence_lines
from reconciler.cli.terminal import folded, printable
from reconciler.explain.overview import Overview
from reconciler.status.json_text import json_text


def overview_text(overview: Overview) -> str:
    return "".join(f"{line}\n" for line in _lines(overview))


def _lines(overview: Overview) -> Iterator[str]:
    where = f" on host {overview.host}" if overview.host else ", on no host that the specs name"
    yield from folded(printable(f"{overview.attachment}{where}"), "")
    for sentence in overview.about:
        yield from sentence_lines(f"{sentence.about}: ", sentence)
    for reason in overview.reasons:
        yield from reason_lines(reason)
    for word, names in (
        ("reaches", overview.reached),
        ("does not reach", overview.not_reached),
        ("not known whether it reaches", overview.not_known),
    ):
        if names:
            yield from folded(printable(f"{word}: {', '.join(names)}"), "  ")


def overview_json(overview: Overview) -> str:
    return json_text(
        {
            "version": "1.0",
            "attachment": overview.attachment,
            "host": overview.host or None,
            "about": sentences_json(overview.about),
            "reaches": [*overview.reached],
            "doesNotReach": [*overview.not_reached],
            "notKnown": [*overview.not_known],
            "reasons": [sentences_json(reason) for reason in overview.reasons],
        }
    )
