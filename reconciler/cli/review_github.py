"""A review as annotations at the lines of a pull request, within GitHub's limits. Pure but for where the checkout is."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.cli.checkout import in_checkout
from reconciler.cli.diagnostics import annotation, fault_annotations, limited, warning_annotations
from reconciler.cli.review_words import BETWEEN, entry_title, field_line, flow_parts, host_parts, sum_line
from reconciler.model.wanted import Source
from reconciler.review.values import Review, SharedChange
from reconciler.status.verdict import undecided


def review_github(review: Review) -> str:
    """Give one workflow command per line: errors for what cannot be, warnings for what is hit or open now, notices for the rest."""
    problems = (
        annotation("error", f"{host.host}: {issue.unit}: {issue.message}", title=issue.reason)
        for host in review.hosts
        for issue in undecided(host.report)
    )
    errors = [*fault_annotations(review.faults), *problems]
    warnings = [*warning_annotations(review.warnings), *_effects(review)]
    notices = [*(line for change in review.changes for line in _change(change, review))]
    lines = [*limited(errors, "error"), *limited(warnings, "warning"), *limited([*notices, _sum(review)], "notice")]
    return "".join(f"{line}\n" for line in lines)


def _sum(review: Review) -> str:
    return annotation("notice", sum_line(review), title="reconcile")


def _effects(review: Review) -> Iterator[str]:
    """One warning per host that tells who is hit, and who reaches whom now or no longer; one for what is between hosts."""
    parts = [(f"host {host.host}", host_parts(host)) for host in review.hosts]
    for title, found in (*parts, (BETWEEN, flow_parts(review.between))):
        told = [f"{heading}: {'; '.join(lines)}" for heading, lines in found]
        if told:
            yield annotation("warning", "\n".join(told), title=title)


def _change(change: SharedChange, review: Review) -> Iterator[str]:
    title = entry_title(change, [host.host for host in review.hosts])
    if change.is_before or not change.fields:
        yield _placed(title, "", change.source, is_there=not change.is_before)
    for field in change.fields if not change.is_before else ():
        yield _placed(field_line(field), title, field.source, is_there=field.after is not None)


def _placed(message: str, title: str, source: Source, *, is_there: bool) -> str:
    """What is gone has no line in the checkout any more, and stands at the file."""
    at = in_checkout(source)
    line, column = (at.line, at.column) if is_there else (0, 0)
    return annotation("notice", message, file=at.file, line=line, column=column, title=title)
