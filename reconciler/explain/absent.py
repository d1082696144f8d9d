"""Why somebody is on no host: what is wrong with its specs, what no host can have of them, or where it is instead."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.errors import SpecError
from reconciler.explain.declared import DeclaredHosts
from reconciler.explain.lines import Lines
from reconciler.explain.values import About, Reason, Sentence
from reconciler.model.expectation import Parties
from reconciler.model.wanted import Source
from reconciler.model.words import without
from reconciler.review.parties import untold
from reconciler.spec.document import Document

_FAULTS_SHOWN = 5


def absences(specs: DeclaredHosts, name: str) -> Iterator[Reason]:
    """Yield why an attachment that the specs declare cannot be asked about; nothing when they do not speak of it."""
    lines = Lines(specs.documents)
    own = _faults_of(specs, name)
    is_there = any(name in site.members for site in specs.walk.sites.values())
    faults = own or (() if is_there or not _is_declared(specs, name) else specs.faults)
    why = "its specs have a fault" if own else "the specs have a fault"
    for fault in faults[:_FAULTS_SHOWN]:
        source = Source(fault.file, fault.line, fault.column)
        text = f"{name} is left out, {why}: {fault.message}"
        yield (Sentence(about=About.SPECS, text=text, source=source),)
    failed = [*_failures(specs, name, lines)]
    yield from failed
    if faults or failed:
        return
    parties = Parties(source=Source("", 0, 0), name=name)
    for one in untold(parties, specs.walk, specs.documents):
        yield (Sentence(about=About.SPECS, text=f"{one.name} cannot be asked about: {one.reason}", source=one.source),)


def _is_declared(specs: DeclaredHosts, name: str) -> bool:
    """Return whether the specs speak of it; what a file says that cannot be read, nobody knows."""
    is_complete = len(specs.documents) >= len(specs.loads[specs.settings.host].files)
    return not is_complete or any(key == name for doc in specs.documents for key, _ in doc.entries("attachments"))


def _faults_of(specs: DeclaredHosts, name: str) -> tuple[SpecError, ...]:
    """Return the faults that stand in the entry of an attachment, or of a network that it joins."""
    networks = {network for document in specs.documents for network in _joined(document, name)}
    places = [*_entries(specs.documents, "attachments", {name}), *_entries(specs.documents, "networks", networks)]
    return tuple(fault for fault in specs.faults if any(_is_in(fault, *place) for place in places))


def _entries(documents: tuple[Document, ...], section: str, names: set[str]) -> Iterator[tuple[str, int, int]]:
    """Yield file, first line and the line after the last of entries."""
    for document in documents:
        starts = [(key, document.source((section, key), at_key=True).line) for key, _ in document.entries(section)]
        others = [
            document.source((key,), at_key=True).line
            for key in (document.data if isinstance(document.data, dict) else ())
        ]
        for key, first in starts:
            if key in names:
                after = [line for line in (*(line for _, line in starts), *others) if line > first]
                yield document.file, first, min(after, default=1 << 30)


def _is_in(fault: SpecError, file: str, first: int, after: int) -> bool:
    return fault.file == file and first <= fault.line < after


def _joined(document: Document, name: str) -> Iterator[str]:
    for key, entry in document.entries("attachments"):
        networks = entry.get("networks") if key == name and isinstance(entry, dict) else None
        yield from (each for each in (networks if isinstance(networks, dict | list) else ()) if isinstance(each, str))


def _failures(specs: DeclaredHosts, name: str, lines: Lines) -> Iterator[Reason]:
    """Yield what no host can have of it, or of a network that it is on."""
    told: set[str] = set()
    for host, state in specs.states.items():
        wanted = next((one for one in specs.loads[host].wanted.attachments if one.name == name), None)
        networks = {endpoint.network for endpoint in wanted.endpoints} if wanted else set()
        for unit, error in state.failures:
            is_its = unit.attachment == name or (not unit.attachment and unit.network in networks)
            text = without(str(error), *unit.names())
            if is_its and text not in told:
                told.add(text)
                yield (
                    Sentence(
                        about=About.SPECS,
                        text=f"{unit} cannot be had: {text}",
                        source=lines.of(unit.entry()),
                        unit=unit,
                    ),
                )
