"""The world as a pass meets it: what it reads and writes through, opened once per process, and what it remembers between looks."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial

from reconciler.apply.cluster_records import apply_cluster_records, withdrawn
from reconciler.apply.container_files import apply_container_files
from reconciler.apply.executor import Handler
from reconciler.apply.files import apply_files
from reconciler.apply.firewall import apply_firewalls
from reconciler.apply.ipam_plugins import apply_ipam_plugins
from reconciler.apply.names import apply_names
from reconciler.apply.namespaces import apply_namespaces
from reconciler.apply.neighbours import apply_neighbours
from reconciler.apply.plugins import apply_plugins
from reconciler.apply.records import apply_records
from reconciler.apply.rtnetlink import apply_rtnetlink
from reconciler.apply.sysctls import apply_sysctls
from reconciler.cluster.global_networks import with_global_networks
from reconciler.cluster.objects import cluster_objects
from reconciler.compile import Compiler
from reconciler.container_engine.client import ContainerEngine, Containers
from reconciler.dns.tables import kept_tables
from reconciler.drivers.remote_told import with_plugins
from reconciler.errors import ConfigError
from reconciler.firewall.published import of_attachments, published_ports
from reconciler.ipam.adopt import published_promises
from reconciler.ipam.assign import assign
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.held import Published, with_held
from reconciler.ipam.leases import with_leases
from reconciler.ipam.promises import Promises, decode_promises, merged
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kv.address import discovery, store_config
from reconciler.kv.protocol import KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.last_answer import LastAnswer
from reconciler.model.cluster import ClusterState
from reconciler.model.identifiers import cluster_instance_id, derived_id
from reconciler.model.objects import (
    Address,
    Bridge,
    ClusterRecord,
    ContainerFile,
    DeadEnd,
    FdbEntry,
    FirewallElement,
    FirewallRules,
    Ipvlan,
    KvRecord,
    LinkUp,
    Macvlan,
    Namespace,
    NameTables,
    Neighbour,
    Object,
    PluginAddress,
    PluginEndpoint,
    PluginLink,
    PluginNetwork,
    PluginNode,
    PluginPool,
    PluginPorts,
    PluginScope,
    Route,
    SandboxFile,
    Seen,
    Sysctl,
    Unit,
    VethPair,
    Vlan,
    Vxlan,
)
from reconciler.model.plan import Operation
from reconciler.model.plugins import PLUGIN_RECORDS
from reconciler.model.wanted import WantedState
from reconciler.observe.cluster import ClusterStore
from reconciler.observe.host_facts import machine_id
from reconciler.observe.memory import Keyed, Memory, keyed
from reconciler.plan.ownership import link_units
from reconciler.plugin.client import Plugins
from reconciler.plugin.records import decode_plugin_records
from reconciler.ports.assign import assign_ports
from reconciler.ports.links import assign_links
from reconciler.ports.promises import decode_ports
from reconciler.sandbox.readings import decode_readings
from reconciler.settings import Settings


class Answers:
    """The pure stages, each with its last answer: of two looks at an unchanged host the second costs little."""

    def __init__(self) -> None:
        self.decode_promises = LastAnswer(decode_promises)
        self.with_global_networks = LastAnswer(with_global_networks)
        self.with_gateway_network = LastAnswer(with_gateway_network)
        self.with_published = LastAnswer(_with_published)
        self.assign = LastAnswer(assign)
        self.compile_objects = LastAnswer(Compiler().__call__)
        self.cluster_objects = LastAnswer(cluster_objects)
        self.link_units = LastAnswer(_link_units)
        self.decode_ports = LastAnswer(decode_ports)
        self.decode_readings = LastAnswer(decode_readings)
        self.published_ports = LastAnswer(_published_ports)
        self.of_attachments = LastAnswer(of_attachments)
        self.with_held_first = LastAnswer(with_held)
        self.with_held = LastAnswer(with_held)
        self.assign_links = LastAnswer(assign_links)
        self.assign_ports = LastAnswer(assign_ports)
        self.seen_records = LastAnswer(_seen_records)
        self.kept_tables = LastAnswer(kept_tables)
        self.decode_plugin_records = LastAnswer(decode_plugin_records)
        self.with_plugins = LastAnswer(with_plugins)
        self.with_leases = LastAnswer(with_leases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The world, opened once per process, and what is remembered of it from look to look.

    kv: this host's own store. cluster: the cluster's, None for a host in no cluster.
    """

    namespaces: Namespaces
    nft: Nft
    kv: KvStore
    containers: Containers
    plugins: Plugins = field(default_factory=Plugins)
    cluster: ClusterStore | None = None
    memory: Memory = field(default_factory=Memory)
    answers: Answers = field(default_factory=Answers)

    def handlers(self, settings: Settings, operations: Sequence[Operation]) -> Mapping[type[Object], Handler]:
        """Say who carries out operations on which kind of object. operations: all that are to be carried out."""
        shared: dict[type[Object], Handler] = {}
        if self.cluster is not None:
            leaving = withdrawn(operations)
            shared[ClusterRecord] = partial(apply_cluster_records, store=self.cluster, leaving=leaving)
        rtnetlink = partial(apply_rtnetlink, namespaces=self.namespaces)
        neighbours = partial(apply_neighbours, namespaces=self.namespaces)
        firewall = partial(apply_firewalls, nft=self.nft, namespaces=self.namespaces)
        ipam_plugins = partial(apply_ipam_plugins, plugins=self.plugins, kv=self.kv)
        plugins = partial(apply_plugins, plugins=self.plugins, kv=self.kv, namespaces=self.namespaces)
        return {
            **shared,
            KvRecord: partial(apply_records, kv=self.kv),
            FirewallRules: firewall,
            FirewallElement: firewall,
            Namespace: partial(apply_namespaces, namespaces=self.namespaces),
            Bridge: rtnetlink,
            VethPair: rtnetlink,
            Vxlan: rtnetlink,
            DeadEnd: rtnetlink,
            Vlan: rtnetlink,
            Macvlan: rtnetlink,
            Ipvlan: rtnetlink,
            FdbEntry: neighbours,
            Neighbour: neighbours,
            LinkUp: rtnetlink,
            Address: rtnetlink,
            Route: rtnetlink,
            PluginLink: rtnetlink,
            PluginScope: plugins,
            PluginNetwork: plugins,
            PluginEndpoint: plugins,
            PluginPorts: plugins,
            PluginNode: plugins,
            PluginPool: ipam_plugins,
            PluginAddress: ipam_plugins,
            Sysctl: partial(apply_sysctls, namespaces=self.namespaces, kv=self.kv),
            SandboxFile: partial(apply_files, settings=settings),
            ContainerFile: partial(apply_container_files, settings=settings),
            NameTables: partial(apply_names, settings=settings),
        }


