"""Logs: one line per record on stderr, as text or JSON; what a pass did as such lines."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from reconciler.cli.streams import StderrHandler
from reconciler.cli.terminal import printable
from reconciler.errors import KvConflict, SpecError
from reconciler.model.plan import Action, Outcome
from reconciler.model.report import Report
from reconciler.model.wanted import SpecWarning
from reconciler.model.words import counted
from reconciler.status.verdict import Unsettled

log = logging.getLogger("reconciler")
operations_log = logging.getLogger("reconciler.operations")

_LEVELS: Final = {-2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO}
_ALIKE_MAX: Final = 5
"""Of endpoints of one network with one reason: more are told once, and counted."""

_PREFIXED: Final = logging.WARNING
_DONE: Final = {Action.CREATE: "created", Action.UPDATE: "changed", Action.DELETE: "deleted"}


def configure_logs(verbosity: int, log_format: str) -> None:
    """Send the package's logs to stderr. A repeat replaces what was set up before.

    On a terminal the progress bar stands for the single operations; -v shows them there too, with all details.
    """
    handler = StderrHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_once)
    _once.start_over()
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(_LEVELS.get(max(verbosity, -2), logging.DEBUG))
    is_bar_enough = verbosity == 0 and log_format == "text" and sys.stderr.isatty()
    operations_log.setLevel(logging.WARNING if is_bar_enough else logging.NOTSET)


class _OncePerPass(logging.Filter):
    """Lets a warning through once in a pass, of which several looks may meet the same thing. Other threads are in no pass."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def start_over(self) -> None:
        self._told.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.thread != threading.main_thread().ident:
            return True
        text = record.getMessage()
        is_new = text not in self._told
        self._told.add(text)
        return is_new


_once: Final = _OncePerPass()


def end_of_pass() -> None:
    """Tell from now on what was told before as well. For processes of several passes; others are one pass."""
    _once.start_over()


class TextFormatter(logging.Formatter):
    """The message alone; warnings and errors say what they are. A record is one line, whatever its message holds."""

    def format(self, record: logging.LogRecord) -> str:
        is_prefixed = record.levelno >= _PREFIXED and not hasattr(record, "is_located")
        prefix = f"{record.levelname.lower()}: " if is_prefixed else ""
        return prefix + printable(record.getMessage())


class JsonFormatter(logging.Formatter):
    """An object per line: time (RFC 3339), level, logger, message, and `unit` where one is meant."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        unit = getattr(record, "unit", None)
        return json.dumps(said if unit is None else {**said, "unit": str(unit)})


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
    counts = [f"{done.count(action)} {word}" for action, word in _DONE.items()]
    not_ready = f", {len(issues)} not as declared" if issues else ""
    faults = f", {counted(len(report.spec_faults), 'fault')} in the specs" if report.spec_faults else ""
    return (", ".join(counts) if done else "nothing to do") + not_ready + faults


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
