"""summary.json: per network and attachment whether it is as declared, since when, and what is in the way. Pure.

Nothing in it changes without cause: a time moves only when what it dates changes, so a pass with nothing to do gives
the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from typing import Final, TypeVar

from msgspec import Struct

from reconciler.errors import ExitCode, RolledBack
from reconciler.model.desired import DesiredAttachment
from reconciler.model.objects import CLUSTER_UNIT, HOST_UNIT, NAMES_UNIT, SERVICES, Unit
from reconciler.model.report import Report
from reconciler.model.words import some
from reconciler.records.lenient import mapping_of, text_of
from reconciler.sandbox.resolv_conf import uses_embedded_server
from reconciler.status.entry import DIGEST, LAST_GOOD, REVISION, StatusEntry, read_entry
from reconciler.status.json_text import Json, Rendered, json_text, member_text, object_parts
from reconciler.status.verdict import OTHERS_IN_FORCE, Unsettled, unsettled

_FAULTS_SHOWN: Final = 3
_ENTRY_DEPTH: Final = 2
_INDENT: Final = "\n" + (_ENTRY_DEPTH + 1) * "    "
_NETWORKS: Final = Rendered("\2")
_ATTACHMENTS: Final = Rendered("\3")
"""Stand for the entries, which are put in last: each copy of megabytes counts."""

_NONE: Final = StatusEntry()

_SERVICES: Final = {NAMES_UNIT: "names", CLUSTER_UNIT: "cluster"}
"""Where the document tells of what is neither a network nor an attachment."""

_Circumstances = tuple[Unsettled | None, str]
"""What is in the way of something, and what to know of it while nothing is."""

T = TypeVar("T")


class Revision(Struct, frozen=True):
    """The git commit that the specs are at, "" outside of a repository. is_dirty: something of the specs is not committed."""

    commit: str = ""
    is_dirty: bool = False

    def __str__(self) -> str:
        return f"{self.commit}-dirty" if self.commit and self.is_dirty else self.commit


class Summary:
    """The document of pass after pass. Entries that nothing happened to are not made again.

    An entry whose spec cannot be read stays as it was, stalled with reason LastGoodInUse.
    `names` tells of the embedded DNS server, null where no sandbox has it; `cluster` of this host's place in the cluster, null for
    a host in none.
    """

    def __init__(self, previous: Mapping[str, object]) -> None:
        """previous: the document before, whose times and counters go on; whatever it holds is survived."""
        self._cause_before: tuple[object, ...] | None = None
        self._text = ""
        self._latest = _Latest("", text_of(previous, "specDigest"))
        self._whole = read_entry(previous)
        self._services = {unit: read_entry(mapping_of(previous, name)) for unit, name in _SERVICES.items()}
        self._networks = _Entries(mapping_of(previous, "networks"), _network_unit)
        self._attachments = _Entries(mapping_of(previous, "attachments"), _attachment_unit)

    def text(
        self,
        report: Report,
        revision: Revision,
        declared: Mapping[str, DesiredAttachment],
        *,
        is_same: bool = False,
    ) -> str:
        """Return the text for `report`, which becomes the latest pass. declared: its attachments by name.

        is_same: they are those of the pass before.
        """
        issues, of_pass = unsettled(report), self._pass(report)
        cause = self._cause(report, revision, issues)
        if not is_same or self._cause_before != cause or of_pass.repaired:
            self._text = self._made(report, revision, declared, issues, of_pass)
        self._cause_before = cause
        return self._text

    def _cause(self, report: Report, revision: Revision, issues: Sequence[Unsettled]) -> tuple[object, ...]:
        """Return all that the text depends on, but for attachments and what was put back. The pass before had what it has."""
        desired = report.desired
        return (
            issues,
            desired.remarks,
            desired.has_faults,
            desired.host.name,
            {network.name for network in desired.networks if not network.wanted.is_listed},
            [_has_service(unit, report) for unit in self._services],
            revision,
            report.digest,
            report.probed,
            [str(fault) for fault in report.spec_faults],
        )

    def _made(
        self,
        report: Report,
        revision: Revision,
        declared: Mapping[str, DesiredAttachment],
        issues: Sequence[Unsettled],
        of_pass: _Pass,
    ) -> str:
        by_unit = _by_unit(issues)
        whole, repaired = self._latest.settled(self._whole), of_pass.repaired.total()
        self._whole = whole.next(_whole_issue(report, issues), of_pass.now, repaired=repaired, probed=report.probed)
        for unit, before in self._services.items():
            issue = by_unit.get(unit)
            self._services[unit] = of_pass.next(before, unit, issue) if issue or _has_service(unit, report) else _NONE
        networks = {network.name for network in report.desired.networks if not network.wanted.is_listed}
        self._networks.update(networks, _of_networks(networks, by_unit), of_pass)
        self._attachments.update(declared.keys(), _of_attachments(declared, by_unit), of_pass)
        self._latest = _Latest(str(revision), report.digest)
        return self._latest.filled_in("".join(self._parts(json_text(self._document(report, revision)))))

    def _parts(self, document: str) -> Iterator[str]:
        head, _, rest = self._latest.filled_in(document).partition(_NETWORKS.text)
        between, _, tail = rest.partition(_ATTACHMENTS.text)
        return chain((head,), self._networks.parts(), (between,), self._attachments.parts(), (tail,))

    def _pass(self, report: Report) -> _Pass:
        return _Pass(
            now=report.desired.host.now,
            before=self._latest,
            repaired=self._repaired(report),
            remarks=_remarks(report),
            is_keeping=report.desired.has_faults,
        )

    def _repaired(self, report: Report) -> Counter[Unit]:
        """Count per entry the changes that put something back: same specs as when it was last verified, and in between nothing was
        in the way but what passes could not do.
        """
        is_rolled_back = any(isinstance(error, RolledBack) for _, error in report.drift.problems)
        if self._latest.digest != report.digest or is_rolled_back:
            return Counter()
        units = (unit.entry() for unit in _changed_units(report))
        return Counter(unit for unit in units if self._latest.settled(self._entry(unit)).was_verified(report.digest))

    def _entry(self, unit: Unit) -> StatusEntry:
        if unit == HOST_UNIT:
            return self._whole
        if unit in _SERVICES:
            return self._services[unit]
        return self._attachments.entry(unit.attachment) if unit.attachment else self._networks.entry(unit.network)

    def _document(self, report: Report, revision: Revision) -> dict[str, Json]:
        services = {_SERVICES[unit]: None if e is _NONE else e.document() for unit, e in self._services.items()}
        return {
            "host": report.desired.host.name,
            "observedRevision": {"commit": revision.commit, "dirty": revision.is_dirty},
            **self._whole.document(("specDigest", "verifiedDigest", "conditions", "driftRepaired", "lastError")),
            "specFaults": [str(fault) for fault in report.spec_faults],
            "networks": _NETWORKS,
            "attachments": _ATTACHMENTS,
            **services,
        }


class _Latest(Struct, frozen=True):
    """What the entries of the latest pass have in common."""

    revision: str
    digest: str

    def settled(self, entry: StatusEntry) -> StatusEntry:
        return entry.of_pass(self.revision, self.digest)

    def filled_in(self, text: str) -> str:
        revision, digest = json_text(self.revision).rstrip(), json_text(self.digest).rstrip()
        values = ((_ROW_MARK, _row(revision, digest)), (REVISION.text, revision), (DIGEST.text, digest))
        for mark, value in values:
            text = text.replace(mark, value)
        return text


def _row(revision: str, digest: str) -> str:
    members = (f'"observedRevision": {revision}', f'"specDigest": {digest}', f'"verifiedDigest": {digest}')
    return f",{_INDENT}".join(members)


_ROW: Final = _row(REVISION.text, DIGEST.text)


_ROW_MARK: Final = "\4"
"""Stands for the members that nearly every entry has in a row: one copy of the text is made then, not three."""


class _Pass(Struct, frozen=True, kw_only=True):
    """One more pass. before: the one before it. repaired: changes that put something back, by entry. remarks: what to know of what
    is as declared. is_keeping: what specs do not declare may be declared by those that cannot be read.
    """

    now: str
    before: _Latest
    repaired: Counter[Unit]
    remarks: Mapping[Unit, str]
    is_keeping: bool

    def next(self, before: StatusEntry, unit: Unit, issue: Unsettled | None) -> StatusEntry:
        remark = self.remarks.get(unit, "")
        return self.before.settled(before).next(issue, self.now, remark=remark, repaired=self.repaired[unit])


class _Entries:
    """Those of all networks, or all attachments, by name. unit_of: gives their unit."""

    def __init__(self, previous: Mapping[str, object], unit_of: Callable[[str], Unit]) -> None:
        self._entries = {name: read_entry(mapping_of(previous, name)) for name in previous}
        self._unit_of = unit_of
        self._texts: dict[str, str] = {}
        self._told: Mapping[str, _Circumstances] = {}

    def entry(self, name: str) -> StatusEntry:
        return self._entries.get(name, _NONE)

    def update(self, declared: Set[str], issues: dict[str, Unsettled], of_pass: _Pass) -> None:
        """Make entries anew where something happened. issues: what is in the way of those where something is."""
        others = self._entries.keys() - declared - issues.keys()
        if of_pass.is_keeping:
            issues |= dict.fromkeys(others, LAST_GOOD)
        for name in others - issues.keys():
            del self._entries[name]
            self._texts.pop(name, None)
        remarks = self._named(of_pass.remarks)
        told = {name: (issues.get(name), remarks.get(name, "")) for name in issues.keys() | remarks.keys()}
        changed = {name for name in told.keys() | self._told.keys() if told.get(name) != self._told.get(name)}
        changed |= (
            self._named(of_pass.repaired).keys()
            | (declared - self._texts.keys())
            | (issues.keys() - self._texts.keys())
        )
        self._told = told
        for name in changed:
            if name in declared or name in issues:
                entry = of_pass.next(self.entry(name), self._unit_of(name), issues.get(name))
                text = member_text(name, entry.document(), _ENTRY_DEPTH)
                self._entries[name], self._texts[name] = entry, text.replace(_ROW, _ROW_MARK)

    def parts(self) -> Iterator[str]:
        return object_parts(map(self._texts.__getitem__, sorted(self._texts)), _ENTRY_DEPTH)

    def _named(self, of: Mapping[Unit, T]) -> dict[str, T]:
        named = ((unit, unit.attachment or unit.network, value) for unit, value in of.items())
        return {name: value for unit, name, value in named if unit == self._unit_of(name)}


def _network_unit(name: str) -> Unit:
    return Unit(network=name)


def _attachment_unit(name: str) -> Unit:
    return Unit(attachment=name)


def _has_service(unit: Unit, report: Report) -> bool:
    if unit == NAMES_UNIT:
        return any(map(uses_embedded_server, report.desired.members))
    return report.desired.host.vtep is not None


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


def _of_networks(declared: Set[str], by_unit: Mapping[Unit, Unsettled]) -> dict[str, Unsettled]:
    """Return what is in the way of networks: an issue of their own, or the host's."""
    own = _on_networks(by_unit)
    return {**_of_host(declared, by_unit), **{name: issue for name, issue in own.items() if name not in SERVICES}}


