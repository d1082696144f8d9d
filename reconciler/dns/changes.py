"""What is otherwise in the zones than in those before, as one message to a server that has those. Pure.

{"from": digest of those before, "to": digest of those after, "host_servers": [address, …],
 "networks": {name: [how many rows stay in front, how many after them go, [row, …]], or null when it is gone},
 "sandboxes": {name: row, or null}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from reconciler.dns.zones import json_row, readable, zones_digest
from reconciler.model.zone_rows import ZoneRows
from reconciler.records.lenient import mapping_of

T = TypeVar("T")


def zone_changes(before: ZoneRows, digest_before: str, after: ZoneRows, digest: str) -> dict[str, object]:
    """Return the message that makes `after` of `before`."""
    return {
        "from": digest_before,
        "to": digest,
        "host_servers": json.loads(after.host_servers),
        "networks": _differing(before.networks, after.networks, lambda old, new: _splice(old or (), new)),
        "sandboxes": _differing(before.sandboxes, after.sandboxes, lambda _, new: json.loads(new)),
    }


def changed_zones(before: ZoneRows, digest_before: str, message: Mapping[str, object]) -> tuple[ZoneRows, str] | None:
    """Return what a message makes of the zones in force, with its digest; None for a message about others, or that leads to others.

    Raises ZonesUnreadable.
    """
    if message.get("from") != digest_before:
        return None
    with readable():
        networks, sandboxes = dict(before.networks), dict(before.sandboxes)
        for name, splice in mapping_of(message, "networks").items():
            _put(networks, name, None if splice is None else _spliced(networks.get(name, ()), *splice))  # type: ignore[misc]  # checked there
        for name, row in mapping_of(message, "sandboxes").items():
            _put(sandboxes, name, None if row is None else json_row(row))
        after = ZoneRows(host_servers=json_row(message.get("host_servers")), networks=networks, sandboxes=sandboxes)
    digest = zones_digest(after.text())
    return (after, digest) if digest == message.get("to") else None


def _differing(
    before: Mapping[str, T], after: Mapping[str, T], shown: Callable[[T | None, T], object]
) -> dict[str, object]:
    changes = {name: shown(before.get(name), new) for name, new in after.items() if before.get(name) != new}
    return {**changes, **dict.fromkeys(before.keys() - after.keys())}


def _splice(old: Sequence[str], new: Sequence[str]) -> list[object]:
    shorter = min(len(old), len(new))
    front = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - front
    back = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    return [front, len(old) - front - back, [json.loads(row) for row in new[front : len(new) - back]]]


def _spliced(rows: tuple[str, ...], front: int, gone: int, more: Sequence[object]) -> tuple[str, ...]:
    if not 0 <= front <= front + gone <= len(rows):
        raise ValueError(f"rows {front} to {front + gone} of {len(rows)}")
    return (*rows[:front], *map(json_row, more), *rows[front + gone :])


def _put(entries: dict[str, T], name: str, value: T | None) -> None:
    if value is None:
        entries.pop(name, None)
    else:
        entries[name] = value
