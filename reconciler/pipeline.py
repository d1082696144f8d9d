"""One pass, top to bottom: read this first.

load -> gather -> decide -> compare -> apply -> verify -> status. Each stage takes values and gives values; only `gather` and the
appliers touch the world. Gathering comes before deciding because addresses that the store forgot are adopted from the kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from reconciler.announcements import announcements
from reconciler.apply.announce import announce_addresses
from reconciler.apply.executor import Progress, carry_out, failures
from reconciler.apply.flows import forget_stale_flows
from reconciler.backends import Backends
from reconciler.decide import Decider, Decision, compared
from reconciler.errors import PluginError, ReconcilerError
from reconciler.facts import Facts
from reconciler.flows import stale_flows
from reconciler.gather import gather, recorded
from reconciler.guard.expected import unmet_expectations
from reconciler.guard.guarded import anothers_host, applied_last, guarded, refuse_when_suspended
from reconciler.guard.last_good import read_last_good
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.recovery import Run, forget, instead, recovered_pass, take_back
from reconciler.guard.rehearsal import rehearsed
from reconciler.guard.whose import anothers_state
from reconciler.incremental import changed_keys, indexed, only
from reconciler.kernel.lock import HostLock
from reconciler.kinds.name_tables import serve_new_sandboxes
from reconciler.kv.protocol import KvStore
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import HOST_UNIT, NAMES_UNIT, Key, KvRecord, Object, Seen, Unit, seen_differ
from reconciler.model.plan import Operation, Outcome, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import WantedState
from reconciler.observe.marks import HostMarks, host_marks
from reconciler.observe.occupants import observe_occupants
from reconciler.plan.differing import Differing
from reconciler.plan.make_plan import Blocked, Boundaries, make_plan
from reconciler.plan.vacated import vacated, vacated_remarks
from reconciler.review.values import Planned
from reconciler.settings import Settings
from reconciler.spec.load import NOTHING, LoadedSpecs, load_specs
from reconciler.status.tell import Status

log = logging.getLogger(__name__)

_ROUNDS = 6
"""How often a pass may look again and mend: once is the rule, more when the kernel moved something along with a change, or
when what a plugin answered says what is to be done next."""


def plan_pass(settings: Settings, backends: Backends, against: str = "live", orders: Orders = NO_ORDERS) -> Planned:
    """Return what a pass would do. Writes nothing anywhere. against: live, or what `rehearsed` knows."""
    loaded = load(settings)
    if against == "live":
        planned = plan_at(_live(backends), loaded, settings, orders)
    else:
        planned = rehearsed(loaded, settings, backends.kv, against, orders)
    return replace(planned, unmet=unmet_expectations(loaded, settings))


class Standpoint(Struct, frozen=True, kw_only=True):
    """What a plan is made from: a host as it is, or as it was.

    kv: its own store. marks: of its bridges. facts: what specs make matter. decide: see `Decider`. occupants: a process in each of
    these sandboxes that has one.
    """

    kv: KvStore
    marks: HostMarks
    facts: Callable[[WantedState, Settings], Facts]
    decide: Decider
    occupants: Callable[[Iterable[NsRef]], Mapping[NsRef, str]]


def _live(backends: Backends) -> Standpoint:
    return Standpoint(
        kv=backends.kv,
        marks=host_marks(backends.namespaces, backends.memory),
        facts=lambda wanted, settings: gather(wanted, settings, backends),
        decide=backends.decide,
        occupants=partial(observe_occupants, namespaces=backends.namespaces),
    )


def plan_at(host: Standpoint, loaded: LoadedSpecs, settings: Settings, orders: Orders) -> Planned:
    """Return what a pass with these specs would do there."""
    declared, (loaded, orders, is_other) = loaded, instead(loaded, settings, orders)
    there = _there(loaded, settings)
    error = is_other or anothers_host(host.marks, loaded.wanted, there, host.kv, orders)
    loaded = guarded(loaded, there, host.kv, orders, host.marks)
    view = _view(loaded.wanted, host.facts(loaded.wanted, there), host.decide)
    if error is not None:
        view = replace(view, plan=replace(view.plan, problems=((HOST_UNIT, error), *view.plan.problems)))
    told = replace(loaded, faults=declared.faults, warnings=declared.warnings, digest=declared.digest)
    report = _report(view, told, (), view.plan)
    # Who is in the sandboxes in which something ends matters to those who read the plan before it is carried out.
    occupied = vacated_remarks(view.plan, host.occupants(vacated(view.plan)))
    report = replace(report, desired=replace(report.desired, remarks=(*report.desired.remarks, *occupied)))
    return _beside_last(loaded, report, view, there, host.decide)


def _beside_last(loaded: LoadedSpecs, report: Report, view: Look, settings: Settings, decide: Decider) -> Planned:
    """Hold a plan against what the host lacks of the specs that were applied last: that is drift, and the rest is their change."""
    last = read_last_good(settings.state_dir)
    if last is not None and last.current == loaded.digest and not last.kept:
        lacking = frozenset(operation.key for operation in view.plan.operations)
        return Planned(before=loaded, after=loaded, had=report.desired, report=report, drift=lacking)
    before = applied_last(settings)
    wanted = replace(before.wanted, holds=loaded.wanted.holds)
    decision = decide(wanted, view.facts)
    had, now = decision.objects, view.decision.objects
    lacking = frozenset(one.key for one in compared(decision, wanted, view.facts).operations)
    drift = frozenset(key for key in lacking if had.get(key) == now.get(key))
    return Planned(before=before, after=loaded, had=decision.desired, report=report, drift=drift)


class Look(Struct, frozen=True, kw_only=True):
    """One look: what was read, what was decided from it, and what the host lacks of that."""

    facts: Facts
    decision: Decision
    plan: Plan


def look(
    wanted: WantedState, settings: Settings, backends: Backends, blocked: Sequence[tuple[Unit, ReconcilerError]] = ()
) -> Look:
    """Gather, decide and compare. Reads only. blocked: units that failed before in this pass, to be left alone."""
    return _view(wanted, gather(wanted, settings, backends), backends.decide, blocked)


def _view(
    wanted: WantedState, facts: Facts, decide: Decider, blocked: Sequence[tuple[Unit, ReconcilerError]] = ()
) -> Look:
    decision = decide(wanted, facts, blocked)
    for bug in decision.bugs:
        log.error("bug: %s", bug)
    return Look(facts=facts, decision=decision, plan=compared(decision, wanted, facts))


Approve = Callable[[LoadedSpecs, Plan], None]
"""Raises what keeps a plan from being carried out."""


def reconcile(
    settings: Settings,
    backends: Backends,
    progress: Progress | None = None,
    orders: Orders = NO_ORDERS,
    approve: Approve | None = None,
) -> Report:
    """Bring this host from what it is to what the specs declare. Safe to call again at any time.

    approve: is asked before anything is changed, while no other pass can.

    Raises LockHeld when another pass works on this host or specs are on trial, KvUnavailable without a store, AnothersHost when
    the host is run from other folders; all else is in the report.
    """
    tell = Status(settings).told
    loaded = load(settings)
    return run_pass(loaded, settings, backends, progress=progress, orders=orders, tell=tell, approve=approve)


def run_pass(
    loaded: LoadedSpecs,
    settings: Settings,
    backends: Backends,
    *,
    progress: Progress | None = None,
    blocked: Sequence[tuple[Unit, ReconcilerError]] = (),
    orders: Orders = NO_ORDERS,
    tell: Callable[[Report], Report],
    approve: Approve | None = None,
) -> Report:
    """Do all of a pass but reading the specs before it.

    blocked: units to be left alone from the start, with the reason. tell: writes the status, before another pass can, whose would
    be overwritten else; gives the report, with what could not be written as a problem.
    """
    with _at_work(settings, backends, orders):
        run = _runner(settings, backends, progress, blocked, approve)
        return tell(recovered_pass(loaded, settings, orders, run))


def revert(settings: Settings, backends: Backends, trial_id: str, reason: str) -> Report | None:
    """Take specs on trial back; None when that was done before or they were confirmed. Raises as `reconcile`."""
    with _at_work(settings, backends, NO_ORDERS):
        report = take_back(settings, trial_id, reason, _runner(settings, backends))
        return None if report is None else Status(settings).told(report)


def tear_down(
    settings: Settings, backends: Backends, progress: Progress | None = None, orders: Orders = NO_ORDERS
) -> Report:
    """Remove all that is ours and nothing else: reconcile with nothing wanted. Protected networks stay.

    Raises Refused while something is suspended.
    """
    with _at_work(settings, backends, orders):
        refuse_when_suspended(settings.state_dir)
        report = _runner(settings, backends, progress)(NOTHING, replace(orders, is_prune_allowed=True))
        return Status(settings).told(forget(settings, report))


def _runner(
    settings: Settings,
    backends: Backends,
    progress: Progress | None = None,
    blocked: Sequence[tuple[Unit, ReconcilerError]] = (),
    approve: Approve | None = None,
) -> Run:
    """Return how specs are brought about: within what the guards allow. For holders of the host's lock.

    It raises AnothersHost for specs that would remove what those in another folder made.
    """

    def run(loaded: LoadedSpecs, orders: Orders) -> Report:
        host, there = host_marks(backends.namespaces, backends.memory), _there(loaded, settings)
        error = anothers_host(host, loaded.wanted, there, backends.kv, orders) if loaded.folder else None
        if error is not None:
            raise error
        allowed = guarded(loaded, there, backends.kv, orders, host, lambda: recorded(backends).promises)
        return _converge(allowed.wanted, allowed, there, backends, progress, blocked, approve)

    return run


def _there(loaded: LoadedSpecs, settings: Settings) -> Settings:
    """Return the settings with the folder that the specs are of: the host is run from there, whoever brings them about."""
    return replace(settings, specs_dir=Path(loaded.folder)) if loaded.folder else settings


@contextmanager
def _at_work(settings: Settings, backends: Backends, orders: Orders) -> Iterator[None]:
    """Hold the host's lock, and in the end no namespace open: one that others delete shall really go.

    Raises AnothersHost when the host is run from another state folder.
    """
    with HostLock():
        try:
            found = host_marks(backends.namespaces, backends.memory)
            error = anothers_state(found.marks, settings, orders)
            if error is not None:
                raise error
            yield
        finally:
            backends.namespaces.release()


def load(settings: Settings, previous: LoadedSpecs | None = None) -> LoadedSpecs:
    """Read what the specs declare for this host. previous: an earlier load, to save work.

    A folder that cannot be looked through declares nothing, not even the built-in networks: what was loaded before stays in
    force with its fault; raises SpecError when there is no such load.
    """
    loaded = load_specs(
        settings.specs_dir,
        host=settings.host,
        is_bridge_enabled=settings.is_bridge_enabled,
        is_in_cluster=bool(settings.cluster_store),
        previous=previous,
    )
    if loaded.is_listed:
        return loaded
    if previous is None:
        raise loaded.faults[0]
    return replace(previous, faults=loaded.faults, wanted=replace(previous.wanted, has_faults=True))


def _converge(
    wanted: WantedState,
    loaded: LoadedSpecs,
    settings: Settings,
    backends: Backends,
    progress: Progress | None,
    blocked: Sequence[tuple[Unit, ReconcilerError]],
    approve: Approve | None,
) -> Report:
    """Apply, undo what failed half-way, look again until nothing is left to do.

    A unit that failed is left alone for the rest of the pass, unless its error says that trying again may help. One that missed
    something is looked at once more before that counts: it may have gone between two dumps of one look, so that the plan lacked it.
    """
    first = announced = view = look(wanted, settings, backends, blocked)
    if approve is not None:
        approve(loaded, first.plan)
    outcomes: list[Outcome] = []
    failed = list(blocked)
    missed: dict[Unit, Look] = {}
    for _ in range(_ROUNDS):
        if not view.plan.operations:
            break
        done = _apply(view.plan.operations, settings, backends, progress)
        new = failures(done)
        again = {unit: error for unit, error in new if error.is_gone and unit not in missed}
        if again:
            missed.update(dict.fromkeys(again, view))
            backends.memory.forget_all()
            done = _without(done, again)
        outcomes += done
        failed += [(unit, error) for unit, error in new if unit not in again and _is_final(unit, error)]
        _undo_half_made(done, view, missed, settings, backends, wanted)
        before, view = view, look(wanted, settings, backends, failed)
        forget_stale_flows(stale_flows(before.decision.seen, view.decision.seen), backends.namespaces)
        if not again:  # else what is there by now may be half of it, such as an address on a link that is down
            announce_addresses(announcements(announced.decision.seen, view.decision.seen), backends.namespaces)
            announced = view
    for unit, remark in view.decision.desired.remarks if outcomes else ():
        log.warning("%s: %s", unit, remark)
    return _report(replace(view, plan=first.plan), loaded, tuple(outcomes), view.plan)


def _is_final(unit: Unit, error: ReconcilerError) -> bool:
    """Return whether a unit that failed is left alone for the rest of the pass. A plugin that is down is none to wait for."""
    return not error.is_retryable or unit == NAMES_UNIT or isinstance(error, PluginError)


def _apply(
    operations: Sequence[Operation], settings: Settings, backends: Backends, progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Carry out operations, and forget what was seen where they took place."""
    done = carry_out(operations, backends.handlers(settings, operations), progress)
    backends.memory.forget_touched(operations)
    serve_new_sandboxes(operations, settings)
    return done


