"""From the specs and the facts to what shall be, whose it is, and what must be left alone. Pure: all it needs is in `Facts`."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from reconciler.choices import Choices
from reconciler.cluster.global_networks import ended_endpoints, is_name_taken, with_global_networks
from reconciler.cluster.objects import cluster_objects, standpoints
from reconciler.cluster.outage import Shared
from reconciler.compile import Compiler, PartName, remembered_settings
from reconciler.dns.tables import kept_tables
from reconciler.drivers.remote_told import connecting_plugins, plugin_nodes, plugin_scopes
from reconciler.errors import ReconcilerError
from reconciler.facts import Facts
from reconciler.firewall.published import PublishedPorts
from reconciler.guard.obey import obeyed
from reconciler.incremental import Kept, Later, Table, Union, changed_keys, indexed
from reconciler.ipam.adopt import PublishedPromises, WantedEndpoints, adopted_promises, is_adoptable
from reconciler.ipam.adoption import given_back, kept_adoptions
from reconciler.ipam.gateway_network import GatewayJoiner
from reconciler.ipam.leases import Leases
from reconciler.ipam.promises import EndpointKey, EndpointPromise, Promises, merged
from reconciler.model.cluster import ClusterPlace, ClusterState
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    ClusterRecord,
    Key,
    KvRecord,
    NameTables,
    Object,
    Seen,
    Unit,
    objects_differ,
    seen_differ,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.plan import Plan
from reconciler.model.wanted import NetworkMode, WantedState
from reconciler.model.words import some
from reconciler.plan.differing import Differences, Differing
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import Owners, declared_units, link_units, overlay_units, owners
from reconciler.ports.remarks import address_remarks, forwarding_remarks, ipv6_remarks
from reconciler.sandbox.readings import kept_readings

_Any = TypeVar("_Any", bound=Object)


class Decision(Struct, frozen=True, kw_only=True):
    """What shall be on this host. objects: all that shall exist. seen: what they are to be compared with. owners: whose what is.

    boundaries: what is left alone. differences: between objects and seen. bugs: what was decided otherwise than from nothing.
    """

    desired: DesiredState
    objects: Table[Key, Object]
    seen: Table[Key, Seen]
    owners: Owners
    boundaries: Boundaries
    differences: Differences
    bugs: tuple[str, ...] = ()


def compared(decision: Decision, wanted: WantedState, facts: Facts) -> Plan:
    """Return what is to be done, within what the guards allow."""
    plan = make_plan(decision.objects, decision.seen, decision.owners, decision.boundaries, decision.differences)
    return obeyed(plan, wanted, decision.owners, facts.sandboxes)


class Decider:
    """Decides again and again: what depends on nothing that has changed is as it was. A new one decides the same from nothing."""

    def __init__(self) -> None:
        self._is_doubted = False
        self._ask, self._choose, self._compiler = Kept(), Choices(), Compiler()
        self._join_gateway, self._published_ports = GatewayJoiner(), PublishedPorts()
        self._endpoints, self._published_promises = WantedEndpoints(), PublishedPromises()
        self._compiled: Union[PartName, Key, Object] = Union(objects_differ)
        self._all: Union[tuple[int], Key, Object] = Union(objects_differ)
        self._seen: Union[tuple[int], Key, Seen] = Union(seen_differ)
        self._differing = Differing()

    def __call__(
        self, wanted: WantedState, facts: Facts, blocked: Sequence[tuple[Unit, ReconcilerError]] = ()
    ) -> Decision:
        """Decide. blocked: units that failed before in this pass, to be left alone."""
        decision = self._decided(wanted, facts, blocked)
        if not self._is_doubted:
            return decision
        fresh = Decider()
        anew = fresh(wanted, facts, blocked)
        self._is_doubted, bugs = False, tuple(otherwise(decision, anew, frozenset(facts.records.promises.networks)))
        if not bugs:
            return decision
        self.__dict__.update(fresh.__dict__)
        return replace(anew, bugs=bugs)

    def doubt(self) -> None:
        """Have the next decision made from nothing as well. What comes of that is right, and the difference is told."""
        self._is_doubted = True

    def _decided(self, wanted: WantedState, facts: Facts, blocked: Sequence[tuple[Unit, ReconcilerError]]) -> Decision:
        sources = wanted.sources
        wanted, cluster = self._in_cluster(wanted, facts)
        wanted = self._ask(self._join_gateway.__call__, wanted, facts.records.plugins.answers)
        promises = self._promises(wanted, facts, cluster)
        published = self._ask(self._published_ports.__call__, facts.firewall)
        desired, leased = self._choose(wanted, facts, promises, cluster, published, sources)
        shared = Shared(cluster=cluster, wanted=self._records_there(wanted, desired, cluster, facts.place))
        boundaries = Boundaries(
            failures=(*facts.failures, *_unusable(wanted, facts), *desired.failures, *shared.waiting(), *blocked),
            is_pruning=not wanted.has_faults,
            declared=declared_units(wanted) if wanted.has_faults else frozenset(),
            remarks=(*desired.withdrawn, *shared.told(desired)),
            ended=frozenset(
                (
                    *ended_endpoints(wanted, cluster, facts.records.promises.endpoints),
                    *given_back(desired.networks, facts.records.promises.endpoints, facts.seen),
                )
            ),
            kept=_records_of_held(desired, shared.wanted),
        )
        objects = self._objects(wanted, desired, facts, leased, shared, boundaries)
        seen = self._seen({(0,): facts.seen, (1,): shared.seen()})
        links = Later(lambda: link_units(wanted, facts.host.name, promises.link_units()))
        sandboxes = Later(lambda: _sandbox_units(wanted, desired, facts))
        remarks = tuple(_remarks(desired, facts))
        return Decision(
            desired=replace(desired, remarks=(*desired.remarks, *remarks)) if remarks else desired,
            objects=objects,
            seen=seen,
            owners=owners(links, sandboxes, seen, objects),
            boundaries=boundaries,
            differences=self._differing(objects, seen),
        )

    def _in_cluster(self, wanted: WantedState, facts: Facts) -> tuple[WantedState, ClusterState]:
        """Hold what is wanted against what the cluster has."""
        wanted, judged = self._ask(
            with_global_networks,
            wanted,
            self._ask(ClusterState.without_endpoints, facts.cluster),
            facts.records.plugins.scopes,
            instance=facts.place.instance if facts.place is not None else "",
            is_advertised=facts.host.vtep is not None,
        )
        return wanted, self._ask(_refusing, facts.cluster, judged.refused)

    def _objects(
        self,
        wanted: WantedState,
        desired: DesiredState,
        facts: Facts,
        leased: Leases,
        shared: Shared,
        boundaries: Boundaries,
    ) -> Table[Key, Object]:
        """Return all that shall exist: on the host, at plugins, in both stores."""
        plugins = facts.records.plugins
        parts, names = self._compiler(desired, facts.sandboxes)
        compiled = self._compiled(parts)
        nodes = plugin_nodes(connecting_plugins(wanted, plugins), desired.nodes, plugins, facts.incarnations)
        settings = _by_key(remembered_settings(compiled, facts, desired))
        readings = kept_readings(lambda key: settings.get(key) or compiled.get(key), facts.records.readings)
        return self._all(
            {
                (0,): _by_key(_still_to_be_told(shared.cluster, facts)),
                (1,): compiled,
                (2,): _by_key((*plugin_scopes(wanted), *nodes, *leased.asked)),
                (3,): shared.wanted,
                (4,): settings,
                (7,): _by_key(kept_adoptions(facts.seen, facts.records.promises.adopted)),
                (5,): _by_key(readings),
                (6,): self._names(names, boundaries, facts.zones),
            }
        )

    def _promises(self, wanted: WantedState, facts: Facts, cluster: ClusterState) -> Promises:
        """Return what our own store promised, else what we published in the cluster's, else what the kernel still knows."""
        published = self._ask(self._published_promises.__call__, cluster)
        promises = self._ask(_with_published, facts.records.promises, published)
        missing = self._ask(self._endpoints.unpromised, wanted, facts.host.name, promises)
        if is_adoptable(missing, facts.seen):
            return merged(promises, adopted_promises(wanted, facts.host, facts.seen))
        return promises

    def _records_there(
        self, wanted: WantedState, desired: DesiredState, cluster: ClusterState, place: ClusterPlace | None
    ) -> Mapping[Key, ClusterRecord]:
        """Return the records that this host shall have in the cluster's store.

        None when it is to be taken out of the cluster, or is not the one meant.
        """
        is_leaving = all(network.wanted.is_listed for network in desired.networks)
        if place is None or not cluster.is_known or is_leaving or is_name_taken(cluster, place.instance):
            return {}
        found = self._ask(cluster_objects, desired, cluster, place)
        said = {record.key: record for record in standpoints(wanted, cluster)} if found else {}
        return {**found, **said} if said else found

    def _names(self, wanted: Mapping[Key, Object], boundaries: Boundaries, zones: str) -> Mapping[Key, Object]:
        """Leave the names of units alone that are left alone."""
        if boundaries.is_pruning and not boundaries.failures:
            return wanted
        tables = next((each for each in wanted.values() if isinstance(each, NameTables)), None)
        failed = frozenset(unit for unit, _ in boundaries.failures)
        declared = None if boundaries.is_pruning else boundaries.declared
        kept = self._ask(kept_tables, tables, zones, failed, declared, boundaries.ended)
        return {} if kept is None else {kept.key: kept}


