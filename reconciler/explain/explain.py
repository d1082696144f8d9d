"""`reconcile explain` by the specs: from what was typed to what is told. Asks no host."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from reconciler.errors import ConfigError
from reconciler.explain.absent import absences
from reconciler.explain.answer import answer
from reconciler.explain.declared import Declared
from reconciler.explain.lines import Lines
from reconciler.explain.suggest import changes
from reconciler.explain.target import Target, question, read_target, similar
from reconciler.explain.values import About, Explanation, Sentence, Verdict
from reconciler.model.wanted import Source


def explain(specs: Declared, client: str, target: str) -> Explanation:
    """Return whether one reaches another, and why, and what would let it. Raises ConfigError for who is nobody."""
    meant = read_target(target)
    told = _told(specs, client, meant, target)
    if told.verdict is Verdict.NO:
        told = replace(told, changes=changes(specs, client, meant))
    return replace(told, notes=(*told.notes, *_unread(specs)))


def _told(specs: Declared, client: str, meant: Target, typed: str) -> Explanation:
    try:
        asked = question(specs, client, meant)
    except LookupError as error:
        name = str(error.args[0])
        other = client if name == meant.name else meant.name
        reasons = tuple(absences(specs, name))
        if not reasons:
            raise ConfigError(f"attachment {name!r} not found{similar(specs, name)}") from None
        reasons = tuple(dict.fromkeys((*reasons, *absences(specs, other))))
        return Explanation(client=client, server=typed, verdict=Verdict.NO, reasons=reasons)
    return answer(asked, specs.walk, Lines(specs.documents))


def _unread(specs: Declared) -> Iterator[Sentence]:
    """Yield that something may be missing here that the specs declare."""
    for fault in specs.faults[:1]:
        more = f", the first of {len(specs.faults)}" if len(specs.faults) > 1 else ""
        text = f"the specs have a fault{more}, and what has it is left out: {fault.message}"
        yield Sentence(about=About.SPECS, text=text, source=Source(fault.file, fault.line, fault.column))
