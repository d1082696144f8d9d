"""`reconcile explain`: from what was typed to what is told, by the specs and, where somebody looks, by this host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.backends import Backends
from reconciler.explain.absent import absences
from reconciler.explain.answer import all_found, answer, is_reached
from reconciler.explain.declared import DeclaredHosts
from reconciler.explain.host_words import last_words
from reconciler.explain.lines import Lines
from reconciler.explain.suggest import changes
from reconciler.explain.target import NobodyMeant, TypedTarget, question, read_target, similar
from reconciler.explain.values import About, Explanation, Question, Sentence, Verdict
from reconciler.model.wanted import Source


class Here(Struct, frozen=True, kw_only=True):
    """What is known of this host. summary: of its last pass. backends: to look at it by, None where nobody looks.

    is_probing: packets are sent.
    """

    summary: Mapping[str, object]
    backends: Backends | None = None
    is_probing: bool = False


NOT_HERE: Final = Here(summary={})
"""The specs alone are asked."""


def explain(specs: DeclaredHosts, client: str, target: str, here: Here = NOT_HERE) -> Explanation:
    """Return whether one reaches another, and why, and what would let it. Raises NobodyMeant for who is nobody."""
    meant = read_target(target)
    if here.backends is None:
        asked, explanation = _told(specs, client, meant, target)
        words = tuple(last_words(explanation, asked, here.summary, specs.settings.host)) if asked is not None else ()
        explanation = replace(explanation, notes=(*explanation.notes, *words))
    else:
        asked, explanation = _told_here(specs, client, meant, target, here.backends, is_probing=here.is_probing)
    if explanation.verdict is Verdict.NO and not explanation.path:  # else the specs are fine, and the host is not
        explanation = replace(explanation, changes=changes(specs, client, meant))
    return replace(explanation, notes=(*explanation.notes, *_unread(specs)))


def _told(
    specs: DeclaredHosts, client: str, meant: TypedTarget, typed: str, *, is_foreseen: bool = True
) -> tuple[Question | None, Explanation]:
    try:
        asked = question(specs, client, meant)
    except LookupError as error:
        name = str(error.args[0])
        other = client if name == meant.name else meant.name
        reasons = tuple(absences(specs, name))
        if not reasons:
            raise NobodyMeant(f"attachment {name!r} not found{similar(specs, name)}") from None
        reasons = tuple(dict.fromkeys((*reasons, *absences(specs, other))))
        return None, Explanation(client=client, server=typed, verdict=Verdict.NO, reasons=reasons)
    return asked, answer(asked, specs.walk, Lines(specs.documents), is_foreseen=is_foreseen)


def _told_here(
    specs: DeclaredHosts, client: str, meant: TypedTarget, typed: str, backends: Backends, *, is_probing: bool
) -> tuple[Question | None, Explanation]:
    from reconciler.explain.live import beside_host, look_at_host
    from reconciler.explain.probing import probed

    present = look_at_host(specs, backends)
    asked, explanation = _told(present.specs, client, meant, typed, is_foreseen=False)
    if asked is None:
        return None, explanation
    walk = present.specs.walk
    found = [*all_found(asked, walk)]
    reached = [each for each in found if is_reached(asked, each)]
    if is_probing:
        explanation = probed(explanation, reached or found, walk, present.host, backends)
    return asked, beside_host(explanation, asked, present)


def _unread(specs: DeclaredHosts) -> Iterator[Sentence]:
    """Yield that something may be missing here that the specs declare."""
    for fault in specs.faults[:1]:
        more = f", the first of {len(specs.faults)}" if len(specs.faults) > 1 else ""
        text = f"the specs have a fault{more}, and what has it is left out: {fault.message}"
        yield Sentence(about=About.SPECS, text=text, source=Source(fault.file, fault.line, fault.column))
