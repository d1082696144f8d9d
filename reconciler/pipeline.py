"""One pass, top to bottom: read this first.

load -> observe -> assign -> compile -> diff -> apply -> verify -> status. Each stage takes values and gives values; only `look` and
the appliers touch the world. Observing comes before assigning because addresses that the store forgot are adopted from the kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from reconciler.apply.executor import Handler, Progress, carry_out, failures
from reconciler.apply.files import apply_files
from reconciler.apply.firewall import apply_firewall
from reconciler.apply.flows import forget_stale_flows
from reconciler.apply.names import apply_names, serve_new_sandboxes
from reconciler.apply.namespaces import apply_namespaces
from reconciler.apply.neighbours import apply_neighbours
from reconciler.apply.records import apply_records
from reconciler.apply.rtnetlink import apply_rtnetlink
from reconciler.apply.sysctls import apply_sysctls
from reconciler.compile import Compiler, Found, remembered_settings
from reconciler.dns.launch import published_zones
from reconciler.dns.tables import kept_tables
from reconciler.errors import ReconcilerError
from reconciler.firewall.published import published_ports
from reconciler.flows import stale_flows
from reconciler.guard.guarded import guarded, refuse_when_suspended
from reconciler.guard.obey import obeyed
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.recovery import Run, forget, recovered_pass, take_back
from reconciler.guard.rehearsal import rehearsed
from reconciler.ipam.adopt import adopted_promises, is_adoptable
from reconciler.ipam.assign import assign
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.promises import Promises, decode_promises, merged
from reconciler.kernel.lock import HostLock
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kv.protocol import KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.last_answer import LastAnswer
from reconciler.model.desired import DesiredState, PortBinding
from reconciler.model.identifiers import HOST, NsRef, overlay_ns
from reconciler.model.objects import (
    HOST_UNIT,
    NAMES_UNIT,
    Address,
    Bridge,
    FdbEntry,
    FirewallElement,
    FirewallRules,
    Key,
    KvRecord,
    LinkUp,
    Namespace,
    NameTables,
    Neighbour,
    Object,
    Route,
    SandboxFile,
    Seen,
    Sysctl,
    Unit,
    VethPair,
    Vxlan,
)
from reconciler.model.observed import Observed
from reconciler.model.plan import Action, Operation, Outcome, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import NetworkMode, WantedState
from reconciler.observe.firewall import foreign_forward_drops, observe_firewall
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Keyed, Memory, keyed
from reconciler.observe.names import observe_names
from reconciler.observe.ports import host_ports
from reconciler.plan.make_plan import Blocked, Boundaries, make_plan
from reconciler.plan.ownership import Owners, declared_units, link_units, owners
from reconciler.ports.assign import assign_ports
from reconciler.ports.links import assign_links
from reconciler.ports.promises import decode_ports
from reconciler.ports.remarks import forwarding_remarks
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs, load_specs
from reconciler.status.write import write_status

log = logging.getLogger(__name__)

_ROUNDS = 3
"""How often a pass may look again and mend: once is the rule, more when the kernel moved something along with a change."""


class Answers:
    """The pure stages, each with its last answer: of two looks at an unchanged host the second costs little."""

    def __init__(self) -> None:
        self.decode_promises = LastAnswer(decode_promises)
        self.with_gateway_network = LastAnswer(with_gateway_network)
        self.assign = LastAnswer(assign)
        self.compile_objects = LastAnswer(Compiler().__call__)
        self.link_units = LastAnswer(_link_units)
        self.decode_ports = LastAnswer(decode_ports)
        self.published_ports = LastAnswer(_published_ports)
        self.assign_links = LastAnswer(assign_links)
        self.assign_ports = LastAnswer(assign_ports)
        self.seen_records = LastAnswer(_seen_records)
        self.kept_tables = LastAnswer(kept_tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The world, opened once per process, and what is remembered of it from look to look."""

    namespaces: Namespaces
    nft: Nft
    kv: KvStore
    memory: Memory = field(default_factory=Memory)
    answers: Answers = field(default_factory=Answers)

    def handlers(self, settings: Settings) -> Mapping[type[Object], Handler]:
        """Say who carries out operations on which kind of object."""
        rtnetlink = partial(apply_rtnetlink, namespaces=self.namespaces)
        neighbours = partial(apply_neighbours, namespaces=self.namespaces)
        firewall = partial(apply_firewall, nft=self.nft)
        return {
            KvRecord: partial(apply_records, kv=self.kv),
            FirewallRules: firewall,
            FirewallElement: firewall,
            Namespace: partial(apply_namespaces, namespaces=self.namespaces),
            Bridge: rtnetlink,
            VethPair: rtnetlink,
            Vxlan: rtnetlink,
            FdbEntry: neighbours,
            Neighbour: neighbours,
            LinkUp: rtnetlink,
            Address: rtnetlink,
            Route: rtnetlink,
            Sysctl: partial(apply_sysctls, namespaces=self.namespaces),
            SandboxFile: partial(apply_files, settings=settings),
            NameTables: partial(apply_names, settings=settings),
        }


