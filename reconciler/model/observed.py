"""What exists: the objects found, and the facts about the host that choices depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.errors import ReconcilerError
from reconciler.model.containers import Container
from reconciler.model.desired import HostFacts
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import IPAddress, Key, Seen, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFact:
    """A namespace that was looked for. inode: of its nsfs file, 0 when it is not there; is_ours: made by this instance.

    error: why it cannot be used (gone, is the host's own, held by another attachment); a missing one of kind netns has none.
    container: whose namespace it is, when an engine said so.
    """

    inode: int
    is_ours: bool = False
    error: ReconcilerError | None = None
    container: Container | None = None


PortRange = tuple[int, int]
"""First and last, both included."""


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A socket of a process on the host that a published port would take the packets of: one that listens, or an unconnected one
    of UDP. address None: all of both families."""

    protocol: str
    address: IPAddress | None
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPorts:
    """What the choice of host ports depends on.

    ephemeral: where host ports are chosen from; reserved: what is not chosen from it (ip_local_port_range and
    ip_local_reserved_ports of ip-sysctl.rst). sockets: looked for only when ports are wanted.
    """

    ephemeral: PortRange = (49153, 65535)
    reserved: tuple[PortRange, ...] = ()
    sockets: tuple[BoundSocket, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the host. failures: units that could not be looked at (no nft: the host unit), with the reason.

    ports: the defaults when no attachment wants any. foreign_drops: what else may stop forwarded packets, in words.
    unserved: attachments that the embedded DNS server cannot serve although it shall, and why.
    """

    host: HostFacts
    seen: Mapping[Key, Seen]
    sandboxes: Mapping[NsRef, SandboxFact] = field(default_factory=dict)
    failures: tuple[tuple[Unit, ReconcilerError], ...] = ()
    ports: HostPorts = field(default_factory=HostPorts)
    foreign_drops: tuple[str, ...] = ()
    unserved: tuple[tuple[str, str], ...] = ()
