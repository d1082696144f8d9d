"""A plan without a look at the kernel, for reviews: from what was applied last, or from nothing, to what the specs declare."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from reconciler.compile import Compiler
from reconciler.guard.foresight import any_host, assigned, empty_host
from reconciler.guard.guarded import applied_last, guarded
from reconciler.guard.obey import obeyed
from reconciler.guard.orders import Orders
from reconciler.ipam.promises import Promises
from reconciler.kinds.kv_record import decode_records
from reconciler.kv.protocol import KvStore
from reconciler.model.desired import DesiredState
from reconciler.model.objects import Key, KvRecord, Object, Seen, Unit
from reconciler.model.plan import Plan
from reconciler.model.report import Report
from reconciler.model.wanted import WantedState
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import declared_units, link_units, owners
from reconciler.review.values import Planned
from reconciler.settings import Settings
from reconciler.spec.load import NOTHING, LoadedSpecs


def rehearsed(loaded: LoadedSpecs, settings: Settings, kv: KvStore, against: str, orders: Orders) -> Planned:
    """Return the plan from the last good specs (against "status"), or from nothing at all ("empty"). Needs no rights.

    What only the host could tell is left out on both sides: the MTU of its way out and of parents, links for VLANs, routes that
    pools must not meet, sockets that hold a port, sandboxes that are missing.
    """
    host = empty_host(settings)
    if against == "empty":
        had = assigned(NOTHING.wanted, host)
        report = _report(loaded, assigned(loaded.wanted, host), {}, Promises(), Compiler())
        return Planned(before=NOTHING, after=loaded, had=had, report=report)
    records = decode_records({entry.key: entry.value.decode(errors="replace") for entry in kv.list("")})
    before = applied_last(settings)
    had = assigned(before.wanted, host, records)
    allowed = guarded(loaded, settings, kv, orders)
    desired = had if allowed.wanted == before.wanted else assigned(allowed.wanted, host, records)
    compile_ = Compiler()
    report = _report(allowed, desired, compile_(had, {}).objects(), records.promises, compile_)
    return Planned(before=before, after=loaded, had=had, report=report)


def between(before: LoadedSpecs, after: LoadedSpecs, settings: Settings) -> Planned:
    """Return the plan to `after` for a host that applied `before` as its first specs. Asks no host."""
    host = any_host(settings)
    if before.wanted == after.wanted:
        had = assigned(after.wanted, host)
        report = Report(
            desired=had,
            plan=Plan(),
            spec_faults=after.faults,
            spec_warnings=after.warnings,
            spec_files=after.files,
            expectations=after.expectations,
            digest=after.digest,
            sources=after.wanted.sources,
        )
        return Planned(before=before, after=after, had=had, report=report)
    had = assigned(before.wanted, host)
    compile_ = Compiler()
    objects = compile_(had, {}).objects()
    records = decode_records({found.path: found.value for found in objects.values() if isinstance(found, KvRecord)})
    report = _report(after, assigned(after.wanted, host, records), objects, records.promises, compile_)
    return Planned(before=before, after=after, had=had, report=report)


def _report(
    loaded: LoadedSpecs,
    desired: DesiredState,
    before: Mapping[Key, Object],
    promises: Promises,
    compile_: Compiler,
) -> Report:
    """Plan from what there is. compile_: the one that gave that, which knows what stays."""
    seen = {key: Seen(found, is_ours=True) for key, found in before.items()}
    boundaries = Boundaries(
        failures=desired.failures, is_pruning=not loaded.wanted.has_faults, declared=declared_units(loaded.wanted)
    )
    links = link_units(loaded.wanted, desired.host.name, promises.link_units())
    sandboxes = {attachment.sandbox.ns: Unit(attachment=attachment.name) for attachment in loaded.wanted.attachments}
    objects = compile_(desired, {}).objects()
    whose = owners(links, sandboxes, seen, objects)
    plan = obeyed(make_plan(objects, seen, whose, boundaries), _without_drift(loaded.wanted), whose, {})
    return Report(
        desired=desired,
        plan=plan,
        drift=plan,
        spec_faults=loaded.faults,
        spec_warnings=loaded.warnings,
        spec_files=loaded.files,
        expectations=loaded.expectations,
        digest=loaded.digest,
        sources=loaded.wanted.sources,
    )


def _without_drift(wanted: WantedState) -> WantedState:
    """Two sets of specs are compared: nothing that differs is drift."""
    return replace(wanted, holds=replace(wanted.holds, on_drift={}))