@contextmanager
def open_backends(settings: Settings, *, read_only: bool = False) -> Iterator[Backends]:
    """Open what a pass needs. read_only: nothing is created anywhere, a store that is not there reads as empty."""
    namespaces = Namespaces(settings.netns_dir, settings.instance)
    try:
        kv = open_sqlite(settings.state_dir / "state.db", read_only=read_only)
        try:
            yield Backends(namespaces=namespaces, nft=Nft(), kv=kv)
        finally:
            kv.close()
    finally:
        namespaces.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at the host, and what it lacks."""

    observed: Observed
    desired: DesiredState
    owners: Owners
    plan: Plan


def plan_pass(settings: Settings, backends: Backends, against: str = "live", orders: Orders = NO_ORDERS) -> Report:
    """Say what a pass would do. Writes nothing anywhere. against: live, or what `rehearsed` knows."""
    loaded = load(settings)
    if against != "live":
        return rehearsed(loaded, settings, backends.kv, against, orders)
    loaded = guarded(loaded, settings, backends.kv, orders)
    view = look(loaded.wanted, settings, backends)
    return _report(view, loaded, (), view.plan)


def reconcile(
    settings: Settings, backends: Backends, progress: Progress | None = None, orders: Orders = NO_ORDERS
) -> Report:
    """Bring this host from what it is to what the specs declare. Safe to call again at any time.

    Raises LockHeld when another pass works on this host or specs are on trial, KvUnavailable without a store; all else is
    in the report.
    """
    report = run_pass(load(settings), settings, backends, progress=progress, orders=orders)
    write_status(settings, report)
    return report


def run_pass(
    loaded: LoadedSpecs,
    settings: Settings,
    backends: Backends,
    *,
    progress: Progress | None = None,
    blocked: Sequence[tuple[Unit, ReconcilerError]] = (),
    orders: Orders = NO_ORDERS,
) -> Report:
    """Do all of a pass but reading the specs before it and writing the status after it.

    blocked: units to be left alone from the start, with the reason.
    """
    with _at_work(backends):
        return recovered_pass(loaded, settings, orders, _runner(settings, backends, progress, blocked))


def revert(settings: Settings, backends: Backends, trial_id: str, reason: str) -> Report | None:
    """Take specs on trial back; None when that was done before or they were confirmed. Raises as `reconcile`."""
    with _at_work(backends):
        report = take_back(settings, trial_id, reason, _runner(settings, backends))
    if report is not None:
        write_status(settings, report)
    return report


def tear_down(
    settings: Settings, backends: Backends, progress: Progress | None = None, orders: Orders = NO_ORDERS
) -> Report:
    """Remove all that is ours and nothing else: reconcile with nothing wanted. Protected networks stay.

    Raises Refused while something is suspended.
    """
    nothing = LoadedSpecs(wanted=WantedState(networks=(), attachments=()), faults=(), digest="", files=())
    with _at_work(backends):
        refuse_when_suspended(settings.state_dir)
        report = _runner(settings, backends, progress)(nothing, replace(orders, is_prune_allowed=True))
        forget(settings, report)
    write_status(settings, report)
    return report


def _runner(
    settings: Settings,
    backends: Backends,
    progress: Progress | None = None,
    blocked: Sequence[tuple[Unit, ReconcilerError]] = (),
) -> Run:
    """Give how specs are brought about: within what the guards allow. For holders of the host's lock."""

    def run(loaded: LoadedSpecs, orders: Orders) -> Report:
        allowed = guarded(loaded, settings, backends.kv, orders)
        return _converge(allowed.wanted, allowed, settings, backends, progress, blocked)

    return run


@contextmanager
def _at_work(backends: Backends) -> Iterator[None]:
    """Hold the host's lock, and in the end no namespace open: one that others delete shall really go."""
    with HostLock():
        try:
            yield
        finally:
            backends.namespaces.release()


