"""What a pass did, and what the specs have wrong, as lines of the log."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.cli.logs import log, operations_log
from reconciler.errors import KvConflict, SpecError
from reconciler.model.plan import Action, Outcome
from reconciler.model.report import Report
from reconciler.model.wanted import SpecWarning
from reconciler.model.words import counted
from reconciler.status.verdict import Unsettled

_ALIKE_MAX: Final = 5
"""Of endpoints of one network with one reason: more are told once, and counted."""

_DONE: Final = {
    Action.CREATE: "created",
    Action.UPDATE: "changed",
    Action.DELETE: "deleted",
    Action.ADOPT: "adopted",
    Action.RELEASE: "released",
}


def log_pass(report: Report, issues: tuple[Unsettled, ...], elapsed_s: float) -> None:
    """Tell what a pass did: a line per operation, per fault and per issue, and one in sum."""
    lost: defaultdict[tuple[Action, str], list[Outcome]] = defaultdict(list)
    for outcome in report.outcomes:
        if isinstance(outcome.error, KvConflict) and not outcome.skipped:
            lost[outcome.operation.action, outcome.operation.unit.network].append(outcome)
        else:
            _log_outcome(outcome)
    for same in lost.values():
        _log_outcome(same[0], len(same) - 1)
    log_issues(report, issues)
    log.info("%s in %.2f s", summary_line(report, issues), elapsed_s)


def log_issues(report: Report, issues: tuple[Unsettled, ...]) -> None:
    """Tell what a person must mend, and what will be tried again."""
    log_faults(report)
    alike: defaultdict[tuple[object, ...], list[Unsettled]] = defaultdict(list)
    for issue in issues:
        is_one_of_many = issue.unit.network and issue.unit.attachment
        alike[(issue.unit.network, issue.reason) if is_one_of_many else (issue,)].append(issue)
    for same in alike.values():
        shown = same if len(same) <= _ALIKE_MAX else same[:1]
        for issue in shown:
            level = logging.WARNING if issue.is_retryable or issue.is_on_purpose else logging.ERROR
            more = f" (and {len(same) - 1} more attachments; see `reconcile status`)" if len(shown) < len(same) else ""
            log.log(level, "%s: %s%s", issue.unit, issue.message, more, extra={"unit": issue.unit})


def log_faults(report: Report) -> None:
    for fault in report.spec_faults:
        log_fault(fault)


def log_spec_warnings(warnings: Iterable[SpecWarning]) -> None:
    """Tell what hardly is meant, as compilers do."""
    for warning in warnings:
        log.warning("%s", warning, extra={"is_located": True})


def log_fault(fault: SpecError) -> None:
    """Tell one fault as compilers do, `file:line:column: message`, which editors find their way by."""
    log.error("%s", fault, extra={"is_located": True})


def summary_line(report: Report, issues: tuple[Unsettled, ...]) -> str:
    done = [outcome.operation.action for outcome in report.outcomes if outcome.error is None]
    counts = action_counts(done, _DONE)
    not_ready = f", {len(issues)} not as declared" if issues else ""
    faults = f", {counted(len(report.spec_faults), 'fault')} in the specs" if report.spec_faults else ""
    return (", ".join(counts) if done else "nothing to do") + not_ready + faults


def action_counts(actions: Sequence[Action], words: Mapping[Action, str]) -> list[str]:
    """Count what is done, in these words; bridges of others are spoken of where there are some."""
    rare = (Action.ADOPT, Action.RELEASE)
    return [f"{actions.count(a)} {word}" for a, word in words.items() if a not in rare or a in actions]


def _log_outcome(outcome: Outcome, more: int = 0) -> None:
    """Tell of one operation. more: so many others of its network failed like it, as other hosts wrote first: one line for all."""
    operation = outcome.operation
    extra = {"unit": operation.unit}
    if outcome.skipped:
        operations_log.info("skipped: %s, because of: %s", operation.describe(), outcome.error, extra=extra)
    elif outcome.error is not None:
        others = f" (and {more} more like it)" if more else ""
        operations_log.warning("failed: %s%s", outcome.failure(), others, extra=extra)
    else:
        operations_log.info("%s", operation.describe(), extra=extra)