def _without(done: Sequence[Outcome], again: Mapping[Unit, ReconcilerError]) -> tuple[Outcome, ...]:
    """Leave out what failed of units that are looked at again, and what was skipped for that: the next round tells of it."""
    causes = {id(error) for error in again.values()}
    return tuple(o for o in done if o.error is None or (o.operation.unit not in again and id(o.error) not in causes))


def _undo_half_made(
    done: Sequence[Outcome],
    view: Look,
    missed: Mapping[Unit, Look],
    settings: Settings,
    backends: Backends,
    wanted: WantedState,
) -> None:
    """Bring units that failed back to what they were before they were first tried."""
    # What could not be removed is not built up again: the next pass removes the rest.
    half_made = failures(outcome for outcome in done if not outcome.operation.action.is_removal)
    undone = [unit for unit, error in half_made if unit != NAMES_UNIT and not isinstance(error, PluginError)]
    for before in {id(found): found for found in (missed.get(unit, view) for unit in undone)}.values():
        units = [unit for unit in undone if missed.get(unit, view) is before]
        _undo(before, units, settings, backends, wanted)


def _undo(
    before: Look,
    failed: Sequence[Unit],
    settings: Settings,
    backends: Backends,
    wanted: WantedState,
) -> None:
    """Bring the units that failed back to what they were: the same engine, towards what was seen before.

    What a setting was before us stays written down: settings of others' namespaces are not put back here, nor is it known which of
    them were set before something failed. Whoever finds that nobody needs one any more puts it back.
    """
    blocked = Blocked(failed)
    now = look(wanted, settings, backends)
    there = now.decision.seen
    changed = changed_keys(before.decision.seen, there, seen_differ)
    target: dict[Key, Object] = {key: seen.object for key, seen in there.items() if seen.is_ours and key not in changed}
    for view, is_failed in ((now, False), (before, True)):
        for key in changed:
            seen = view.decision.seen.get(key)
            if seen is None or not seen.is_ours:
                continue
            if blocked.covers(_whose(view, seen)) == is_failed or (not is_failed and _is_of_setting(seen)):
                target[key] = replace(seen.object, unit=_whose(view, seen))
    differences = Differing()(only(target, changed), only(there, changed))
    plan = make_plan(target, there, now.decision.owners, Boundaries(), differences)
    operations = [o if o.key in changed else replace(o, unit=_whose(now, there[o.key])) for o in plan.operations]
    for outcome in _apply(operations, settings, backends):
        if outcome.error is not None:
            log.error("undo failed: %s", outcome.failure())