def look(
    wanted: WantedState, settings: Settings, backends: Backends, blocked: Sequence[tuple[Unit, ReconcilerError]] = ()
) -> View:
    """Observe, choose, compile and compare. blocked: units that failed before in this pass, to be left alone."""
    answers = backends.answers
    wanted = answers.with_gateway_network(wanted)
    records = {entry.key: entry.value.decode(errors="replace") for entry in backends.kv.list("")}
    kept, faults = answers.decode_promises(records)
    for fault in faults:
        log.warning("%s", fault)
    observed = _observe(wanted, settings, backends, records, kept)
    promises = kept
    if is_adoptable(wanted, observed.host, kept, observed.seen):
        promises = merged(kept, adopted_promises(wanted, observed.host, observed.seen))
    desired = _with_ports(answers.assign(wanted, observed.host, promises), observed, records, backends)
    objects = dict(answers.compile_objects(desired, observed.sandboxes))
    found = Found(sandboxes=observed.sandboxes, seen=observed.seen, promises=kept)
    objects.update((extra.key, extra) for extra in remembered_settings(objects, found))
    links = answers.link_units(wanted, observed.host.name, promises)
    sandboxes = {attachment.sandbox.ns: Unit(attachment=attachment.name) for attachment in wanted.attachments}
    sandboxes |= _overlay_units(desired, kept, settings.instance)
    whose = owners(links, sandboxes, observed.seen)
    boundaries = Boundaries(
        failures=(*observed.failures, *desired.failures, *blocked),
        is_pruning=not wanted.has_faults,
        declared=declared_units(wanted),
    )
    if boundaries.failures or not boundaries.is_pruning:
        _keep_names(objects, boundaries, settings, answers)
    plan = obeyed(make_plan(objects, observed.seen, whose, boundaries), wanted, whose, observed.sandboxes)
    remarks = (*desired.remarks, *forwarding_remarks(desired, observed.foreign_drops), *_unserved(observed))
    if len(remarks) > len(desired.remarks):
        desired = replace(desired, remarks=remarks)
    return View(observed=observed, desired=desired, owners=whose, plan=plan)


def _keep_names(objects: dict[Key, Object], boundaries: Boundaries, settings: Settings, answers: Answers) -> None:
    """Leave the names of units alone that are left alone."""
    wanted = next((each for each in objects.values() if isinstance(each, NameTables)), None)
    failed = frozenset(unit for unit, _ in boundaries.failures)
    declared = None if boundaries.is_pruning else boundaries.declared
    kept = answers.kept_tables(wanted, published_zones(settings.run_dir), failed, declared)
    if wanted is not None:
        del objects[wanted.key]
    if kept is not None:
        objects[kept.key] = kept


def _unserved(observed: Observed) -> Iterator[tuple[Unit, str]]:
    for attachment, reason in observed.unserved:
        yield Unit(attachment=attachment), f"it has no name service: {reason}"


def _with_ports(
    desired: DesiredState, observed: Observed, records: Mapping[str, str], backends: Backends
) -> DesiredState:
    """Choose links and host ports. What is published now stays, whether or not the store remembers it."""
    answers = backends.answers
    promised, faults = answers.decode_ports(records)
    for fault in faults:
        log.warning("%s", fault)
    published = answers.published_ports(backends.memory.firewall or ())
    return answers.assign_ports(answers.assign_links(desired), promised, published, observed.ports)


def load(settings: Settings, previous: LoadedSpecs | None = None) -> LoadedSpecs:
    """Read what the specs declare for this host. previous: an earlier load, to save work only."""
    return load_specs(
        settings.specs_dir, host=settings.host, is_bridge_enabled=settings.is_bridge_enabled, previous=previous
    )


def _observe(
    wanted: WantedState, settings: Settings, backends: Backends, records: Mapping[str, str], promises: Promises
) -> Observed:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    memory = backends.memory
    observed = observe_host(wanted, settings, backends.namespaces, now, memory, promises.sysctls)
    seen = dict(observed.seen)
    seen.update(backends.answers.seen_records(records))
    failed = [*observed.failures, *_unusable(wanted, observed)]
    try:
        units = [Unit(network=network, attachment=attachment) for network, attachment in promises.endpoints]
        if memory.firewall is None:
            memory.firewall = keyed(observe_firewall(backends.nft, units))
            memory.foreign_drops = tuple(foreign_forward_drops(backends.nft))
        seen.update(memory.firewall)
    except ReconcilerError as error:
        failed.append((HOST_UNIT, error))
    names = observe_names(settings.run_dir)
    seen.update(names.seen)
    return replace(
        observed,
        seen=seen,
        failures=tuple(failed),
        ports=host_ports(wanted),
        foreign_drops=memory.foreign_drops,
        unserved=names.unserved,
    )


def _published_ports(firewall: Keyed) -> Mapping[str, tuple[PortBinding, ...]]:
    return published_ports(seen for _, seen in firewall)


def _unusable(wanted: WantedState, observed: Observed) -> Iterator[tuple[Unit, ReconcilerError]]:
    """Give the attachments whose sandbox is gone, the host's own, or another attachment's too: nothing is done in there."""
    for attachment in wanted.attachments:
        fact = None if attachment.mode is NetworkMode.HOST else observed.sandboxes.get(attachment.sandbox.ns)
        if fact is not None and fact.error is not None:
            yield Unit(attachment=attachment.name), fact.error


