"""A plan as annotations of a pull request: faults and problems are errors, disruptions warnings, the sum a notice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.cli.checkout import in_checkout
from reconciler.cli.diagnostics import annotation, fault_annotations, limited, warning_annotations
from reconciler.cli.plan_text import count_line
from reconciler.model.objects import Unit
from reconciler.model.plan import Disruption
from reconciler.model.report import Report
from reconciler.model.wanted import Source
from reconciler.status.verdict import Unsettled

_WARNED: Final = {Disruption.FLAP: "a short loss of traffic", Disruption.RECREATE: "connections are lost"}


def plan_github(report: Report, issues: Sequence[Unsettled]) -> str:
    """Give one workflow command per line, within GitHub's limits."""
    errors = [*fault_annotations(report.spec_faults), *_problems(report, issues)]
    warnings = [*warning_annotations(report.spec_warnings), *_remarks(report), *_disruptions(report)]
    lines = [*limited(errors, "error"), *limited(warnings, "warning")]
    return "".join(f"{line}\n" for line in (*lines, annotation("notice", count_line(report), title="reconcile")))


def _problems(report: Report, issues: Sequence[Unsettled]) -> Iterator[str]:
    for issue in issues:
        yield _placed("error", f"{issue.unit}: {issue.message}", issue.reason, _source(report, issue.unit))


def _remarks(report: Report) -> Iterator[str]:
    for unit, text in sorted(report.desired.remarks):
        yield _placed("warning", f"{unit}: {text}", "remark", _source(report, unit))


def _disruptions(report: Report) -> Iterator[str]:
    """One warning per unit, for the worst that happens to it."""
    worst: dict[Unit, Disruption] = {}
    for operation in report.plan.operations:
        if operation.disruption in _WARNED and worst.get(operation.unit) is not Disruption.RECREATE:
            worst[operation.unit] = operation.disruption
    for unit, disruption in sorted(worst.items()):
        yield _placed("warning", f"{unit}: {_WARNED[disruption]}", "disruption", _source(report, unit))


def _source(report: Report, unit: Unit) -> Source | None:
    """Say where a unit was declared. What the specs do not declare (built-in networks) has no line."""
    found = report.sources.get(unit)
    return found if found is not None and found.line else None


def _placed(level: str, message: str, title: str, source: Source | None) -> str:
    if source is None:
        return annotation(level, message, title=title)
    at = in_checkout(source)
    return annotation(level, message, file=at.file, line=at.line, column=at.column, title=title)
