"""What of a review a reviewer must see: errors for what cannot be, warnings for what is hit, notices for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from reconciler.cli.checkout import in_checkout
from reconciler.cli.findings import Checked, FindingRule, Level, SpecFinding, fault_findings, warning_findings
from reconciler.cli.review_words import BETWEEN, entry_title, field_line, flow_parts, host_parts, match_lines
from reconciler.model.objects import Unit
from reconciler.model.plan import Disruption
from reconciler.model.wanted import Source
from reconciler.review.conditions import FailCondition, matches
from reconciler.review.values import HostReview, Review, SharedChange
from reconciler.status.verdict import undecided

_WARNED: Final = {Disruption.FLAP: "a short loss of traffic", Disruption.RECREATE: "connections are lost"}


def checked_review(review: Review, conditions: Sequence[str] = ()) -> Checked:
    reports = [host.report for host in review.hosts]
    return Checked(
        what="plan" if review.is_of_pass else "review",
        findings=tuple(review_findings(review, conditions)),
        files=tuple(sorted({file for report in reports for file in report.spec_files})),
        expectations=tuple(dict.fromkeys(chain.from_iterable(report.expectations for report in reports))),
        hosts=tuple(host.host for host in review.hosts),
        conditions=tuple(conditions),
    )


def review_findings(review: Review, conditions: Sequence[str] = ()) -> Iterator[SpecFinding]:
    """Yield errors, then warnings, then notices. conditions: of which nothing shall be there."""
    yield from fault_findings(review.faults)
    for match in matches(review, map(FailCondition, conditions)):
        lines = (line.removeprefix(match.condition).lstrip(" :") for line in match_lines(match))
        title = f"--fail-on {match.condition}"
        yield SpecFinding(rule=FindingRule.UNWANTED, level=Level.ERROR, message="\n".join(lines), title=title)
    for host in review.hosts:
        yield from _problems(host, "" if review.is_of_pass else f"{host.host}: ")
    yield from warning_findings(review.warnings)
    yield from _effects(review)
    for host in review.hosts:
        yield from _remarks(host, "" if review.is_of_pass else f"{host.host}: ")
        if review.is_of_pass:
            yield from _disruptions(host)
    for change in review.changes:
        yield from _changes(change, [host.host for host in review.hosts])


def _problems(host: HostReview, whose: str) -> Iterator[SpecFinding]:
    for issue in undecided(host.report):
        message = f"{whose}{issue.unit}: {issue.message}"
        at = _place(host, issue.unit)
        yield SpecFinding(
            rule=FindingRule.PROBLEM, level=Level.ERROR, message=message, title=issue.reason, place=at, host=host.host
        )


def _remarks(host: HostReview, whose: str) -> Iterator[SpecFinding]:
    for unit, text in sorted(host.report.desired.remarks):
        message, at = f"{whose}{unit}: {text}", _place(host, unit)
        yield SpecFinding(
            rule=FindingRule.REMARK, level=Level.WARNING, message=message, title="remark", place=at, host=host.host
        )


def _disruptions(host: HostReview) -> Iterator[SpecFinding]:
    """Yield the worst that happens to each unit, where that is declared."""
    worst: dict[Unit, Disruption] = {}
    for operation in host.report.plan.operations:
        if operation.disruption in _WARNED and worst.get(operation.unit) is not Disruption.RECREATE:
            worst[operation.unit] = operation.disruption
    for unit, disruption in sorted(worst.items()):
        message, at = f"{unit}: {_WARNED[disruption]}", _place(host, unit)
        yield SpecFinding(
            rule=FindingRule.DISRUPTION,
            level=Level.WARNING,
            message=message,
            title="disruption",
            place=at,
            host=host.host,
        )


def _place(host: HostReview, unit: Unit) -> Source | None:
    source = host.report.sources.get(unit)  # built-in networks have no line
    return in_checkout(source) if source is not None and source.line else None


def _effects(review: Review) -> Iterator[SpecFinding]:
    """One per host that tells who is hit, and who reaches whom now or no longer; one for what is between hosts."""
    parts = [(host.host, f"host {host.host}", host_parts(host)) for host in review.hosts]
    for host, title, found in (*parts, ("", BETWEEN, flow_parts(review.between))):
        told = [f"{heading}: {'; '.join(lines)}" for heading, lines in found]
        if told:
            yield SpecFinding(
                rule=FindingRule.EFFECT, level=Level.WARNING, message="\n".join(told), title=title, host=host
            )


def _changes(change: SharedChange, hosts: list[str]) -> Iterator[SpecFinding]:
    title = entry_title(change, hosts)
    if change.is_before or not change.fields:
        yield _change(title, "", change.source, is_there=not change.is_before)
    for field in change.fields if not change.is_before else ():
        yield _change(field_line(field), title, field.source, is_there=field.after is not None)


def _change(message: str, title: str, source: Source, *, is_there: bool) -> SpecFinding:
    """What is gone has no line in the checkout any more, and stands at the file."""
    at = in_checkout(source)
    place = at if is_there else Source(at.file, 0, 0)
    return SpecFinding(rule=FindingRule.CHANGE, level=Level.NOTICE, message=message, title=title, place=place)
