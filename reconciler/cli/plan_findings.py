"""What of a plan for one host a reviewer must see: faults and problems are errors, disruptions warnings, the sum a notice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.cli.checkout import in_checkout
from reconciler.cli.findings import Checked, Finding, Level, Rule, fault_findings, warning_findings
from reconciler.model.objects import Unit
from reconciler.model.plan import Disruption
from reconciler.model.report import Report
from reconciler.status.verdict import Unsettled

_WARNED: Final = {Disruption.FLAP: "a short loss of traffic", Disruption.RECREATE: "connections are lost"}


def checked_plan(report: Report, issues: Sequence[Unsettled]) -> Checked:
    return Checked(
        what="plan",
        findings=tuple(plan_findings(report, issues)),
        files=report.spec_files,
        expectations=report.expectations,
        hosts=(report.desired.host.name,),
    )


def plan_findings(report: Report, issues: Sequence[Unsettled]) -> Iterator[Finding]:
    """Give errors, then warnings."""
    host = report.desired.host.name

    def found(rule: Rule, level: Level, unit: Unit, text: str, title: str) -> Finding:
        source = report.sources.get(unit)  # built-in networks have no line
        place = in_checkout(source) if source is not None and source.line else None
        return Finding(rule=rule, level=level, message=f"{unit}: {text}", title=title, place=place, host=host)

    yield from fault_findings(report.spec_faults)
    for issue in issues:
        yield found(Rule.PROBLEM, Level.ERROR, issue.unit, issue.message, issue.reason)
    yield from warning_findings(report.spec_warnings)
    for unit, text in sorted(report.desired.remarks):
        yield found(Rule.REMARK, Level.WARNING, unit, text, "remark")
    for unit, disruption in sorted(_disruptions(report).items()):
        yield found(Rule.DISRUPTION, Level.WARNING, unit, _WARNED[disruption], "disruption")


def _disruptions(report: Report) -> dict[Unit, Disruption]:
    """Give the worst that happens to each unit."""
    worst: dict[Unit, Disruption] = {}
    for operation in report.plan.operations:
        if operation.disruption in _WARNED and worst.get(operation.unit) is not Disruption.RECREATE:
            worst[operation.unit] = operation.disruption
    return worst
