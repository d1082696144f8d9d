"""All that a pass reads before it decides: the host, this host's own store, the plugins there are, and the cluster's store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from reconciler.backends import Backends
from reconciler.cluster.global_networks import followed_networks
from reconciler.errors import ReconcilerError
from reconciler.facts import Facts, Records
from reconciler.ipam.adoption import with_found
from reconciler.ipam.leases import ipam_plugins
from reconciler.kinds.firewall import HOST_PLACE, view_firewalls
from reconciler.kinds.name_tables import observe_names
from reconciler.kinds.plugins import borne_out, seen_at_plugins
from reconciler.model.cluster import ALONE, ClusterPlace, ClusterState
from reconciler.model.objects import HOST_UNIT, Unit
from reconciler.model.observed import Keyed, keyed
from reconciler.model.plugins import PluginFacts
from reconciler.model.wanted import WantedState
from reconciler.observe.containers import container_files, observe_containers, with_containers
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Part
from reconciler.observe.ports import absent_addresses, host_ports
from reconciler.ports.remarks import bindable_addresses
from reconciler.sandbox.readings import seen_as_typed
from reconciler.settings import Settings
from reconciler.status.summary import Revision

log = logging.getLogger(__name__)


def gather(wanted: WantedState, settings: Settings, backends: Backends) -> Facts:
    """Read all that the specs make matter. Writes nothing; what was looked at before is looked at again as `memory` says.

    What is wrong with one unit, one record or the cluster's store stands in the facts. Raises KernelError when the host itself
    cannot be looked at, KvUnavailable without a store of its own.
    """
    facts = _host(wanted, settings, backends, _records(backends))
    cluster = _cluster(wanted, facts.records, facts.host.now, backends)
    return replace(
        facts,
        incarnations=_incarnations(wanted, facts.records.plugins, backends),
        cluster=cluster,
        place=_place(wanted, cluster, settings, backends),
        ports=host_ports(wanted),
        absent=absent_addresses(bindable_addresses(wanted), backends.namespaces),
    )


def recorded(backends: Backends) -> Records:
    """Return what the host's own store says. Raises KvUnavailable."""
    return backends.memory.records.of(backends.kv.list(""))


def _records(backends: Backends) -> Records:
    """Read the host's own store. What is no good is told, and harms nothing else."""
    records = recorded(backends)
    for fault in records.faults:
        log.warning("%s", fault)
    return records


def _host(wanted: WantedState, settings: Settings, backends: Backends, records: Records) -> Facts:
    """Look at the host itself: kernel, files, firewall and name server. records: what may be there, and so is looked for."""
    promises, memory = records.promises, backends.memory
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    containers = observe_containers(wanted, promises.sysctls, backends.containers, memory)
    backends.namespaces.containers = containers
    facts, parts = observe_host(wanted, settings, backends.namespaces, now, memory, promises)
    parts[6, "container files"] = container_files(settings.run_dir, memory)
    parts[7, "records"] = records.seen
    failures: tuple[tuple[Unit, ReconcilerError], ...] = ()
    try:
        _look_at_firewall(wanted, backends, records)
    except ReconcilerError as error:
        failures = ((HOST_UNIT, error),)
    parts[8, "firewall"] = memory.all_firewalls({named: view.seen for named, view in memory.firewall.items()})
    names = observe_names(settings.run_dir, memory.zones)
    parts[9, "names"] = names.seen
    parts[10, "as typed"] = seen_as_typed(_settings(parts, records), records.readings)
    parts[11, "plugins"] = memory.at_plugins
    parts[12, "adopted"] = with_found(parts[3, "host"], promises.adopted)
    memory.name_server = names.server
    seen = memory.seen(parts)
    plugins = borne_out(records.plugins, seen)
    told = keyed(seen_at_plugins(plugins))
    if told != memory.at_plugins:
        memory.at_plugins = told
        seen = memory.seen({**parts, (11, "plugins"): told})
    return replace(
        facts,
        seen=seen,
        sandboxes=with_containers(facts.sandboxes, containers, memory),
        failures=failures,
        firewall=parts[8, "firewall"],
        foreign_drops=memory.firewall[HOST_PLACE].foreign_drops if memory.firewall else (),
        unserved=names.unserved,
        zones=names.zones,
        records=replace(records, plugins=plugins),
    )


def _settings(parts: Mapping[Part, Keyed], records: Records) -> Keyed:
    """Return the settings that there are readings of, as the kernel gives them."""
    keys = [reading.setting.key for reading in records.readings]
    return {key: found for key in keys for part in parts.values() if (found := part.get(key)) is not None}


def _look_at_firewall(wanted: WantedState, backends: Backends, records: Records) -> None:
    """Have `memory` know our tables, and what others drop."""

    def units() -> Iterator[Unit]:
        for network, attachment in records.promises.endpoints:
            yield Unit(network=network, attachment=attachment)
        yield from (Unit(network=e.network, attachment=a.name) for a in wanted.attachments for e in a.endpoints)

    memory = backends.memory
    overlays = [named for named, overlay in memory.overlays.items() if overlay is not None]
    known, memory.firewall = memory.firewall, {}
    touched, memory.touched_elements = memory.touched_elements, []
    memory.firewall = view_firewalls(known, touched, backends.nft, backends.namespaces, overlays, units)


def _incarnations(wanted: WantedState, plugins: PluginFacts, backends: Backends) -> Mapping[str, str]:
    """Return which plugins run, of those that may have to be told again what others were told before them."""
    connecting = {driver for (_, driver), scope in plugins.scopes.items() if scope.connectivity == "global"}
    return {name: backends.plugins.incarnation(name) for name in ipam_plugins(wanted) | connecting}


def _cluster(wanted: WantedState, records: Records, now: str, backends: Backends) -> ClusterState:
    """Look at what this host has to do with of the cluster. What could not be read is told, and harms nothing else."""
    if backends.cluster is None:
        return ALONE
    followed = followed_networks(wanted, records.plugins.scopes, records.promises.shared_networks())
    state = backends.cluster.look(followed, now)
    for fault in state.faults:
        log.warning("%s", fault)
    return state


def _place(wanted: WantedState, cluster: ClusterState, settings: Settings, backends: Backends) -> ClusterPlace | None:
    """Return what this host says of itself in its cluster. git is asked while the cluster's store can be."""
    store = backends.cluster
    if store is None:
        return None
    me = cluster.nodes.get(cluster.host)
    revision = backends.revision.of(settings.specs_dir, wanted) if cluster.is_known else Revision()
    return ClusterPlace(
        nodes_folder=store.discovery.path,
        instance=store.instance,
        is_watched=store.is_watched or (me is not None and me.is_watched and me.is_alive),
        revision=(revision.commit, revision.is_dirty),
    )
