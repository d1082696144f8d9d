"""The world as a pass meets it: what it reads and writes through, opened once per process, and what it remembers between looks."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from reconciler.container_engine.client import ContainerEngine, Containers
from reconciler.decide import Decider
from reconciler.errors import ConfigError
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kinds.name_tables import Published
from reconciler.kinds.registry import handlers
from reconciler.kinds.world import Handler, World
from reconciler.kv.address import discovery, store_config
from reconciler.kv.protocol import KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.identifiers import cluster_instance_id, derived_id
from reconciler.model.kinds.base import Kind
from reconciler.model.plan import Operation
from reconciler.observe.cluster import ClusterStore
from reconciler.observe.host_facts import machine_id
from reconciler.observe.memory import Memory
from reconciler.settings import Settings
from reconciler.status.revision import KnownRevision

if TYPE_CHECKING:
    from reconciler.plugin.client import Plugins


class Backends(Struct, frozen=True, kw_only=True, dict=True):
    """The world, opened once per process, and what is remembered of it from look to look.

    kv: this host's own store. cluster: the cluster's, None for a host in no cluster. revision: of the specs, asked for
    in a cluster only. plugin_root, plugin_timeout_s: as `Plugins`
    has them. What speaks to plugins is imported on hosts that have some.
    """

    namespaces: Namespaces
    nft: Nft
    kv: KvStore
    containers: Containers
    cluster: ClusterStore | None = None
    memory: Memory = field(default_factory=Memory)
    decide: Decider = field(default_factory=Decider)
    names: Published = field(default_factory=Published)
    revision: KnownRevision = field(default_factory=KnownRevision)
    plugin_root: Path = Path("/")
    plugin_timeout_s: float = 20.0

    @cached_property
    def plugins(self) -> Plugins:
        from reconciler.plugin.client import Plugins

        return Plugins(root=self.plugin_root, timeout_s=self.plugin_timeout_s)

    def handlers(self, settings: Settings, operations: Sequence[Operation]) -> Mapping[type[Kind], Handler]:
        """Return who carries out operations on which kind of object. operations: all that are to be carried out."""
        world = World(
            settings=settings,
            namespaces=self.namespaces,
            nft=self.nft,
            kv=self.kv,
            cluster=self.cluster,
            names=self.names,
            plugins=lambda: self.plugins,
            planned=operations,
        )
        return handlers(world)


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
        yield Backends(
            namespaces=namespaces,
            nft=Nft(),
            kv=kv,
            containers=containers,
            cluster=cluster,
            plugin_root=settings.plugin_root,
            plugin_timeout_s=settings.plugin_timeout_s,
        )


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
