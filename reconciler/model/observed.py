"""What a look at the host finds beside objects: sandboxes, and who holds which ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from reconciler.errors import ReconcilerError
from reconciler.model.containers import Container
from reconciler.model.objects import IPAddress, Key, Seen

Keyed = Mapping[Key, Seen]
"""What was found, each under its key. Never changed once it is made."""

Named = tuple[str, int]
"""Name and inode of a network namespace."""


def keyed(found: Iterable[Seen]) -> Keyed:
    return {each.object.key: each for each in found}


class SandboxFact(Struct, frozen=True, kw_only=True):
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


class BoundSocket(Struct, frozen=True):
    """A socket of a process on the host that a published port would take the packets of: one that listens, or an unconnected one
    of UDP. address None: all of both families."""

    protocol: str
    address: IPAddress | None
    port: int


class HostPorts(Struct, frozen=True, kw_only=True):
    """What the choice of host ports depends on.

    ephemeral: where host ports are chosen from; reserved: what is not chosen from it (ip_local_port_range and
    ip_local_reserved_ports of ip-sysctl.rst). sockets: looked for only when ports are wanted.
    """

    ephemeral: PortRange = (49153, 65535)
    reserved: tuple[PortRange, ...] = ()
    sockets: tuple[BoundSocket, ...] = ()
