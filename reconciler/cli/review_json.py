"""A review for machines: sorted, without times, plain values, the same bytes for the same input. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from reconciler import __version__
from reconciler.cli.diagnostics import diagnostics
from reconciler.cli.plan_json import plan_document
from reconciler.model.objects import Key
from reconciler.model.wanted import Source
from reconciler.review.values import (
    FieldChange,
    FlowChanges,
    HostReview,
    Move,
    NameKnown,
    Review,
    ReviewFlow,
    SharedChange,
    SharedNetwork,
)
from reconciler.status.json_text import Json, json_text
from reconciler.status.verdict import undecided


def review_json(review: Review) -> str:
    """Return the review as one document; that of a pass begins with its plan."""
    return json_text(_of_pass(review) if review.is_of_pass else _of_hosts(review))


def _of_pass(review: Review) -> dict[str, Json]:
    (host,) = review.hosts
    return {
        **plan_document(replace(host.report, spec_faults=review.faults), undecided(host.report), _drift(host)),
        "against": review.against,
        "changes": [_change(change) for change in review.changes],
        "hosts": [_host(host)],
        "between": _reach(review.between),
    }


def _of_hosts(review: Review) -> dict[str, Json]:
    return {
        "format_version": "1.1",
        "tool_version": __version__,
        "against": review.against,
        "complete": not review.faults and not any(undecided(host.report) for host in review.hosts),
        "changes": [_change(change) for change in review.changes],
        "hosts": [{**_host(host), "plan": plan_document(host.report, undecided(host.report))} for host in review.hosts],
        "shared": [_shared(network) for network in review.shared],
        "between": _reach(review.between),
        "diagnostics": diagnostics(review.faults, review.warnings),
    }


def _change(change: SharedChange) -> dict[str, Json]:
    return {
        "unit": {"network": change.unit.network, "attachment": change.unit.attachment},
        "hosts": {str(action): list(hosts) for action, hosts in change.hosts},
        "source": _source(change.source),
        "is_before": change.is_before,
        "fields": [_field(field) for field in change.fields],
    }


def _field(field: FieldChange) -> dict[str, Json]:
    return {"path": field.path, "before": field.before, "after": field.after, "source": _source(field.source)}


def _source(source: Source) -> dict[str, Json]:
    return {"filename": source.file, "start": {"line": source.line, "column": source.column}}


def _host(review: HostReview) -> dict[str, Json]:
    return {
        "host": review.host,
        "hit": [{"attachment": name, "disruption": str(disruption)} for name, disruption in review.hit],
        "reach": _reach(review.flows),
        "names": {"gained": _names(review.names_gained), "lost": _names(review.names_lost)},
        "addresses": _addresses(review.moves),
    }


def _shared(network: SharedNetwork) -> dict[str, Json]:
    return {
        "network": network.name,
        "on": list(network.hosts),
        "hosts": [
            {
                "host": part.host,
                "attachments": {"gained": list(part.come), "lost": list(part.go)},
                "names": {"gained": _names(part.names_gained), "lost": _names(part.names_lost)},
                "addresses": _addresses(part.moves),
            }
            for part in network.parts
        ],
    }


def _addresses(moves: Iterable[Move]) -> list[Json]:
    return [
        {"attachment": m.attachment, "network": m.network, "before": m.before or None, "after": m.after or None}
        for m in moves
    ]


def _drift(review: HostReview) -> frozenset[Key]:
    return frozenset(operation.key for operation in review.drift)


def _reach(flows: FlowChanges) -> dict[str, Json]:
    return {"gained": _flows(flows.gained), "lost": _flows(flows.lost), "altered": _flows(flows.altered)}


def _flows(flows: Iterable[ReviewFlow]) -> list[Json]:
    return [
        {
            "from": list(flow.clients),
            "to": list(flow.servers),
            "what": flow.what,
            "how": flow.how,
            "ip": list(flow.versions),
        }
        for flow in flows
    ]


def _names(names: Iterable[NameKnown]) -> list[Json]:
    return [
        {"network": n.network, "attachment": n.attachment, "name": n.name, "only_to": n.only_to or None} for n in names
    ]
