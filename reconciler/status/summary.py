"""summary.json: per network and attachment whether it is as declared, since when, and what is in the way. Pure.

Nothing in it changes without cause: a time moves only when what it dates changes, so a pass with nothing to do gives
the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.errors import ExitCode, RolledBack
from reconciler.model.objects import CLUSTER_UNIT, HOST_UNIT, NAMES_UNIT, SERVICES, Unit
from reconciler.model.report import Report
from reconciler.model.words import some
from reconciler.records.lenient import items_of, mapping_of, text_of
from reconciler.sandbox.resolv_conf import uses_embedded_server
from reconciler.status.json_text import Json
from reconciler.status.verdict import OTHERS_IN_FORCE, Unsettled, unsettled

READY_MESSAGE: Final = "as declared"
_FAULTS_SHOWN: Final = 3
_FAILED: Final = ("ApplyFailed", "VerifyFailed")
"""Why something is not as declared although nothing that it needs is missing."""

_SERVICES: Final = {NAMES_UNIT: "names", CLUSTER_UNIT: "cluster"}
"""Where the document tells of what is neither a network nor an attachment."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The git commit that the specs are at, "" outside of a repository. is_dirty: something of the specs is not committed."""

    commit: str = ""
    is_dirty: bool = False

    def __str__(self) -> str:
        return f"{self.commit}-dirty" if self.commit and self.is_dirty else self.commit


