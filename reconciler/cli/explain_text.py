"""An explanation for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.cli.terminal import folded, printable
from reconciler.explain.values import Explanation, Reason, Sentence, Verdict
from reconciler.model.wanted import Source

_VERBS: Final = {
    Verdict.YES: "yes: {client} reaches {server}",
    Verdict.NO: "no: {client} does not reach {server}",
    Verdict.UNKNOWN: "not known: no spec tells whether {client} reaches {server}",
}


def explanation_text(explanation: Explanation) -> str:
    return "".join(f"{line}\n" for line in _lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    verdict = _VERBS[explanation.verdict].format(client=explanation.client, server=explanation.server)
    yield from folded(printable(verdict), "")
    yield from _sentences(explanation.path)
    for reason in explanation.reasons:
        yield from reason_lines(reason)
    for probe in explanation.probes:
        yield from sentence_lines("sent: ", probe)
    for note in explanation.notes:
        yield from sentence_lines("note: ", note)
    if explanation.changes:
        yield from folded("what would make it a yes:", "")
    for change in explanation.changes:
        yield from folded(printable(f"{change.text}{_at(change.source)}"), "  ")


def reason_lines(reason: Reason) -> Iterator[str]:
    *before, why = reason
    yield from sentence_lines("because ", why)
    yield from _sentences(before, "  on the way, ")


def _sentences(sentences: Iterable[Sentence], indent: str = "") -> Iterator[str]:
    for sentence in sentences:
        yield from sentence_lines(f"{indent}{sentence.about}: ", sentence)


def sentence_lines(head: str, sentence: Sentence) -> Iterator[str]:
    at = "" if sentence.source is None else _at(sentence.source)
    words = head.lstrip()
    yield from folded(printable(f"{words}{sentence.text}{at}"), f"  {' ' * (len(head) - len(words))}")
    for line in sentence.kernel or ():
        yield from folded(printable(f"on this host: {line}"), "      ")


def _at(source: Source) -> str:
    """Return a place. Of what a template gives the line is not always known."""
    return f" ({source.file}:{source.line})" if source.line else f" ({source.file})"