def _is_of_setting(seen: Seen) -> bool:
    return isinstance(seen.object, KvRecord) and seen.object.is_of_setting


def _whose(view: Look, seen: Seen) -> Unit:
    return view.decision.owners.unit_of(seen.object) or HOST_UNIT


def _report(view: Look, loaded: LoadedSpecs, outcomes: tuple[Outcome, ...], drift: Plan) -> Report:
    return Report(
        desired=view.decision.desired,
        plan=view.plan,
        outcomes=outcomes,
        drift=drift,
        spec_faults=loaded.faults,
        spec_warnings=loaded.warnings,
        spec_files=loaded.files,
        expectations=loaded.expectations,
        digest=loaded.digest,
        sources=loaded.wanted.sources,
        sandboxes={ns: fact.inode for ns, fact in view.facts.sandboxes.items() if fact.inode},
        running=frozenset(_running(view))
        if view.plan.problems or drift.problems or view.decision.desired.held
        else frozenset(),
    )


def _running(view: Look) -> Iterator[Unit]:
    for key in indexed(view.decision.seen, _endpoint_links).get(True, ()):
        unit = view.decision.owners.unit_of(view.decision.seen[key].object)
        if unit is not None:
            yield unit


def _endpoint_links(key: Key, seen: Seen) -> Iterator[bool]:
    if seen.is_ours and seen.object.is_endpoint():
        yield True