def _of_attachments(
    declared: Mapping[str, DesiredAttachment], by_unit: Mapping[Unit, Unsettled]
) -> dict[str, Unsettled]:
    """Return what is in the way of attachments: an issue of their own, of an endpoint, of one of their networks, or the host's."""
    found = _of_host(declared.keys(), by_unit)
    on_networks = _on_networks(by_unit)
    for name, attachment in declared.items() if on_networks else ():
        for endpoint in reversed(attachment.endpoints):  # of several issues the first
            if endpoint.network in on_networks:
                found[name] = on_networks[endpoint.network]
    for unit, issue in reversed([*by_unit.items()]):
        if unit.attachment:
            found[unit.attachment] = issue
    return found


def _on_networks(by_unit: Mapping[Unit, Unsettled]) -> dict[str, Unsettled]:
    return {unit.network: issue for unit, issue in by_unit.items() if unit.network and not unit.attachment}


def _of_host(names: Iterable[str], by_unit: Mapping[Unit, Unsettled]) -> dict[str, Unsettled]:
    """Return what is in the way of all; that others than these specs are in force is not, those are as declared."""
    issue = by_unit.get(HOST_UNIT)
    return {} if issue is None or issue.reason in OTHERS_IN_FORCE else dict.fromkeys(names, issue)


def _by_unit(issues: Iterable[Unsettled]) -> dict[Unit, Unsettled]:
    """Keep one issue per unit, rather one that a person must act on."""
    return {issue.unit: issue for issue in sorted(issues, key=lambda issue: not issue.is_retryable)}


def _changed_units(report: Report) -> Iterator[Unit]:
    for outcome in report.outcomes:
        if outcome.error is None and not outcome.operation.is_news:
            yield outcome.operation.unit
