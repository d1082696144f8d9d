"""Which status files there shall be after a pass, and what is in them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from itertools import chain
from operator import attrgetter
from pathlib import Path

from msgspec import Struct

from reconciler.errors import Held
from reconciler.incremental import By
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, RemoteEndpoint
from reconciler.model.objects import Unit
from reconciler.model.plan import Action
from reconciler.model.report import Report
from reconciler.plan.make_plan import Blocked
from reconciler.status.attachment_document import HOST_SANDBOX, attachment_document
from reconciler.status.json_text import Json, json_text
from reconciler.status.members import Members
from reconciler.status.network_document import listed_elsewhere, listed_here, network_file
from reconciler.status.summary import Revision, Summary
from reconciler.status.verdict import unsettled


class StatusFiles(Struct, frozen=True, kw_only=True):
    """Texts by name (without `.json`), those of networks in pieces. kept_*: files that stay as they are although there is no text
    for them.

    is_pruning: False when the specs could not all be read, then no file is removed.
    """

    summary: str
    networks: Mapping[str, tuple[bytes, ...]]
    attachments: Mapping[str, str]
    kept_networks: Set[str] = frozenset()
    kept_attachments: Set[str] = frozenset()
    is_pruning: bool = True


class Documents:
    """The documents of pass after pass: what is the very same as in the pass before is not made again, and keeps its file.

    Stages before give the same object for what did not change; what is another is held against the old one before it is rendered.
    """

    def __init__(self, previous: Mapping[str, object], *, netns_dir: Path, host_sandbox: str = HOST_SANDBOX) -> None:
        """previous: the summary that is there; the others: see `attachment_document`."""
        self._summary, self._listing = Summary(previous), _Listing()
        self._netns_dir, self._host_sandbox, self._hostname = netns_dir, host_sandbox, ""
        self._attachments: By[str, DesiredAttachment] = By(attrgetter("name"))
        self._networks: Mapping[str, DesiredNetwork] = {}

    def files(self, report: Report, revision: Revision) -> StatusFiles:
        """Return the files for `report`, with the texts of those that may differ from the last."""
        desired = report.desired
        failed = {issue.unit for issue in unsettled(report)}
        gone, come = self._attachments(desired.attachments)
        touched = self._listing.update(report, gone, come, self._attachments.values)
        networks, self._networks = self._networks, {each.name: each for each in desired.networks}
        for name, network in self._networks.items():
            if networks.get(name) is not network:
                self._listing.update_elsewhere(network)
        return StatusFiles(
            summary=self._summary.text(report, revision, self._attachments.values, is_same=not (gone or come)),
            networks=dict(self._network_texts(networks, touched)),
            attachments=dict(self._attachment_texts(come, networks, desired.host.hostname)),
            kept_networks=self._networks.keys()
            | {unit.network for unit in failed if unit.network and not unit.attachment},
            kept_attachments=self._attachments.values.keys() | {unit.attachment for unit in failed if unit.attachment},
            is_pruning=not desired.has_faults,
        )

    def _network_texts(
        self, before: Mapping[str, DesiredNetwork], touched: Set[str]
    ) -> Iterator[tuple[str, tuple[bytes, ...]]]:
        """touched: networks on which others are listed than before."""
        for name, network in self._networks.items():
            if name in touched or not _is_same(before.get(name), network):
                yield name, network_file(network, self._listing.members(name))
        for name in before.keys() - self._networks.keys():
            self._listing.forget_elsewhere(name)

    def _attachment_texts(
        self, come: Mapping[str, DesiredAttachment], networks: Mapping[str, DesiredNetwork], hostname: str
    ) -> Iterator[tuple[str, str]]:
        """come: the attachments that are new or others. networks: those of before."""
        names = {*networks, *self._networks}
        others = {name for name in names if _shown_of(networks, name) != _shown_of(self._networks, name)}
        hit, everyone = come, self._attachments.values
        if hostname != self._hostname:
            hit, self._hostname = everyone, hostname
        elif others:
            on = {name: each for name, each in everyone.items() if any(e.network in others for e in each.endpoints)}
            hit = {**come, **on}
        for name, attachment in hit.items():
            yield name, json_text([self._attachment_document(attachment)])

    def _attachment_document(self, attachment: DesiredAttachment) -> Json:
        return attachment_document(
            attachment,
            self._networks,
            netns_dir=self._netns_dir,
            host_hostname=self._hostname,
            host_sandbox=self._host_sandbox,
        )


_Judge = Callable[[DesiredEndpoint], bool]


def _is_same(before: object, now: object) -> bool:
    return before is now or before == now


def _shown_of(networks: Mapping[str, DesiredNetwork], name: str) -> tuple[str, str] | None:
    """Return what an attachment's document shows of a network."""
    network = networks.get(name)
    return None if network is None else (network.id, network.wanted.driver)


