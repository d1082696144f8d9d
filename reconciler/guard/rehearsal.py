"""A plan without a look at the kernel, for reviews: from what was applied last, or from nothing, to what the specs declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.compile import compile_objects
from reconciler.guard.foresight import any_host, assigned, empty_host
from reconciler.guard.guarded import applied, guarded
from reconciler.guard.last_good import LastGood, read_last_good
from reconciler.guard.obey import obeyed
from reconciler.guard.orders import Orders
from reconciler.ipam.promises import Promises
from reconciler.kv.protocol import KvStore
from reconciler.model.desired import DesiredState
from reconciler.model.objects import Key, KvRecord, Object, Seen, Unit
from reconciler.model.plan import Plan
from reconciler.model.report import Report
from reconciler.model.wanted import WantedState
from reconciler.observe.records import decode_records
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import declared_units, link_units, owners
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs

_NOTHING = WantedState(networks=(), attachments=())


def rehearsed(loaded: LoadedSpecs, settings: Settings, kv: KvStore, against: str, orders: Orders) -> Report:
    """Give the plan from the last good specs (against "status"), or from nothing at all ("empty"). Needs no rights.

    What only the host could tell is left out on both sides: the MTU of its way out and of parents, links for VLANs, routes that
    pools must not meet, sockets that hold a port, sandboxes that are missing.
    """
    host = empty_host(settings)
    if against == "empty":
        return _report(loaded, assigned(loaded.wanted, host), {}, Promises())
    records = decode_records({entry.key: entry.value.decode(errors="replace") for entry in kv.list("")})
    last = read_last_good(settings.state_dir) or LastGood(versions={}, current="")
    applied_last = applied(last, settings) if last.versions else _NOTHING
    before = compile_objects(assigned(applied_last, host, records), {})
    loaded = guarded(loaded, settings, kv, orders)
    return _report(loaded, assigned(loaded.wanted, host, records), before, records.promises)


def between(before: LoadedSpecs, after: LoadedSpecs, settings: Settings) -> tuple[DesiredState, Report]:
    """Give what a host has that applied `before` as its first specs, and the plan from there to `after`. Asks no host."""
    host = any_host(settings)
    if before.wanted == after.wanted:
        had = assigned(after.wanted, host)
        return had, Report(
            desired=had,
            plan=Plan(),
            spec_faults=after.faults,
            spec_warnings=after.warnings,
            spec_files=after.files,
            expectations=after.expectations,
            digest=after.digest,
            sources=after.wanted.sources,
        )
    had = assigned(before.wanted, host)
    objects = compile_objects(had, {})
    records = decode_records({found.path: found.value for found in objects.values() if isinstance(found, KvRecord)})
    return had, _report(after, assigned(after.wanted, host, records), objects, records.promises)


def _report(loaded: LoadedSpecs, desired: DesiredState, before: Mapping[Key, Object], promises: Promises) -> Report:
    seen = {key: Seen(found, is_ours=True) for key, found in before.items()}
    boundaries = Boundaries(
        failures=desired.failures, is_pruning=not loaded.wanted.has_faults, declared=declared_units(loaded.wanted)
    )
    links = link_units(loaded.wanted, desired.host.name, promises.link_units())
    sandboxes = {attachment.sandbox.ns: Unit(attachment=attachment.name) for attachment in loaded.wanted.attachments}
    objects = compile_objects(desired, {})
    whose = owners(links, sandboxes, seen, objects.values())
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