def summary_document(report: Report, revision: Revision, previous: Mapping[str, object]) -> dict[str, Json]:
    """Return the document for `report`. previous: the one before, whose times and counters go on; whatever it holds is survived.

    Conditions follow kstatus: `Ready` always; `Reconciling` (the next pass may mend it) and `Stalled` (a person must act)
    only while true.
    An entry whose spec cannot be read stays as it was, stalled with reason LastGoodInUse.
    `names` tells of the embedded DNS server, null where no sandbox has it; `cluster` of this host's place in the cluster, null for
    a host in none.
    """
    issues = unsettled(report)
    writer = _Writer(
        now=report.desired.host.now,
        revision=str(revision),
        digest=report.digest,
        repaired=_repaired(report, previous),
        remarks=_remarks(report),
    )
    whole = _whole_issue(report, issues)
    return {
        "host": report.desired.host.name,
        "observedRevision": {"commit": revision.commit, "dirty": revision.is_dirty},
        "specDigest": report.digest,
        "verifiedDigest": writer.verified_digest(whole, previous),
        "conditions": writer.conditions(whole, previous),
        "driftRepaired": writer.drift_repaired("", previous),
        "lastError": writer.last_error(whole, previous),
        "specFaults": [str(fault) for fault in report.spec_faults],
        "networks": _entries(report, writer, _of_networks(report, issues), mapping_of(previous, "networks")),
        "attachments": _entries(report, writer, _of_attachments(report, issues), mapping_of(previous, "attachments")),
        "names": _names_entry(report, writer, issues, mapping_of(previous, "names")),
        "cluster": _cluster_entry(report, writer, issues, mapping_of(previous, "cluster")),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Makes entries of one pass. repaired: operations per `network NAME`, `attachment NAME`, and "" for all.

    remarks: what to know of what is as declared, by unit.
    """

    now: str
    revision: str
    digest: str
    repaired: Mapping[str, int]
    remarks: Mapping[Unit, str]

    def entry(self, unit: Unit, issue: Unsettled | None, before: Mapping[str, object]) -> dict[str, Json]:
        return {
            "conditions": self.conditions(issue, before, self.remarks.get(unit, "")),
            "observedRevision": self.revision,
            "specDigest": self.digest,
            "verifiedDigest": self.verified_digest(issue, before),
            "driftRepaired": self.drift_repaired(str(unit), before),
            "lastError": self.last_error(issue, before),
        }

    def conditions(self, issue: Unsettled | None, before: Mapping[str, object], remark: str = "") -> list[Json]:
        if issue is None:
            message = f"{READY_MESSAGE}, but {remark}" if remark else READY_MESSAGE
            return [self._condition("Ready", "True", "ReconciliationSucceeded", message, before)]
        if issue.is_on_purpose:
            is_known = "Unknown" if issue.reason == "Suspended" else "False"
            return [self._condition("Ready", is_known, issue.reason, issue.message, before)]
        ready = self._condition("Ready", "False", issue.reason, issue.message, before)
        if issue.is_retryable:
            return [ready, self._condition("Reconciling", "True", "ProgressingWithRetry", issue.message, before)]
        return [ready, self._condition("Stalled", "True", issue.reason, issue.message, before)]

    def _condition(
        self, kind: str, status: str, reason: str, message: str, before: Mapping[str, object]
    ) -> dict[str, Json]:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": _transition_time(kind, status, before) or self.now,
        }

    def verified_digest(self, issue: Unsettled | None, before: Mapping[str, object]) -> str:
        """Return the digest of the specs with which it was last found as declared, "" if it never was."""
        return self.digest if issue is None else text_of(before, "verifiedDigest")

    def drift_repaired(self, name: str, before: Mapping[str, object]) -> int:
        return _count(before) + self.repaired.get(name, 0)

    def last_error(self, issue: Unsettled | None, before: Mapping[str, object]) -> Json:
        """Return the latest error with the time when it was first seen; it stays when all is well again."""
        issue = None if issue is not None and issue.is_on_purpose else issue
        kept = mapping_of(before, "lastError")
        message, time = kept.get("message"), kept.get("time")
        if isinstance(message, str) and isinstance(time, str) and (issue is None or issue.message == message):
            return {"message": message, "time": time}
        return None if issue is None else {"message": issue.message, "time": self.now}


def _entries(
    report: Report, writer: _Writer, found: Mapping[Unit, Unsettled | None], previous: Mapping[str, object]
) -> dict[str, Json]:
    entries: dict[str, Json] = {}
    for unit, issue in found.items():
        name = unit.attachment or unit.network
        entries[name] = writer.entry(unit, issue, mapping_of(previous, name))
    if report.desired.has_faults:
        entries |= {name: _kept(writer, mapping_of(previous, name)) for name in previous.keys() - entries.keys()}
    return dict(sorted(entries.items()))


def _names_entry(report: Report, writer: _Writer, issues: Iterable[Unsettled], before: Mapping[str, object]) -> Json:
    issue = _by_unit(issues).get(NAMES_UNIT)
    if issue is None and not any(map(uses_embedded_server, report.desired.members)):
        return None
    return writer.entry(NAMES_UNIT, issue, before)


def _cluster_entry(report: Report, writer: _Writer, issues: Iterable[Unsettled], before: Mapping[str, object]) -> Json:
    issue = _by_unit(issues).get(CLUSTER_UNIT)
    if issue is None and report.desired.host.vtep is None:
        return None
    return writer.entry(CLUSTER_UNIT, issue, before)


def _kept(writer: _Writer, before: Mapping[str, object]) -> dict[str, Json]:
    """What cannot be read any more, or was taken away while something else cannot be read: nothing of it was touched."""
    issue = Unsettled(
        unit=HOST_UNIT,
        reason="LastGoodInUse",
        message="left as it was, because not all specs can be read",
        is_retryable=False,
        exit_code=ExitCode.BAD_SPECS,
    )
    return {
        "conditions": writer.conditions(issue, before),
        "observedRevision": text_of(before, "observedRevision"),
        "specDigest": text_of(before, "specDigest"),
        "verifiedDigest": writer.verified_digest(issue, before),
        "driftRepaired": _count(before),
        "lastError": writer.last_error(issue, before),
    }


def _remarks(report: Report) -> Mapping[Unit, str]:
    texts: dict[Unit, list[str]] = {}
    for unit, text in report.desired.remarks:
        texts.setdefault(unit, []).append(text)
    return {unit: "; ".join(remarks) for unit, remarks in texts.items()}


def _whole_issue(report: Report, issues: Iterable[Unsettled]) -> Unsettled | None:
    """Return what stands for the whole pass: faults of the specs first, then the first thing that is in the way."""
    if report.spec_faults:
        return Unsettled(
            unit=HOST_UNIT,
            reason="ValidationFailed",
            message=some([str(fault) for fault in report.spec_faults], _FAULTS_SHOWN),
            is_retryable=False,
            exit_code=ExitCode.BAD_SPECS,
        )
    return min(issues, key=lambda issue: (issue.is_on_purpose, issue.is_retryable, issue.unit), default=None)


def _of_networks(report: Report, issues: Iterable[Unsettled]) -> dict[Unit, Unsettled | None]:
    """Return of each network what is in its way: its own issue, or the host's."""
    by_unit = _by_unit(issues)
    units = {network.unit for network in report.desired.networks if not network.wanted.is_listed}
    units |= {unit for unit in by_unit if unit.network not in ("", *SERVICES) and not unit.attachment}
    return {unit: by_unit.get(unit) or _of_host(by_unit) for unit in sorted(units)}


def _of_attachments(report: Report, issues: Iterable[Unsettled]) -> dict[Unit, Unsettled | None]:
    """Return of each attachment what is in its way: an issue of its own, of an endpoint, of one of its networks, or the host's."""
    by_unit = _by_unit(issues)
    own: dict[str, Unsettled] = {}
    for unit, issue in by_unit.items():
        if unit.attachment:
            own.setdefault(unit.attachment, issue)
    found: dict[Unit, Unsettled | None] = {Unit(attachment=name): issue for name, issue in own.items()}
    for attachment in report.desired.attachments:
        if attachment.name not in own:
            on = (by_unit.get(Unit(network=endpoint.network)) for endpoint in attachment.endpoints)
            found[attachment.unit] = next(filter(None, on), None) or _of_host(by_unit)
    return found


def _of_host(by_unit: Mapping[Unit, Unsettled]) -> Unsettled | None:
    """Return what is in the way of all; that others than these specs are in force is not, those are as declared."""
    issue = by_unit.get(HOST_UNIT)
    return None if issue is None or issue.reason in OTHERS_IN_FORCE else issue


def _by_unit(issues: Iterable[Unsettled]) -> dict[Unit, Unsettled]:
    """Keep one issue per unit, rather one that a person must act on."""
    return {issue.unit: issue for issue in sorted(issues, key=lambda issue: not issue.is_retryable)}


def _repaired(report: Report, previous: Mapping[str, object]) -> Counter[str]:
    """Count per entry, and under "" for all, the changes that put something back: same specs as when it was last verified, and in
    between nothing was in the way but what passes could not do.
    """
    is_rolled_back = any(isinstance(error, RolledBack) for _, error in report.drift.problems)
    if previous.get("specDigest") != report.digest or is_rolled_back:
        return Counter()
    counts: Counter[str] = Counter()
    for unit in _changed_units(report):
        if _was_verified(_entry_of(unit, previous), report.digest):
            counts.update((str(_entry_unit(unit)), ""))
    return counts


def _entry_of(unit: Unit, document: Mapping[str, object]) -> Mapping[str, object]:
    if unit == HOST_UNIT:
        return document
    if unit in _SERVICES:
        return mapping_of(document, _SERVICES[unit])
    kind, name = ("attachments", unit.attachment) if unit.attachment else ("networks", unit.network)
    return mapping_of(mapping_of(document, kind), name)


def _changed_units(report: Report) -> Iterator[Unit]:
    for outcome in report.outcomes:
        if outcome.error is None and not outcome.operation.is_news:
            yield outcome.operation.unit


def _entry_unit(unit: Unit) -> Unit:
    """An endpoint stands under its attachment."""
    return Unit(attachment=unit.attachment) if unit.attachment else unit


def _was_verified(entry: Mapping[str, object], digest: str) -> bool:
    """Return whether it was as declared by these specs, and passes only failed since: a sandbox that was missing then comes new."""
    if _transition_time("Ready", "True", entry) is not None:
        return True
    return text_of(entry, "verifiedDigest") == digest and any(
        each.get("reason") in _FAILED for each in _conditions(entry)
    )


def _transition_time(kind: str, status: str, entry: Mapping[str, object]) -> str | None:
    for condition in _conditions(entry):
        if condition.get("type") == kind and condition.get("status") == status:
            time = condition.get("lastTransitionTime")
            return time if isinstance(time, str) else None
    return None


def _conditions(entry: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    return (each for each in items_of(entry, "conditions") if isinstance(each, Mapping))


def _count(entry: Mapping[str, object]) -> int:
    count = entry.get("driftRepaired")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0