@contextmanager
def open_backends(settings: Settings, *, read_only: bool = False) -> Iterator[Backends]:
    """Open what a pass needs. read_only: nothing is created anywhere, a store that is not there reads as empty.

    Raises ConfigError for an address or options of the cluster's store that are no good.
    """
    with ExitStack() as opened:
        namespaces = opened.enter_context(Namespaces(settings.netns_dir, settings.instance))
        kv = opened.enter_context(closing(open_sqlite(settings.state_dir / "state.db", read_only=read_only)))
        cluster = _open_cluster(settings)
        if cluster is not None:
            opened.callback(cluster.kv.close)
        containers = ContainerEngine(settings.container_engine)
        plugins = Plugins(root=settings.plugin_root, timeout_s=settings.plugin_timeout_s)
        yield Backends(namespaces=namespaces, nft=Nft(), kv=kv, containers=containers, plugins=plugins, cluster=cluster)


def _open_cluster(settings: Settings) -> ClusterStore | None:
    """Open the cluster's store; no server is reached yet."""
    if not settings.cluster_store:
        if settings.cluster_advertise or settings.cluster_store_options:
            raise ConfigError("cluster-advertise and cluster-store-opt say nothing without --cluster-store")
        return None
    from reconciler.kv.registry import open_store

    options = settings.cluster_store_options
    store = open_store(store_config(settings.cluster_store, options, os.environ))
    machine = machine_id()
    instance = cluster_instance_id(settings.instance, machine)
    # machine-id(5): to be kept from untrusted environments, and no container has the host's.
    seed = derived_id("vni", settings.instance, machine or secrets.token_hex())
    return ClusterStore(store, host=settings.host, instance=instance, discovery=discovery(options), seed=seed)


def _with_published(kept: Promises, cluster: ClusterState) -> Promises:
    """What this host published counts where its own store forgot it."""
    return merged(kept, published_promises(cluster))


def _published_ports(firewall: Keyed) -> Published:
    return published_ports(seen for _, seen in firewall)


def _seen_records(records: Mapping[str, str]) -> Keyed:
    """What plugins were told is no promise: it is seen as what exists there."""
    ours = ((path, value) for path, value in records.items() if not path.startswith(PLUGIN_RECORDS))
    return keyed(Seen(KvRecord(path=path, value=value), is_ours=True) for path, value in ours)


def _link_units(wanted: WantedState, host: str, promises: Promises) -> Mapping[str, Unit]:
    promised = {network.link_name: Unit(network=name) for name, network in promises.networks.items()}
    promised |= {
        endpoint.link_name: Unit(network=network, attachment=attachment)
        for (network, attachment), endpoint in promises.endpoints.items()
    }
    return link_units(wanted, host, {name: unit for name, unit in promised.items() if name})
