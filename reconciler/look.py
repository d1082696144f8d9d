"""One look: observe the host, choose what is not chosen yet, compile, and compare. Reads only."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reconciler.backends import Answers, Backends
from reconciler.cluster.global_networks import ended_endpoints, followed_networks, is_name_taken
from reconciler.cluster.objects import Place, standpoints
from reconciler.cluster.outage import Shared
from reconciler.compile import Found, remembered_settings
from reconciler.dns.launch import published_zones
from reconciler.drivers.remote_told import connecting_plugins, plugin_nodes, plugin_scopes
from reconciler.errors import ReconcilerError
from reconciler.guard.obey import obeyed
from reconciler.ipam.adopt import adopted_promises, is_adoptable
from reconciler.ipam.leases import as_declared, ipam_plugins
from reconciler.ipam.promises import Promises, merged
from reconciler.model.cluster import ALONE, ClusterState
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    HOST_UNIT,
    ClusterRecord,
    Key,
    KvRecord,
    NameTables,
    Object,
    Unit,
)
from reconciler.model.observed import HostPorts, Observed
from reconciler.model.plan import Plan
from reconciler.model.plugins import PluginFacts
from reconciler.model.wanted import NetworkMode, WantedState
from reconciler.observe.containers import container_files, observe_containers, with_containers
from reconciler.observe.firewall import foreign_forward_drops, observe_firewalls
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Memory, keyed
from reconciler.observe.names import observe_names
from reconciler.observe.occupants import observe_occupants
from reconciler.observe.plugins import borne_out, seen_at_plugins
from reconciler.observe.ports import absent_addresses, host_ports
from reconciler.observe.sandboxes import Promised
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import Owners, declared_units, overlay_units, owners
from reconciler.plan.vacated import vacated, vacated_remarks
from reconciler.ports.remarks import address_remarks, bound_addresses, forwarding_remarks, ipv6_remarks
from reconciler.sandbox.readings import kept_readings, seen_as_typed
from reconciler.settings import Settings
from reconciler.status.revision import specs_revision

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
    own = _own_records(backends)
    observed = _observe(wanted, settings, backends, own)
    plugins = borne_out(own.plugins, observed.seen)
    wanted, cluster = _in_cluster(wanted, own, observed, backends)
    wanted = answers.with_gateway_network(wanted, own.plugins.answers)
    connecting = connecting_plugins(wanted, plugins)
    incarnations = {name: backends.plugins.incarnation(name) for name in ipam_plugins(wanted) | connecting}
    leased = answers.with_leases(wanted, plugins, incarnations, observed.host.name)
    promises = _promises(wanted, own, observed, cluster, answers)
    desired = as_declared(answers.assign(leased.wanted, observed.host, promises, cluster), wanted)
    desired = _with_ports(desired, wanted, promises, own.texts, observed.ports, backends)
    desired = answers.with_plugins(desired, plugins, {ns: fact.inode for ns, fact in observed.sandboxes.items()})
    shared = Shared(cluster=cluster, wanted=_cluster_objects(wanted, desired, cluster, settings, backends))
    elsewhere = {**dict(keyed(seen_at_plugins(plugins))), **shared.seen()}
    if elsewhere:
        observed = replace(observed, seen={**observed.seen, **elsewhere})
    objects: dict[Key, Object] = {record.key: record for record in _still_to_be_told(cluster, own, observed)}
    objects.update(answers.compile_objects(desired, observed.sandboxes))
    nodes = plugin_nodes(connecting, desired.nodes, plugins, incarnations)
    objects.update((asked.key, asked) for asked in (*plugin_scopes(wanted), *nodes, *leased.asked))
    objects.update(shared.wanted)
    found = Found(
        sandboxes=observed.sandboxes,
        seen=observed.seen,
        promises=own.promises,
        desired=desired,
        uplinks=observed.host.uplinks,
    )
    objects.update((extra.key, extra) for extra in remembered_settings(objects, found))
    objects.update((kept.key, kept) for kept in kept_readings(objects, answers.decode_readings(own.texts)))
    units = _sandbox_units(wanted, desired, own.promises, settings)
    links = answers.link_units(wanted, observed.host.name, promises)
    whose = owners(links, units, observed.seen, objects.values())
    boundaries = Boundaries(
        failures=(*observed.failures, *desired.failures, *shared.waiting(), *blocked),
        is_pruning=not wanted.has_faults,
        declared=declared_units(wanted),
        told=(*desired.withdrawn, *shared.told(desired)),
        ended=frozenset(ended_endpoints(wanted, cluster, own.promises.endpoints)),
    )
    if boundaries.failures or not boundaries.is_pruning:
        _keep_names(objects, boundaries, settings, answers)
    plan = obeyed(make_plan(objects, observed.seen, whose, boundaries), wanted, whose, observed.sandboxes)
    remarks = (*desired.remarks, *_remarks(desired, observed, backends))
    if len(remarks) > len(desired.remarks):
        desired = replace(desired, remarks=remarks)
    return View(observed=observed, desired=desired, owners=whose, plan=plan)


def with_occupants(view: View, backends: Backends) -> View:
    """Add who is in the sandboxes in which the plan ends something: for those who read the plan before it is carried out."""
    found = observe_occupants(vacated(view.plan), backends.namespaces)
    remarks = tuple(vacated_remarks(view.plan, found))
    return replace(view, desired=replace(view.desired, remarks=(*view.desired.remarks, *remarks))) if remarks else view


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnRecords:
    """What this host's own store says. texts: all records by path."""

    texts: Mapping[str, str]
    promises: Promises
    plugins: PluginFacts


