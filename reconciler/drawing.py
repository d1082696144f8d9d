"""What hosts are drawn from: their specs, what they promised, and for a change what they had before. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from reconciler import pipeline
from reconciler.backends import open_backends
from reconciler.comparison import load_hosts, plan_revision
from reconciler.errors import SpecError
from reconciler.graph.make_topology import Subject
from reconciler.guard.foresight import assigned, empty_host, on_any_host
from reconciler.guard.orders import NO_ORDERS
from reconciler.kinds.kv_record import decode_records
from reconciler.model.wanted import SpecWarning
from reconciler.reach.stand_ins import walk_of, with_addresses_apart
from reconciler.reach.walk import Walk
from reconciler.review.values import Planned
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs


class Drawable(Struct, frozen=True, kw_only=True):
    """subjects: one for each host. faults, warnings: of the specs; what has a fault is left out, or as it was."""

    subjects: tuple[Subject, ...]
    faults: tuple[SpecError, ...] = ()
    warnings: tuple[SpecWarning, ...] = ()

    def walk(self) -> Walk:
        """Return all hosts, ready to be asked who reaches whom."""
        return walk_of(with_addresses_apart([subject.after for subject in self.subjects]))


def draw_host(settings: Settings) -> Drawable:
    """Draw one host by its specs, with the addresses that it promised. Needs no rights but to read its state folder."""
    with open_backends(settings, read_only=True) as backends:
        loaded = pipeline.load(settings)
        records = decode_records({one.key: one.value.decode(errors="replace") for one in backends.kv.list("")})
    subject = Subject(after=assigned(loaded.wanted, empty_host(settings), records), sources=loaded.wanted.sources)
    return _drawable([subject], [loaded])


def draw_plan(settings: Settings, against: str) -> Drawable:
    """Draw what a pass on one host would change. against: live, status or empty."""
    with open_backends(settings, read_only=True) as backends:
        planned = pipeline.plan_pass(settings, backends, against=against, orders=NO_ORDERS)
    drifted = {one.unit for one in planned.report.plan.operations if one.key in planned.drift and not one.is_news}
    subject = replace(_changed(planned), drifted=frozenset(drifted))
    return _drawable([subject], [planned.after])


def draw_hosts(settings: Settings, hosts: str) -> Drawable:
    """Draw several hosts by their specs alone. hosts: as `compare_with_revision` takes them."""
    loads = load_hosts(settings, hosts)
    subjects = [
        Subject(
            after=on_any_host(loaded.wanted, replace(settings, host=host)),
            sources=loaded.wanted.sources,
            is_foreseen=True,
        )
        for host, loaded in loads.items()
    ]
    return _drawable(subjects, [*loads.values()])


def draw_revision(settings: Settings, target: str, hosts: str, hosts_file: Path | None = None) -> Drawable:
    """Draw what the specs change of what `REV[:PATH]` of their repository has, for several hosts."""
    plans = plan_revision(settings, target, hosts, hosts_file)
    return _drawable([replace(_changed(one), is_foreseen=True) for one in plans], [one.after for one in plans])


def _changed(planned: Planned) -> Subject:
    return Subject(after=planned.report.desired, before=planned.had, sources=planned.after.wanted.sources)


def _drawable(subjects: Sequence[Subject], loads: Sequence[LoadedSpecs]) -> Drawable:
    return Drawable(
        subjects=tuple(subjects),
        faults=tuple(dict.fromkeys(fault for loaded in loads for fault in loaded.faults)),
        warnings=tuple(dict.fromkeys(warning for loaded in loads for warning in loaded.warnings)),
    )
