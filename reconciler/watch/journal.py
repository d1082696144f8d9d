"""<state-dir>/events.ndjson: what happened on this host, one JSON object per line, oldest first. For passes of every kind.

Bounded: one file and the one before it. A pass that changes nothing and meets what was there before writes nothing. What was told
already, and with which specs, stands in <state-dir>/told.json, so that neither a restart nor a pass from cron tells it again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.errors import ReconcilerError, kernel_error
from reconciler.guard.state_file import alone, read_fields, write_fields
from reconciler.model.objects import SERVICES, Unit
from reconciler.model.plan import Outcome
from reconciler.model.report import Report
from reconciler.records.lenient import items_of, text_of
from reconciler.status.verdict import unsettled
from reconciler.watch.journal_reader import BEFORE, CURRENT
from reconciler.watch.listener import PassListener

log = logging.getLogger(__name__)

FILE_MAX: Final = 8 << 20
"""Bytes from which on a file becomes the one before; a first pass with 1,000 attachments is about 2 MB."""

_MESSAGE_MAX: Final = 1000
_TOLD: Final = "told.json"

Fields = Mapping[str, str]
Issue = tuple[str, str, str, str]
"""Network, attachment, reason, message."""


class What(StrEnum):
    APPLIED = "applied"
    REPAIRED = "repaired"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    SUSPENDED = "suspended"
    DRIFTED = "drifted"
    REVISION = "revision"
    """The specs are at another commit from now on."""

    PROBED = "probed"
    """Real packets go otherwise than before."""

    SETTLED = "settled"
    """What a `failed`, `refused`, `suspended`, `rolled-back` or `drifted` before told of is over; `reason` says which."""


_BY_REASON: Final = {
    "RolledBack": What.ROLLED_BACK,
    "Superseded": What.REFUSED,
    "RevisionRefused": What.REFUSED,
    "PruneGuard": What.REFUSED,
    "Protected": What.REFUSED,
    "Suspended": What.SUSPENDED,
    "DriftDetected": What.DRIFTED,
}
_NO_PASS: Final = "PassFailed"
"""Reason of what stands for a pass that could not be made at all."""

_NOT_DONE: Final = "OperationFailed"
"""Reason of what stands for the operation that a unit failed by, where its own issue does not say."""


class Reported(Struct, frozen=True, kw_only=True):
    """digest: of the specs of the last pass; revision: their commit; issues: what was in the way then;
    probed: reason and message of what packets said.
    """

    digest: str = ""
    revision: str = ""
    issues: frozenset[Issue] = frozenset()
    probed: tuple[str, str] = ("", "")

    def units(self) -> frozenset[Unit]:
        return frozenset(Unit(network=network, attachment=attachment) for network, attachment, *_ in self.issues)


class Journal(PassListener):
    """Writes what passes did. Commands that make one pass call `record`.

    A journal that cannot be written is told in the log and never fails a pass.
    """

    def __init__(self, state_dir: Path, file_max: int = FILE_MAX) -> None:
        self._state_dir, self._file_max = state_dir, file_max
        self._told: Reported | None = None
        self._is_broken = False

    def record(self, report: Report) -> None:
        """Write what the pass did and what changed of what is in the way."""
        last = self._remembered()
        revision = report.revision or last.revision
        probed = _probed(report) or last.probed
        now = Reported(digest=report.digest, revision=revision, issues=frozenset(_issues(report)), probed=probed)
        is_same = bool(report.digest) and last.digest == report.digest and not report.spec_faults
        operations = _operations(report, last if is_same else None, now.units())
        events = [*_revisions(last, now), *operations, *_changes(last, now), *_probings(last, now)]
        self._write(events, last, now)

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        """As `record`, which tells drift by what was told before: also the first pass after a restart may repair some."""
        self.record(report)

    def failed(self, error: ReconcilerError) -> None:
        """Write that no pass was possible, once until one is."""
        last = self._remembered()
        others = {issue for issue in last.issues if issue[2] != _NO_PASS}
        now = Reported(
            digest=last.digest,
            revision=last.revision,
            issues=frozenset({*others, ("", "", _NO_PASS, _short(str(error)))}),
            probed=last.probed,
        )
        self._write(list(_changes(last, now)), last, now)

    def _remembered(self) -> Reported:
        """Read again each time: passes of other processes tell as well."""
        try:
            return _read_told(self._state_dir / _TOLD)
        except ReconcilerError as error:
            self._complain(error)
            return self._told or Reported()

    def _write(self, events: list[Fields], last: Reported, now: Reported) -> None:
        try:
            if events:
                _append(self._state_dir, events, self._file_max)
            if now != last:
                fields = {
                    "digest": now.digest,
                    "revision": now.revision,
                    "issues": sorted(map(list, now.issues)),
                    "probed": list(now.probed),
                }
                write_fields(self._state_dir / _TOLD, fields)
            self._is_broken = False
        except ReconcilerError as error:
            self._complain(error)
        self._told = now

    def _complain(self, error: ReconcilerError) -> None:
        if not self._is_broken:
            log.warning("events are not recorded: %s", error)
        self._is_broken = True


def _operations(report: Report, last: Reported | None, unsettled_units: frozenset[Unit]) -> Iterator[Fields]:
    """Yield what was done, and what failed but was mended within the pass.

    What a unit did that failed was undone; why it failed is among what is in the way. last: present when the specs are those of the
    pass before, so that changes of what was settled then are repairs.
    """
    before = last.units() if last else frozenset()
    undone = {outcome.operation.unit for outcome in report.outcomes if outcome.error is not None} & unsettled_units
    for outcome in report.outcomes:
        unit = outcome.operation.unit
        if not outcome.skipped and unit not in undone:
            yield _operation(outcome, is_repair=last is not None and before.isdisjoint((unit, *unit.parents())))


def _operation(outcome: Outcome, *, is_repair: bool) -> Fields:
    operation = outcome.operation
    fields = {
        **_whose(operation.unit.network, operation.unit.attachment),
        "action": str(operation.action),
        "kind": operation.object.kind,
        "message": _short(operation.describe()),
    }
    if outcome.error is not None:
        return {"event": What.FAILED, **fields, "error": _short(str(outcome.error))}
    is_repair = is_repair and not operation.is_news
    return {"event": What.REPAIRED if is_repair else What.APPLIED, **fields}


def _revisions(last: Reported, now: Reported) -> Iterator[Fields]:
    if now.revision != last.revision:
        yield {"event": What.REVISION, "revision": now.revision, "message": f"specs are at {now.revision}"}


def _probed(report: Report) -> tuple[str, str] | None:
    """Return what packets said; that nobody asked yet, as after a restart, is no news."""
    found = report.probed
    return None if found is None or found.reason == "NotAsked" else (found.reason, _short(found.message))


def _probings(last: Reported, now: Reported) -> Iterator[Fields]:
    if now.probed != last.probed:
        yield {"event": What.PROBED, "reason": now.probed[0], "message": now.probed[1]}


def _issues(report: Report) -> Iterator[Issue]:
    for fault in report.spec_faults:
        yield "", "", "ValidationFailed", _short(str(fault))
    issues = unsettled(report)
    for issue in issues:
        yield issue.unit.network, issue.unit.attachment, issue.reason, _short(issue.message)
    units, messages = {issue.unit for issue in issues}, {issue.message for issue in issues}
    for outcome in report.outcomes:
        if outcome.error is not None and not outcome.skipped and outcome.operation.unit in units:
            unit, error = outcome.operation.unit, str(outcome.error)
            if error not in messages:
                yield unit.network, unit.attachment, _NOT_DONE, _short(outcome.failure())


def _changes(last: Reported, now: Reported) -> Iterator[Fields]:
    """What is new of what is in the way, and what is over; another message about the same is new and ends nothing."""
    for network, attachment, reason, message in sorted(now.issues - last.issues):
        event = _BY_REASON.get(reason, What.FAILED)
        yield {"event": event, **_whose(network, attachment), "reason": reason, "message": message}
    left = {issue[:3] for issue in now.issues}
    for network, attachment, reason in sorted({issue[:3] for issue in last.issues} - left):
        unit = Unit(network=network, attachment=attachment)
        message = f"{unit}: no longer {reason}"
        yield {"event": What.SETTLED, **_whose(network, attachment), "reason": reason, "message": message}


def _whose(network: str, attachment: str) -> Fields:
    found = {"network": network, "attachment": attachment}
    return {key: name for key, name in found.items() if name not in ("", *SERVICES)}


def _short(text: str) -> str:
    return text if len(text) <= _MESSAGE_MAX else text[: _MESSAGE_MAX - 1] + "…"


def _read_told(path: Path) -> Reported:
    fields = read_fields(path) or {}
    digest, revision = text_of(fields, "digest"), text_of(fields, "revision")
    return Reported(
        digest=digest, revision=revision, issues=frozenset(_told_issues(fields)), probed=_told_probed(fields)
    )


def _told_issues(fields: Mapping[str, object]) -> Iterator[tuple[str, str, str, str]]:
    for issue in items_of(fields, "issues"):
        match issue:
            case [str(network), str(attachment), str(reason), str(message)]:
                yield network, attachment, reason, message


def _told_probed(fields: Mapping[str, object]) -> tuple[str, str]:
    match items_of(fields, "probed"):
        case [str(reason), str(message)]:
            return reason, message
    return "", ""


def _append(state_dir: Path, events: list[Fields], file_max: int) -> None:
    """Add lines at once; processes that write at the same time wait for each other. Raises KernelError."""
    moment = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
    lines = "".join(f"{json.dumps({'time': moment, **event})}\n" for event in events).encode()
    path = state_dir / CURRENT
    try:
        with alone(state_dir), open(path, "ab+", opener=_open_itself) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # a crash, or a full disk, cut the last line off
                lines = b"\n" + lines
            file.write(lines)
            file.flush()
            if size + len(lines) >= file_max:
                path.rename(state_dir / BEFORE)
    except OSError as error:
        raise kernel_error(error.errno or 0, f"write {path}", error.strerror or "") from error


def _open_itself(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
