"""What the page of a watcher shows beside the drawing: each network's state, what is not ready, the last events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from reconciler.model.words import some
from reconciler.records.document import json_bytes
from reconciler.records.lenient import items_of, mapping_of, number_of, text_of
from reconciler.status.write import read_summary
from reconciler.watch.journal_reader import Event, latest_events

_EVENTS_SHOWN: Final = 30
_EVENTS_READ: Final = 1 << 16
"""Bytes: the last few hundred events."""

_REASONS: Final = {"Suspended": "suspended", "DriftDetected": "drifted"}
_EVENT_MEMBERS: Final = ("time", "event", "reason", "message", "error")
_UNITS_SHOWN: Final = 3

Fields = Mapping[str, object]


def state_json(status_dir: Path, state_dir: Path, *, is_well: bool, reason: str, drawing: str) -> bytes:
    """Return the JSON. drawing: the entity tag of the one that is there."""
    summary = read_summary(status_dir)
    entries = {kind: mapping_of(summary, kind) for kind in ("networks", "attachments")}
    told = {
        "drawing": drawing,
        "isWell": is_well,
        "health": reason,
        "host": _entry(summary),
        "revision": text_of(mapping_of(summary, "observedRevision"), "commit"),
        "networks": {name: _entry(mapping_of(entries["networks"], name)) for name in entries["networks"]},
        "attachments": {
            name: state
            for name in entries["attachments"]
            if (state := _entry(mapping_of(entries["attachments"], name)))["state"] != "ready" or state["remark"]
        },
        "faults": [str(fault) for fault in items_of(summary, "specFaults")],
        "events": list(told_events(latest_events(state_dir, _EVENTS_READ))),
    }
    return json_bytes(told)


def _entry(entry: Fields) -> dict[str, object]:
    conditions = {text_of(each, "type"): each for each in items_of(entry, "conditions") if isinstance(each, Mapping)}
    ready = mapping_of(conditions, "Ready")
    is_ready, reason, message = text_of(ready, "status") == "True", text_of(ready, "reason"), text_of(ready, "message")
    return {
        "state": "ready" if is_ready else _state(conditions.keys(), reason),
        "reason": "" if is_ready else reason,
        "message": "" if is_ready else message,
        "remark": message.partition(", but ")[2] if is_ready else "",
        "since": text_of(ready, "lastTransitionTime"),
        "repaired": int(number_of(entry, "driftRepaired")),
        "probed": text_of(mapping_of(conditions, "Probed"), "message"),
    }


def _state(conditions: Iterable[str], reason: str) -> str:
    if reason in _REASONS:
        return _REASONS[reason]
    return "reconciling" if "Reconciling" in conditions else "stalled" if reason else "unknown"


def told_events(events: Sequence[Event]) -> Iterator[dict[str, object]]:
    """Yield the last events, newest first; those of one pass that are alike as one: the first, whose they are, and their number."""
    groups = [[*group] for _, group in groupby(events, lambda event: (event.get("time"), event.get("event")))]
    for group in reversed(groups[-_EVENTS_SHOWN:]):
        units = [*dict.fromkeys(map(_unit, group))]
        first = {member: text_of(group[0], member) for member in _EVENT_MEMBERS}
        yield {**first, "units": some([unit for unit in units if unit], _UNITS_SHOWN), "count": len(group)}


def _unit(event: Event) -> str:
    return " on ".join(name for name in (text_of(event, "attachment"), text_of(event, "network")) if name)