class _Listing:
    """Who is listed on the networks, held ones too; like the engine, inspect lists no endpoint that does not run."""

    def __init__(self) -> None:
        self._held: By[str, DesiredAttachment] = By(attrgetter("name"))
        self._members: dict[str, Members] = {}
        self._elsewhere: dict[str, By[str, RemoteEndpoint]] = {}
        self._absences = _Absences()

    def members(self, network: str) -> Members:
        return self._members.setdefault(network, Members())

    def update_elsewhere(self, network: DesiredNetwork) -> None:
        """Take endpoints of other hosts."""
        known = self._elsewhere.setdefault(network.name, By(attrgetter("id")))
        gone, come = known(network.remote_endpoints)
        members = self.members(network.name)
        for id_ in gone.keys() - come.keys():
            members.drop((True, id_))
        for id_, endpoint in come.items():
            members.put((True, id_), listed_elsewhere(endpoint))

    def forget_elsewhere(self, network: str) -> None:
        members = self.members(network)
        for id_ in self._elsewhere.pop(network).values:
            members.drop((True, id_))
        if not members.pieces():
            del self._members[network]

    def update(
        self,
        report: Report,
        gone: Mapping[str, DesiredAttachment],
        come: Mapping[str, DesiredAttachment],
        attachments: Mapping[str, DesiredAttachment],
    ) -> Set[str]:
        """Return the names of networks on which others are listed than before.

        gone, come: what is otherwise among `attachments`, which are those of the report.
        """
        absences = _absences(report)
        is_same, self._absences, is_absent = absences == self._absences, absences, absences.judge()
        held_no_more, held_now = self._held(report.desired.held)
        touched: set[str] = set()
        for attachment in (*gone.values(), *held_no_more.values()):
            touched |= self._drop(attachment)
        looked_at = (come, held_now) if is_same else (attachments, self._held.values)
        for attachment in chain.from_iterable(each.values() for each in looked_at):
            touched.update(self._place(attachment, is_absent))
        return touched

    def _drop(self, attachment: DesiredAttachment) -> Set[str]:
        for endpoint in attachment.endpoints:
            self.members(endpoint.network).drop((False, attachment.id))
        return {endpoint.network for endpoint in attachment.endpoints}

    def _place(self, attachment: DesiredAttachment, is_absent: _Judge) -> Iterator[str]:
        place = (False, attachment.id)
        for endpoint in attachment.endpoints:
            members = self.members(endpoint.network)
            if is_absent(endpoint):
                if members.drop(place):
                    yield endpoint.network
            elif place not in members:
                members.put(place, listed_here(attachment, endpoint))
                yield endpoint.network


class _Absences(Struct, frozen=True, kw_only=True):
    """What may be why an endpoint does not run. refused: units left as they are, which may be nowhere. unmade: endpoints whose link
    the last look did not find. staying: attachments that are held. running: endpoints that run all the same.
    """

    refused: frozenset[Unit] = frozenset()
    unmade: frozenset[Unit] = frozenset()
    staying: frozenset[str] = frozenset()
    running: frozenset[Unit] = frozenset()

    def judge(self) -> _Judge:
        """Return whether an endpoint is nowhere."""
        blocked = Blocked(self.refused)

        def is_absent(endpoint: DesiredEndpoint) -> bool:
            unit = endpoint.unit
            is_refused = endpoint.attachment in self.staying or blocked.covers(unit)
            return unit in self.unmade or (is_refused and unit not in self.running)

        return is_absent if self.refused or self.unmade or self.staying else lambda _: False


def _absences(report: Report) -> _Absences:
    problems = (*report.desired.failures, *report.drift.problems)
    refused = frozenset(unit for unit, error in problems if not isinstance(error, Held))
    staying = frozenset(attachment.name for attachment in report.desired.held)
    return _Absences(
        refused=refused,
        unmade=frozenset(
            operation.unit
            for operation in report.drift.operations
            if operation.action is Action.CREATE and operation.object.traits.is_endpoint_link
        ),
        staying=staying,
        running=report.running if refused or staying else frozenset(),
    )
