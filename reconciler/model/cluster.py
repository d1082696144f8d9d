"""What a cluster's store tells of other hosts and of the networks that hosts share. A value that exists has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import ClassVar, Final

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.errors import ReconcilerError
from reconciler.model.desired import DesiredSubnet, RemoteEndpoint
from reconciler.model.objects import IPAddress, Key, Seen
from reconciler.model.values import Value
from reconciler.model.wanted import NetworkWanted


class ClusterNode(Struct, frozen=True, kw_only=True):
    """One host of the cluster. address: its VTEP, where others send what is for its endpoints.

    instance: tells hosts apart that go by one name. is_watched: a watcher there gives signs of life. is_alive: one came in time, or
    none is expected because nobody watches. left: when a sign was missed first, RFC 3339 in UTC, "" as long as none was.
    format: of the records that it writes.
    """

    name: str
    address: IPAddress
    instance: str
    is_watched: bool = False
    is_alive: bool = True
    left: str = ""
    format: int = 1


class ClusterEndpoint(Struct, frozen=True, kw_only=True):
    """An attachment on a global network, on any host.

    mac: "" where the network's plugin has not said which. names: all that it answers to there, lower case, its own first.
    """

    network: str
    name: str
    id: str
    host: str
    mac: str
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    names: tuple[str, ...] = ()


class NetworkMember(Struct, frozen=True, kw_only=True):
    """A host that has to do with a global network. declaration: digest of what its specs say of it, "" if it only joined."""

    host: str
    declaration: str


class GlobalNetwork(Struct, frozen=True, kw_only=True):
    """A network as the cluster has it. wanted: as it was declared by whoever was first, its source being the store.

    members, endpoints: of all hosts, sorted by host and by name; known of networks that this host follows, else empty.
    remote_endpoints: of other hosts, those that can be reached, sorted by id: their hosts are alive as far as anybody knows.
    """

    wanted: NetworkWanted
    id: str
    created: str
    subnets: tuple[DesiredSubnet, ...]
    declaration: str
    members: tuple[NetworkMember, ...] = ()
    endpoints: tuple[ClusterEndpoint, ...] = ()
    remote_endpoints: tuple[RemoteEndpoint, ...] = ()

    @property
    def name(self) -> str:
        return self.wanted.name


class ClusterPlace(Struct, frozen=True, kw_only=True):
    """What a host says of itself.

    nodes_folder: where. instance: tells it from others of its name. is_watched: a watcher gives signs of life.
    revision: commit of its specs, and whether they are dirty.
    """

    nodes_folder: str
    instance: str
    is_watched: bool
    revision: tuple[str, bool]


class ClusterState(Value, frozen=True, kw_only=True):
    """One look at the cluster's store, as the host `host` sees it.

    seen: the records themselves, ours being those of this host and, for one host of the cluster, what others left behind.
    contended: networks on which a claim was lost lately, so that the next choice had better not be the obvious one.
    outage: why the store cannot be asked now; what stands here is then of the last time. is_known: it was ever answered.
    faults: a line for each record that was left out. refused: networks that cannot be had here as the specs declare them, and why.
    seed: what this host draws VNIs by, a secret from sandboxes.
    """

    unshown: ClassVar[frozenset[str]] = frozenset({"seed"})
    host: str
    nodes: Mapping[str, ClusterNode] = field(default_factory=dict)
    networks: Mapping[str, GlobalNetwork] = field(default_factory=dict)
    seen: Mapping[Key, Seen] = field(default_factory=dict)
    contended: frozenset[str] = frozenset()
    outage: ReconcilerError | None = None
    is_known: bool = True
    faults: tuple[str, ...] = ()
    refused: Mapping[str, ReconcilerError] = field(default_factory=dict)
    seed: str = ""

    def without_endpoints(self) -> ClusterState:
        """Return it without what comes and goes all the time: hosts and networks as such stay."""
        if self is ALONE:
            return self
        networks = {name: replace(one, endpoints=(), remote_endpoints=()) for name, one in self.networks.items()}
        return replace(self, networks=networks, seen={}, faults=())


ALONE: Final = ClusterState(host="", is_known=False)
"""What a host sees that is in no cluster."""
