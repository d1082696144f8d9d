"""The world as a pass meets it: what it reads and writes through, opened once per process, and what it remembers between looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from reconciler.apply.executor import Handler
from reconciler.apply.files import apply_files
from reconciler.apply.firewall import apply_firewall
from reconciler.apply.ipam_plugins import apply_ipam_plugins
from reconciler.apply.names import apply_names
from reconciler.apply.namespaces import apply_namespaces
from reconciler.apply.neighbours import apply_neighbours
from reconciler.apply.plugins import apply_plugins
from reconciler.apply.records import apply_records
from reconciler.apply.rtnetlink import apply_rtnetlink
from reconciler.apply.sysctls import apply_sysctls
from reconciler.compile import Compiler
from reconciler.dns.tables import kept_tables
from reconciler.drivers.remote_told import with_plugins
from reconciler.errors import ConfigError
from reconciler.firewall.published import published_ports
from reconciler.ipam.assign import assign
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.leases import with_leases
from reconciler.ipam.promises import Promises, decode_promises
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kv.protocol import KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.last_answer import LastAnswer
from reconciler.model.desired import PortBinding
from reconciler.model.objects import (
    Address,
    Bridge,
    FdbEntry,
    FirewallElement,
    FirewallRules,
    KvRecord,
    LinkUp,
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
    Route,
    SandboxFile,
    Seen,
    Sysctl,
    Unit,
    VethPair,
    Vxlan,
)
from reconciler.model.plugins import PLUGIN_RECORDS
from reconciler.model.wanted import WantedState
from reconciler.observe.memory import Keyed, Memory, keyed
from reconciler.plan.ownership import link_units
from reconciler.plugin.client import Plugins
from reconciler.plugin.records import decode_plugin_records
from reconciler.ports.assign import assign_ports
from reconciler.ports.links import assign_links
from reconciler.ports.promises import decode_ports
from reconciler.settings import Settings


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
        self.decode_plugin_records = LastAnswer(decode_plugin_records)
        self.with_plugins = LastAnswer(with_plugins)
        self.with_leases = LastAnswer(with_leases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The world, opened once per process, and what is remembered of it from look to look."""

    namespaces: Namespaces
    nft: Nft
    kv: KvStore
    plugins: Plugins = field(default_factory=Plugins)
    memory: Memory = field(default_factory=Memory)
    answers: Answers = field(default_factory=Answers)

    def handlers(self, settings: Settings) -> Mapping[type[Object], Handler]:
        """Say who carries out operations on which kind of object."""
        rtnetlink = partial(apply_rtnetlink, namespaces=self.namespaces)
        neighbours = partial(apply_neighbours, namespaces=self.namespaces)
        firewall = partial(apply_firewall, nft=self.nft)
        ipam_plugins = partial(apply_ipam_plugins, plugins=self.plugins, kv=self.kv)
        plugins = partial(apply_plugins, plugins=self.plugins, kv=self.kv, namespaces=self.namespaces)
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
            PluginLink: rtnetlink,
            PluginNetwork: plugins,
            PluginEndpoint: plugins,
            PluginPorts: plugins,
            PluginNode: plugins,
            PluginPool: ipam_plugins,
            PluginAddress: ipam_plugins,
            Sysctl: partial(apply_sysctls, namespaces=self.namespaces),
            SandboxFile: partial(apply_files, settings=settings),
            NameTables: partial(apply_names, settings=settings),
        }


@contextmanager
def open_backends(settings: Settings, *, read_only: bool = False) -> Iterator[Backends]:
    """Open what a pass needs. read_only: nothing is created anywhere, a store that is not there reads as empty.

    Raises ConfigError when a cluster's store is asked for: what would use it does not exist yet.
    """
    if settings.cluster_store or settings.cluster_advertise or settings.cluster_store_options:
        raise ConfigError("cluster-store: networks over several hosts are not supported yet; leave it out")
    namespaces = Namespaces(settings.netns_dir, settings.instance)
    try:
        kv = open_sqlite(settings.state_dir / "state.db", read_only=read_only)
        try:
            plugins = Plugins(root=settings.plugin_root, timeout_s=settings.plugin_timeout_s)
            yield Backends(namespaces=namespaces, nft=Nft(), kv=kv, plugins=plugins)
        finally:
            kv.close()
    finally:
        namespaces.close()


def _published_ports(firewall: Keyed) -> Mapping[str, tuple[PortBinding, ...]]:
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