def _own_records(backends: Backends) -> _OwnRecords:
    """Read the host's own store. What is no good is told, and harms nothing else."""
    texts = {entry.key: entry.value.decode(errors="replace") for entry in backends.kv.list("")}
    promises, faults = backends.answers.decode_promises(texts)
    plugins, more_faults = backends.answers.decode_plugin_records(texts)
    for fault in (*faults, *more_faults):
        log.warning("%s", fault)
    if plugins.answers:
        promises = replace(promises, answers=plugins.answers)
    return _OwnRecords(texts=texts, promises=promises, plugins=plugins)


def _in_cluster(
    wanted: WantedState, own: _OwnRecords, observed: Observed, backends: Backends
) -> tuple[WantedState, ClusterState]:
    """Hold what is wanted against what the cluster has."""
    return backends.answers.with_global_networks(
        wanted,
        _cluster(wanted, own, observed.host.now, backends),
        own.plugins.scopes,
        instance=backends.cluster.instance if backends.cluster is not None else "",
        is_advertised=observed.host.vtep is not None,
    )


def _promises(
    wanted: WantedState, own: _OwnRecords, observed: Observed, cluster: ClusterState, answers: Answers
) -> Promises:
    """Give what our own store promised, else what we published in the cluster's, else what the kernel still knows."""
    promises = answers.with_published(own.promises, cluster)
    if is_adoptable(wanted, observed.host, promises, observed.seen):
        return merged(promises, adopted_promises(wanted, observed.host, observed.seen))
    return promises


def _sandbox_units(
    wanted: WantedState, desired: DesiredState, promises: Promises, settings: Settings
) -> Mapping[NsRef, Unit]:
    """Give whose each namespace is: the attachment's that has or had links of ours in it, or an overlay network's."""
    had = {ns: Unit(attachment=name) for ns, name in promises.sandboxes.items()}
    have = {attachment.sandbox.ns: Unit(attachment=attachment.name) for attachment in wanted.attachments}
    ids = {name: network.id for name, network in promises.networks.items()}
    overlays = overlay_units(wanted, ids, settings.instance)
    return had | have | overlays | {each.ns: each.unit for each in desired.networks if each.ns != HOST}


def _cluster(wanted: WantedState, own: _OwnRecords, now: str, backends: Backends) -> ClusterState:
    """Look at what this host has to do with of the cluster. What could not be read is told, and harms nothing else."""
    if backends.cluster is None:
        return ALONE
    followed = followed_networks(wanted, own.plugins.scopes, _shared_networks(own.promises))
    state = backends.cluster.look(followed, now)
    for fault in state.faults:
        log.warning("%s", fault)
    return state


def _shared_networks(promises: Promises) -> Iterator[str]:
    """Name the networks of the cluster that this host had to do with."""
    return (name for name, promise in promises.networks.items() if promise.is_shared)


def _still_to_be_told(cluster: ClusterState, own: _OwnRecords, observed: Observed) -> Iterator[KvRecord]:
    """In an outage, keep our own records of shared networks: they tell later what is to be taken back in the cluster's store."""
    if cluster.outage is not None:
        for name in _shared_networks(own.promises):
            seen = observed.seen.get((KvRecord.kind, f"network/{name}"))
            if seen is not None and isinstance(seen.object, KvRecord):
                yield seen.object


