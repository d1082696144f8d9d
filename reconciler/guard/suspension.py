"""Who asked passes to leave what alone, why and until when: <state-dir>/suspensions.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict

from reconciler.errors import Suspended
from reconciler.guard.state_file import alone, read_fields, remove, write_fields
from reconciler.model.identifiers import is_name
from reconciler.model.objects import Unit
from reconciler.records.lenient import mapping_of, number_of, text_of

EVERYTHING: Final = ""
"""Stands for all networks; no network can be called so."""

_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


class Suspension(Struct, frozen=True, kw_only=True):
    """network: its name, or EVERYTHING. since, until: seconds since the epoch; until 0: for good."""

    network: str
    actor: str
    reason: str
    since: float
    until: float = 0.0

    @property
    def unit(self) -> Unit:
        return Unit(network=self.network)

    def is_over(self, now: float) -> bool:
        return 0 < self.until <= now

    def error(self) -> Suspended:
        what = f"network {self.network} is suspended" if self.network else "this host is suspended"
        why = f": {self.reason}" if self.reason else ""
        end = f" until {moment(self.until)}" if self.until else ""
        name = f" {self.network}" if self.network else ""
        return Suspended(
            f"{what} by {self.actor} since {moment(self.since)}{end}{why}; `reconcile resume{name}` ends it"
        )


def moment(time: float) -> str:
    """Return it in words; what no calendar has is its last or first moment."""
    return datetime.fromtimestamp(min(max(time, 0.0), _LAST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def suspensions(state_dir: Path, now: float) -> tuple[Suspension, ...]:
    """Return those in force, sorted by network, the one for everything first. Changes nothing: one that is over counts no more."""
    return tuple(found for found in _read(_file(state_dir)) if not found.is_over(now))


def next_end(state_dir: Path, since: float) -> float | None:
    """Return when the first ends of those in force at `since`: whoever looked then has to look again, also when that is past."""
    return min((found.until for found in suspensions(state_dir, since) if found.until), default=None)


def suspended_at(state_dir: Path) -> tuple[int, ...]:
    """Return what changes with every suspension and resumption, empty when there is none. Not the time alone: it moves in steps of
    some milliseconds, and within one of them a suspension and its end may come.
    """
    try:
        found = _file(state_dir).stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def suspend(state_dir: Path, new: Iterable[Suspension], now: float) -> None:
    """Add suspensions; one for the same network is replaced."""
    with alone(state_dir):
        _write(state_dir, {**_by_network(suspensions(state_dir, now)), **_by_network(new)})


def resume(state_dir: Path, networks: Iterable[str], now: float) -> tuple[str, ...]:
    """End the suspensions of `networks`, of all when none is named; give those that were in force."""
    with alone(state_dir):
        present = _by_network(suspensions(state_dir, now))
        ended = tuple(name for name in (tuple(networks) or tuple(present)) if name in present)
        if ended:
            _write(state_dir, {name: found for name, found in present.items() if name not in ended})
    return ended


def _file(state_dir: Path) -> Path:
    return state_dir / "suspensions.json"


def _by_network(found: Iterable[Suspension]) -> dict[str, Suspension]:
    return {suspension.network: suspension for suspension in found}


def _write(state_dir: Path, found: Mapping[str, Suspension]) -> None:
    if not found:
        remove(_file(state_dir))
        return
    fields = {name: {k: v for k, v in asdict(one).items() if k != "network"} for name, one in found.items()}
    write_fields(_file(state_dir), {"suspensions": fields})


def _read(file: Path) -> Iterator[Suspension]:
    entries = mapping_of(read_fields(file) or {}, "suspensions")
    for name in sorted(entries):
        fields = mapping_of(entries, name)
        if name == EVERYTHING or is_name(name):
            yield Suspension(
                network=name,
                actor=text_of(fields, "actor"),
                reason=text_of(fields, "reason"),
                since=number_of(fields, "since"),
                until=number_of(fields, "until"),
            )
