"""Faults of specs as JSON in the shape of `terraform validate -json`, and findings as GitHub's workflow commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.cli.findings import Level, SpecFinding
from reconciler.cli.terminal import printable
from reconciler.errors import SpecError
from reconciler.model.wanted import Source, SpecWarning
from reconciler.status.json_text import Json

ANNOTATIONS_MAX: Final = 10
"""Of one level and one step; GitHub drops what is beyond (actions/toolkit:docs/problem-matchers.md)."""


def diagnostics(faults: Sequence[SpecError], warnings: Sequence[SpecWarning] = ()) -> list[Json]:
    """Return the faults sorted by place, then the warnings; lines and columns count from 1, 0 when the whole file is meant."""
    return [
        *(
            _diagnostic("error", fault.message, Source(fault.file, fault.line, fault.column))
            for fault in sorted(faults, key=_place)
        ),
        *(_diagnostic("warning", warning.message, warning.source) for warning in sorted(warnings)),
    ]


def _diagnostic(severity: str, summary: str, place: Source) -> Json:
    start: Json = {"line": place.line, "column": place.column}
    return {"severity": severity, "summary": summary, "range": {"filename": place.file, "start": start}}


def validation(faults: Sequence[SpecError], warnings: Sequence[SpecWarning]) -> dict[str, Json]:
    return {
        "format_version": "1.0",
        "valid": not faults,
        "error_count": len(faults),
        "warning_count": len(warnings),
        "diagnostics": diagnostics(faults, warnings),
    }


def workflow_commands(findings: Iterable[SpecFinding], sum_line: str = "") -> str:
    """Return one workflow command per line, as many of each level as GitHub takes; the last says how many more there are.

    sum_line: a notice at the end, which counts too.
    """
    by_level: dict[Level, list[str]] = {level: [] for level in Level}
    for finding in findings:
        by_level[finding.level].append(_annotation(finding))
    lines = [line for level, found in by_level.items() for line in _limited(found, level, has_sum=bool(sum_line))]
    if sum_line:
        lines.append(annotation(Level.NOTICE, sum_line, title="reconcile"))
    return "".join(f"{line}\n" for line in lines)


def _annotation(finding: SpecFinding) -> str:
    at = finding.place or Source("", 0, 0)
    return annotation(finding.level, finding.message, file=at.file, line=at.line, column=at.column, title=finding.title)


def annotation(level: str, message: str, *, file: str = "", line: int = 0, column: int = 0, title: str = "") -> str:
    """Return one workflow command, escaped so that no message can end it or begin another."""
    properties = {"file": file, "line": str(line or ""), "col": str(column or ""), "title": title}
    given = ",".join(f"{name}={_escaped_property(value)}" for name, value in properties.items() if value)
    return f"::{level}{' ' if given else ''}{given}::{_escaped(message)}"


def _limited(lines: Sequence[str], level: Level, *, has_sum: bool) -> Sequence[str]:
    room = ANNOTATIONS_MAX - (has_sum and level is Level.NOTICE)
    if len(lines) <= room:
        return lines
    left = len(lines) - room + 1
    return [*lines[: room - 1], annotation(level, f"{left} more, see the log of this step")]


def _escaped(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return printable(escaped)


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _place(fault: SpecError) -> tuple[str, int, int, str]:
    return fault.file, fault.line, fault.column, fault.message
