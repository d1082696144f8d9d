"""Which status files there shall be after a pass, and what is in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.errors import Held
from reconciler.model.desired import DesiredAttachment
from reconciler.model.objects import Unit
from reconciler.model.plan import Action
from reconciler.model.report import Report
from reconciler.plan.make_plan import Blocked
from reconciler.status.attachment_document import HOST_SANDBOX, attachment_document
from reconciler.status.json_text import json_text
from reconciler.status.network_document import network_document
from reconciler.status.summary import Revision, summary_document
from reconciler.status.verdict import unsettled


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFiles:
    """Texts by name (without `.json`). kept_*: files that stay as they are although there is no text for them.

    is_pruning: False when the specs could not all be read, then no file is removed.
    """

    summary: str
    networks: Mapping[str, str]
    attachments: Mapping[str, str]
    kept_networks: frozenset[str] = frozenset()
    kept_attachments: frozenset[str] = frozenset()
    is_pruning: bool = True


def status_files(
    report: Report,
    revision: Revision,
    previous: Mapping[str, object],
    *,
    netns_dir: Path,
    host_sandbox: str = HOST_SANDBOX,
) -> StatusFiles:
    """Return the files for `report`. previous: the summary of the pass before; the others: see `attachment_document`."""
    desired = report.desired
    networks = {network.name: network for network in desired.networks}
    document = partial(
        attachment_document,
        networks=networks,
        netns_dir=netns_dir,
        host_hostname=desired.host.hostname,
        host_sandbox=host_sandbox,
    )
    members = _members(report)
    failed = {issue.unit for issue in unsettled(report)}
    return StatusFiles(
        summary=json_text(summary_document(report, revision, previous)),
        networks={
            name: json_text([network_document(network, members.get(name, ()))]) for name, network in networks.items()
        },
        attachments={attachment.name: json_text([document(attachment)]) for attachment in desired.attachments},
        kept_networks=frozenset(unit.network for unit in failed if unit.network and not unit.attachment),
        kept_attachments=frozenset(unit.attachment for unit in failed if unit.attachment),
        is_pruning=not desired.has_faults,
    )


def _members(report: Report) -> dict[str, list[DesiredAttachment]]:
    """Return per network the attachments on it, held ones too; like the engine, inspect lists no endpoint that does not run."""
    refused, unmade = Blocked(_refused(report)), _unmade(report)
    staying = {attachment.name for attachment in report.desired.held}
    members: dict[str, list[DesiredAttachment]] = {}
    for attachment in report.desired.members:
        for endpoint in attachment.endpoints:
            is_refused = attachment.name in staying or refused.covers(endpoint.unit)
            if endpoint.unit not in unmade and (endpoint.unit in report.running or not is_refused):
                members.setdefault(endpoint.network, []).append(attachment)
    return members


def _refused(report: Report) -> frozenset[Unit]:
    """Find the units that were left as they are, which may be nowhere."""
    problems = (*report.desired.failures, *report.drift.problems)
    return frozenset(unit for unit, error in problems if not isinstance(error, Held))


def _unmade(report: Report) -> frozenset[Unit]:
    """Find the endpoints whose link the last look did not find."""
    return frozenset(
        operation.unit
        for operation in report.drift.operations
        if operation.action is Action.CREATE and operation.object.traits.is_endpoint_link
    )
