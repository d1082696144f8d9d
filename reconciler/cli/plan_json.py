"""A plan for machines: sorted, without times, the same bytes for the same input. Pure.

`format_version`: the minor number grows when something is added (ignore what you do not know), the major one when
something changes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Sequence

from reconciler import __version__
from reconciler.cli.diagnostics import diagnostics
from reconciler.model.kinds.base import Record
from reconciler.model.objects import Key, Object, Unit
from reconciler.model.plan import Action, Disruption, Operation
from reconciler.model.report import Report
from reconciler.status.json_text import Json
from reconciler.status.verdict import Unsettled

_ACTION_ORDER = {Action.RELEASE: 0, Action.DELETE: 0, Action.UPDATE: 1, Action.ADOPT: 2, Action.CREATE: 2}


def plan_document(report: Report, issues: Sequence[Unsettled], drift: Container[Key] | None = None) -> dict[str, Json]:
    """Return the plan. issues: what is in the way, by `undecided` or, after a pass, `unsettled`.

    drift: what only puts right what is not as it was applied; None where nobody knows.
    """
    changes = _by_key(report.plan.operations)
    counts = Counter(operation.action for operation in report.plan.operations)
    return {
        "format_version": "1.3",
        "tool_version": __version__,
        "config": {"digest": report.digest},
        "complete": not (issues or report.spec_faults),
        "summary": {
            "create": counts[Action.CREATE],
            "change": counts[Action.UPDATE],
            "delete": counts[Action.DELETE],
            "adopt": counts[Action.ADOPT],
            "release": counts[Action.RELEASE],
            "replace": sum(len(operations) > 1 for operations in changes.values()),
            **({} if drift is None else {"drift": sum(key in drift for key in changes)}),
        },
        "resource_changes": [_change(changes[key], drift) for key in sorted(changes)],
        "problems": [_problem(issue) for issue in issues],
        "remarks": [{"unit": _unit(unit), "message": text} for unit, text in sorted(report.desired.remarks)],
        "diagnostics": diagnostics(report.spec_faults, report.spec_warnings),
    }


def changes_by_address(operations: Sequence[Operation]) -> dict[str, Json]:
    """Return what is done to each object, whatever the order."""
    changes = _by_key(operations)
    return {_address(found[-1].object): _change(found, None) for _, found in sorted(changes.items())}


def _by_key(operations: Sequence[Operation]) -> dict[Key, list[Operation]]:
    """Bring together what happens to one object: one that is made anew is deleted and created."""
    changes: dict[Key, list[Operation]] = {}
    for operation in operations:
        changes.setdefault(operation.key, []).append(operation)
    return {key: sorted(found, key=lambda one: _ACTION_ORDER[one.action]) for key, found in changes.items()}


def _change(operations: Sequence[Operation], drift: Container[Key] | None) -> dict[str, Json]:
    first, last = operations[0], operations[-1]
    return {
        "address": _address(last.object),
        "kind": last.object.kind,
        "actions": [str(operation.action) for operation in operations],
        "before": _attributes(first.before),
        "after": _attributes(last.after),
        "disruption": str(_worst(operations)),
        "affects": sorted({name for operation in operations for name in operation.affects}),
        "unit": _unit(last.unit),
        **({} if drift is None else {"drift": last.key in drift}),
    }


def _address(found: Object) -> str:
    """Return the key as a path; the namespace that plays the host is called `host`."""
    return "/".join(part or "host" for part in found.key)


def _attributes(found: Object | None) -> dict[str, Json] | None:
    if found is None:
        return None
    if isinstance(found, Record):
        return {"path": found.path, "value": _timeless(found.value)}
    return dict(found.attributes())


def _timeless(value: str) -> str:
    """Leave out when a promise was made: a plan that was made twice has the same bytes."""
    try:
        record = json.loads(value)
    except (ValueError, RecursionError):
        return value
    if not isinstance(record, dict):
        return value
    return json.dumps({name: item for name, item in record.items() if name != "created"}, sort_keys=True)


def _worst(operations: Sequence[Operation]) -> Disruption:
    return max((operation.disruption for operation in operations), key=list(Disruption).index)


def _unit(unit: Unit) -> dict[str, Json]:
    return {"network": unit.network, "attachment": unit.attachment}


def _problem(issue: Unsettled) -> dict[str, Json]:
    return {
        "unit": _unit(issue.unit),
        "reason": issue.reason,
        "message": issue.message,
        "retryable": issue.is_retryable,
    }