def _by_key(found: Iterable[_Any]) -> dict[Key, _Any]:
    return {each.key: each for each in found}


def _refusing(cluster: ClusterState, refused: Mapping[str, ReconcilerError]) -> ClusterState:
    return replace(cluster, refused=refused) if refused else cluster


def _with_published(kept: Promises, published: Mapping[EndpointKey, EndpointPromise]) -> Promises:
    """What this host published counts where its own store forgot it."""
    return merged(kept, Promises(endpoints=published)) if published else kept


def _still_to_be_told(cluster: ClusterState, facts: Facts) -> Iterator[KvRecord]:
    """In an outage, keep our own records of shared networks: they tell later what is to be taken back in the cluster's store."""
    if cluster.outage is not None:
        for name in facts.records.promises.shared_networks():
            seen = facts.seen.get((KvRecord.kind, f"network/{name}"))
            if seen is not None and isinstance(seen.object, KvRecord):
                yield seen.object


def _sandbox_units(wanted: WantedState, desired: DesiredState, facts: Facts) -> Mapping[NsRef, Unit]:
    """Return whose each namespace is: the attachment's that has or had links of ours in it, or an overlay network's."""
    promises = facts.records.promises
    had = {ns: Unit(attachment=name) for ns, name in promises.sandboxes.items()}
    have = {attachment.sandbox.ns: Unit(attachment=attachment.name) for attachment in wanted.attachments}
    ids = {name: network.id for name, network in promises.networks.items()}
    overlays = overlay_units(wanted, ids, facts.host.instance)
    return had | have | overlays | {each.ns: each.unit for each in desired.networks if each.ns != HOST}


