"""What a pass decides from: all that one look at the host, its store, its plugins and the cluster gave."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from reconciler.errors import ReconcilerError
from reconciler.ipam.promises import Promises
from reconciler.model.cluster import ALONE, ClusterPlace, ClusterState
from reconciler.model.desired import HostFacts
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import IPAddress, Key, Seen, Unit
from reconciler.model.observed import HostPorts, Keyed, SandboxFact
from reconciler.model.plugins import PluginFacts
from reconciler.ports.promises import Promised
from reconciler.sandbox.readings import Reading


class Records(Struct, frozen=True, kw_only=True):
    """What this host's own store says.

    ports: the host ports that attachments were given. seen: the records that are no calls to plugins, as objects.
    faults: a line for each record that is no good; it harms nothing else.
    """

    promises: Promises = field(default_factory=Promises)
    plugins: PluginFacts = field(default_factory=PluginFacts)
    ports: Promised = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    seen: Keyed = field(default_factory=dict)
    faults: tuple[str, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """All that was read; whoever decides needs nothing else.

    seen: the objects of this host; those of the cluster are in `cluster`. failures: units that could not be looked at (no nft: the
    host unit), with the reason. ports: the defaults when no attachment wants any. absent: of the addresses that ports may be
    published on, those that the host does not have. foreign_drops: what else may stop forwarded packets, in words.
    unserved: attachments that the embedded DNS server cannot serve although it shall, and why. zones: the text that it was given
    last. firewall: our own tables, also in `seen`. incarnations: by plugin, what tells the one that runs from those before it,
    "" while none runs. place: this host in its cluster, None in none.
    """

    host: HostFacts
    seen: Mapping[Key, Seen] = field(default_factory=dict)
    sandboxes: Mapping[NsRef, SandboxFact] = field(default_factory=dict)
    failures: tuple[tuple[Unit, ReconcilerError], ...] = ()
    ports: HostPorts = field(default_factory=HostPorts)
    absent: frozenset[IPAddress] = frozenset()
    foreign_drops: tuple[str, ...] = ()
    unserved: tuple[tuple[str, str], ...] = ()
    zones: str = ""
    firewall: Keyed = field(default_factory=dict)
    records: Records = field(default_factory=Records)
    incarnations: Mapping[str, str] = field(default_factory=dict)
    cluster: ClusterState = ALONE
    place: ClusterPlace | None = None
