"""One look: observe the host, choose what is not chosen yet, compile, and compare. Reads only."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reconciler.backends import Answers, Backends
from reconciler.compile import Found, remembered_settings
from reconciler.dns.launch import published_zones
from reconciler.errors import ReconcilerError
from reconciler.guard.obey import obeyed
from reconciler.ipam.adopt import adopted_promises, is_adoptable
from reconciler.ipam.leases import as_declared, ipam_plugins
from reconciler.ipam.promises import Promises, merged
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST, NsRef, overlay_ns
from reconciler.model.objects import (
    HOST_UNIT,
    Key,
    NameTables,
    Object,
    Unit,
)
from reconciler.model.observed import Observed
from reconciler.model.plan import Plan
from reconciler.model.wanted import NetworkMode, WantedState
from reconciler.observe.firewall import foreign_forward_drops, observe_firewall
from reconciler.observe.host import observe_host
from reconciler.observe.memory import keyed
from reconciler.observe.names import observe_names
from reconciler.observe.plugins import borne_out, seen_at_plugins
from reconciler.observe.ports import host_ports
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import Owners, declared_units, owners
from reconciler.ports.remarks import forwarding_remarks
from reconciler.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at the host, and what it lacks."""

    observed: Observed
    desired: DesiredState
    owners: Owners
    plan: Plan


def look(
    wanted: WantedState, settings: Settings, backends: Backends, blocked: Sequence[tuple[Unit, ReconcilerError]] = ()
) -> View:
    """Observe, choose, compile and compare. blocked: units that failed before in this pass, to be left alone."""
    answers = backends.answers
    records = {entry.key: entry.value.decode(errors="replace") for entry in backends.kv.list("")}
    kept, faults = answers.decode_promises(records)
    plugins, more_faults = answers.decode_plugin_records(records)
    for fault in (*faults, *more_faults):
        log.warning("%s", fault)
    if plugins.answers:
        kept = replace(kept, answers=plugins.answers)
    wanted = answers.with_gateway_network(wanted, plugins.answers)
    observed = _observe(wanted, settings, backends, records, kept)
    plugins = borne_out(plugins, observed.seen)
    incarnations = {name: backends.plugins.incarnation(name) for name in ipam_plugins(wanted)}
    leased = answers.with_leases(wanted, plugins, incarnations, observed.host.name)
    if plugins.told:
        observed = replace(observed, seen={**observed.seen, **dict(keyed(seen_at_plugins(plugins)))})
    promises = kept
    if is_adoptable(wanted, observed.host, kept, observed.seen):
        promises = merged(kept, adopted_promises(wanted, observed.host, observed.seen))
    desired = as_declared(answers.assign(leased.wanted, observed.host, promises), wanted)
    desired = _with_ports(desired, observed, records, backends)
    desired = answers.with_plugins(desired, plugins, {ns: fact.inode for ns, fact in observed.sandboxes.items()})
    objects = dict(answers.compile_objects(desired, observed.sandboxes))
    objects.update((asked.key, asked) for asked in leased.asked)
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


def _unusable(wanted: WantedState, observed: Observed) -> Iterator[tuple[Unit, ReconcilerError]]:
    """Give the attachments whose sandbox is gone, the host's own, or another attachment's too: nothing is done in there."""
    for attachment in wanted.attachments:
        fact = None if attachment.mode is NetworkMode.HOST else observed.sandboxes.get(attachment.sandbox.ns)
        if fact is not None and fact.error is not None:
            yield Unit(attachment=attachment.name), fact.error


def _overlay_units(desired: DesiredState, promises: Promises, instance: str) -> Mapping[NsRef, Unit]:
    """Give the network of each namespace that an overlay network has or would have on this host."""
    promised = {overlay_ns(network.id, instance): Unit(network=name) for name, network in promises.networks.items()}
    return promised | {network.ns: network.unit for network in desired.networks if network.ns != HOST}