def _records_of_held(desired: DesiredState, records: Mapping[Key, ClusterRecord]) -> frozenset[Key]:
    """Return the records of endpoints that stay as they run: in a store that lost its data, others could take what they have."""
    units = {endpoint.unit for attachment in desired.held for endpoint in attachment.endpoints}
    return frozenset(key for key, record in records.items() if record.unit in units) if units else frozenset()


def _remarks(desired: DesiredState, facts: Facts) -> Iterator[tuple[Unit, str]]:
    """Yield what a person should know of what is as declared."""
    yield from forwarding_remarks(desired, facts.foreign_drops)
    yield from ipv6_remarks(desired)
    yield from address_remarks(desired, facts.absent)
    for attachment, reason in facts.unserved:
        yield Unit(attachment=attachment), f"it has no name service: {reason}"


def _unusable(wanted: WantedState, facts: Facts) -> Iterator[tuple[Unit, ReconcilerError]]:
    """Yield the attachments whose sandbox is gone, the host's own, or another attachment's too: nothing is done in there."""
    unusable = indexed(facts.sandboxes, _has_error).get(True, ())
    errors = {ns: error for ns in unusable if (error := facts.sandboxes[ns].error) is not None}
    for attachment in wanted.attachments if errors else ():
        error = None if attachment.mode is NetworkMode.HOST else errors.get(attachment.sandbox.ns)
        if error is not None:
            yield Unit(attachment=attachment.name), error


def _has_error(_: NsRef, fact: SandboxFact) -> Iterator[bool]:
    if fact.error is not None:
        yield True


_SHOWN: Final = 3


def otherwise(kept: Decision, anew: Decision, recorded: Container[str]) -> Iterator[str]:
    """Yield what stands otherwise in a decision for which much was kept than in one from nothing.

    recorded: networks that have a record. Others were created when they were thought of first, which only the former knows.
    """
    for name in ("networks", "held_networks", "attachments", "held"):
        old, new = ({one.name: one for one in getattr(each.desired, name)} for each in (kept, anew))
        yield from _told(name, {key for key in changed_keys(old, new) if "networks" not in name or key in recorded})
    for name in ("failures", "withdrawn", "remarks", "nodes", "tunnels"):
        yield from _told(name, {name} if str(getattr(kept.desired, name)) != str(getattr(anew.desired, name)) else ())
    for name in ("failures", "remarks", "declared", "ended", "kept", "is_pruning"):
        both = (getattr(each.boundaries, name) for each in (kept, anew))
        yield from _told("boundaries", {name} if len({_text(one) for one in both}) > 1 else ())
    objects = anew.objects.changed_since(kept.objects)
    young = {n.name for n in anew.desired.networks if n.name not in recorded}
    yield from _told("objects", {key for key in objects if not _is_of(key, young)})
    yield from _told("seen", anew.seen.changed_since(kept.seen))
    if not objects:
        yield from _told("differing", kept.differences.keys ^ anew.differences.keys)
        yield from _told("contested", kept.differences.contested ^ anew.differences.contested)


def _is_of(key: Key, networks: Container[str]) -> bool:
    """Return whether it is the key of a record of one of the networks: our own, or one in the cluster's store."""
    folder, _, rest = key[-1].partition("/")
    return folder in ("network", "networks") and rest.partition("/")[0] in networks


def _told(what: str, keys: Collection[object]) -> Iterator[str]:
    if keys:
        yield f"{what} kept are not as from nothing: {some(sorted(map(str, keys)), _SHOWN)}"


def _text(value: object) -> str:
    """Errors are as others that say the same; sets have no order."""
    return str(sorted(map(str, value)) if isinstance(value, Collection) else value)