def _cluster_objects(
    wanted: WantedState, desired: DesiredState, cluster: ClusterState, settings: Settings, backends: Backends
) -> Mapping[Key, ClusterRecord]:
    """Give the records that this host shall have there; none when it is to be taken out of the cluster, or is not the one meant."""
    me = cluster.nodes.get(cluster.host)
    is_leaving = all(network.wanted.is_listed for network in desired.networks)
    if (
        backends.cluster is None
        or not cluster.is_known
        or is_leaving
        or is_name_taken(cluster, backends.cluster.instance)
    ):
        return {}
    is_watched = backends.cluster.is_watched or (me is not None and me.is_watched and me.is_alive)
    place = Place(
        nodes_folder=backends.cluster.discovery.path,
        instance=backends.cluster.instance,
        is_watched=is_watched,
        revision=_revision(desired, settings, backends.memory),
    )
    found = backends.answers.cluster_objects(desired, cluster, place)
    said = {record.key: record for record in standpoints(wanted, cluster)} if found else {}
    return {**found, **said} if said else found


def _revision(desired: DesiredState, settings: Settings, memory: Memory) -> tuple[str, bool]:
    """Give commit and dirty flag of the specs; git is asked again when they want something else, or everything is looked at."""
    basis = (desired.networks, desired.attachments)
    if memory.revision is None or memory.revision[0] != basis:
        found = specs_revision(settings.specs_dir)
        memory.revision = (basis, (found.commit, found.is_dirty))
    return memory.revision[1]


def _keep_names(objects: dict[Key, Object], boundaries: Boundaries, settings: Settings, answers: Answers) -> None:
    """Leave the names of units alone that are left alone."""
    wanted = next((each for each in objects.values() if isinstance(each, NameTables)), None)
    failed = frozenset(unit for unit, _ in boundaries.failures)
    declared = None if boundaries.is_pruning else boundaries.declared
    kept = answers.kept_tables(wanted, published_zones(settings.run_dir), failed, declared, boundaries.ended)
    if wanted is not None:
        del objects[wanted.key]
    if kept is not None:
        objects[kept.key] = kept


def _remarks(desired: DesiredState, observed: Observed, backends: Backends) -> Iterator[tuple[Unit, str]]:
    """Say what a person should know of what is as declared."""
    yield from forwarding_remarks(desired, observed.foreign_drops)
    yield from ipv6_remarks(desired)
    yield from address_remarks(desired, absent_addresses(bound_addresses(desired), backends.namespaces))
    yield from _unserved(observed)


def _unserved(observed: Observed) -> Iterator[tuple[Unit, str]]:
    for attachment, reason in observed.unserved:
        yield Unit(attachment=attachment), f"it has no name service: {reason}"


def _with_ports(
    desired: DesiredState,
    wanted: WantedState,
    promises: Promises,
    records: Mapping[str, str],
    host: HostPorts,
    backends: Backends,
) -> DesiredState:
    """Choose links and host ports, and add what is held. What is published now stays, whether or not the store remembers it."""
    answers = backends.answers
    promised, faults = answers.decode_ports(records)
    for fault in faults:
        log.warning("%s", fault)
    at_endpoints = answers.published_ports(backends.memory.firewall or ())
    desired = answers.assign_links(answers.with_held_first(desired, wanted, promises, at_endpoints, promised))
    desired = answers.assign_ports(desired, promised, answers.of_attachments(at_endpoints), host)
    return answers.with_held(desired, wanted, promises, at_endpoints, promised)


def _observe(wanted: WantedState, settings: Settings, backends: Backends, own: _OwnRecords) -> Observed:
    promises = own.promises
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    memory = backends.memory
    containers = observe_containers(wanted, promises.sysctls, backends.containers, memory)
    backends.namespaces.containers = containers
    promised = Promised(sysctls=promises.sysctls, sandboxes=promises.sandboxes)
    observed = observe_host(wanted, settings, backends.namespaces, now, memory, promised)
    seen = dict(observed.seen)
    seen.update(container_files(settings.run_dir, memory))
    seen.update(backends.answers.seen_records(own.texts))
    failed = [*observed.failures, *_unusable(wanted, observed)]
    try:
        if memory.firewall is None or memory.firewall_in != memory.overlays.keys():
            units = [Unit(network=network, attachment=attachment) for network, attachment in promises.endpoints]
            units += [Unit(network=e.network, attachment=a.name) for a in wanted.attachments for e in a.endpoints]
            overlays = [overlay.ns for overlay in memory.overlays.values() if overlay is not None]
            memory.firewall = keyed(observe_firewalls(backends.nft, backends.namespaces, overlays, units))
            memory.firewall_in = frozenset(memory.overlays)
            memory.foreign_drops = tuple(foreign_forward_drops(backends.nft))
        seen.update(memory.firewall)
    except ReconcilerError as error:
        failed.append((HOST_UNIT, error))
    names = observe_names(settings.run_dir)
    seen.update(names.seen)
    seen.update(seen_as_typed(seen, backends.answers.decode_readings(own.texts)))
    memory.name_server = names.server
    return replace(
        observed,
        seen=seen,
        sandboxes=with_containers(observed.sandboxes, containers),
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