def _seen_records(records: Mapping[str, str]) -> Keyed:
    return keyed(Seen(KvRecord(path=path, value=value), is_ours=True) for path, value in records.items())


def _overlay_units(desired: DesiredState, promises: Promises, instance: str) -> Mapping[NsRef, Unit]:
    """Give the network of each namespace that an overlay network has or would have on this host."""
    promised = {overlay_ns(network.id, instance): Unit(network=name) for name, network in promises.networks.items()}
    return promised | {network.ns: network.unit for network in desired.networks if network.ns != HOST}


def _link_units(wanted: WantedState, host: str, promises: Promises) -> Mapping[str, Unit]:
    promised = {network.link_name: Unit(network=name) for name, network in promises.networks.items()}
    promised |= {
        endpoint.link_name: Unit(network=network, attachment=attachment)
        for (network, attachment), endpoint in promises.endpoints.items()
    }
    return link_units(wanted, host, {name: unit for name, unit in promised.items() if name})


def _converge(
    wanted: WantedState,
    loaded: LoadedSpecs,
    settings: Settings,
    backends: Backends,
    progress: Progress | None,
    blocked: Sequence[tuple[Unit, ReconcilerError]],
) -> Report:
    """Apply, undo what failed half-way, look again until nothing is left to do.

    A unit that failed is left alone for the rest of the pass, unless its error says that trying again may help.
    """
    first = view = look(wanted, settings, backends, blocked)
    outcomes: list[Outcome] = []
    failed = list(blocked)
    for _ in range(_ROUNDS):
        if not view.plan.operations:
            break
        done = _apply(view.plan.operations, settings, backends, progress)
        outcomes += done
        new = failures(done)
        failed += [(unit, error) for unit, error in new if not error.is_retryable or unit == NAMES_UNIT]
        # What could not be removed is not built up again: the next pass removes the rest.
        half_made = failures(outcome for outcome in done if outcome.operation.action is not Action.DELETE)
        undone = [(unit, error) for unit, error in half_made if unit != NAMES_UNIT]
        if undone:
            _undo(view, undone, settings, backends, wanted)
        before, view = view, look(wanted, settings, backends, failed)
        forget_stale_flows(stale_flows(before.observed.seen, view.observed.seen), backends.namespaces)
    for unit, remark in view.desired.remarks if outcomes else ():
        log.warning("%s: %s", unit, remark)
    return _report(replace(view, plan=first.plan), loaded, tuple(outcomes), view.plan)


def _apply(
    operations: Sequence[Operation], settings: Settings, backends: Backends, progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Carry out operations, and forget what was seen where they took place."""
    done = carry_out(operations, backends.handlers(settings), progress)
    memory = backends.memory
    memory.forget(ns for operation in operations for ns in _places(operation))
    if any(isinstance(operation.object, SandboxFile) for operation in operations):
        memory.files = None
    if any(isinstance(operation.object, (FirewallRules, FirewallElement)) for operation in operations):
        memory.firewall = None
    serve_new_sandboxes(operations, settings)
    return done


def _places(operation: Operation) -> Iterator[NsRef]:
    """Give the namespaces that an operation changes something in."""
    for found in (operation.before, operation.after):
        match found:
            case VethPair():
                yield from (found.ns, found.peer_ns)
            case Namespace() | Bridge() | Vxlan() | FdbEntry() | Neighbour() | LinkUp() | Address() | Route() | Sysctl():
                yield found.ns


def _undo(
    before: View,
    failed: Sequence[tuple[Unit, ReconcilerError]],
    settings: Settings,
    backends: Backends,
    wanted: WantedState,
) -> None:
    """Bring the units that failed back to what they were: the same engine, towards what was seen before."""
    blocked = Blocked(unit for unit, _ in failed)
    now = look(wanted, settings, backends)
    target: dict[Key, Object] = {}
    for view, is_failed in ((now, False), (before, True)):
        for key, seen in view.observed.seen.items():
            unit = view.owners.unit_of(seen.object) or HOST_UNIT
            if seen.is_ours and blocked.covers(unit) == is_failed:
                target[key] = replace(seen.object, unit=unit)
    plan = make_plan(target, now.observed.seen, now.owners, Boundaries())
    for outcome in _apply(plan.operations, settings, backends):
        if outcome.error is not None:
            log.error("undo of %s failed: %s", outcome.operation.describe(), outcome.error)


def _report(view: View, loaded: LoadedSpecs, outcomes: tuple[Outcome, ...], drift: Plan) -> Report:
    return Report(
        desired=view.desired,
        plan=view.plan,
        outcomes=outcomes,
        drift=drift,
        spec_faults=loaded.faults,
        digest=loaded.digest,
        sandboxes={ns: fact.inode for ns, fact in view.observed.sandboxes.items() if fact.inode},
    )
