"""What fails or succeeds together, and who needs whom."""

from __future__ import annotations

from msgspec import Struct


class Unit(Struct, frozen=True, order=True):
    """What fails or succeeds together: a network, an attachment's sandbox, one attachment on one network, or the host.

    An endpoint (both set) needs its network, its sandbox and the host; a network needs the host, but for the two
    that have nothing there.
    """

    network: str = ""
    attachment: str = ""

    def parents(self) -> tuple[Unit, ...]:
        if not self.network:
            return ()
        needs = () if self.network in _NEED_NOTHING else (HOST_UNIT,)
        if not self.attachment:
            return needs
        return (*needs, Unit(network=self.network), Unit(attachment=self.attachment))

    def entry(self) -> Unit:
        """Return the unit of the entry of the specs that it stands under: an endpoint stands under its attachment."""
        return Unit(attachment=self.attachment) if self.attachment else self

    def names(self) -> tuple[str, ...]:
        """Return how messages name it, or a part of it, in front."""
        return str(self), f"network {self.network}", f"attachment {self.attachment}"

    def __str__(self) -> str:
        if self == NAMES_UNIT:
            return "name service"
        if self == CLUSTER_UNIT:
            return "cluster"
        if self == STATUS_UNIT:
            return "status files"
        named = [f"network {self.network}"] if self.network else []
        named += [f"attachment {self.attachment}"] if self.attachment else []
        return ", ".join(named) or "host"


HOST_UNIT = Unit()

NAMES_UNIT = Unit(network="<names>")
"""The name service of all sandboxes: nothing needs it and it needs nothing, so its failure is nobody else's."""

CLUSTER_UNIT = Unit(network="<cluster>")
"""This host's place in the cluster. Networks that need it say so themselves."""

STATUS_UNIT = Unit(network="<status>")
"""What a pass leaves behind for readers and for the next one: files in the status and state folders. Nothing needs it."""

SERVICES = frozenset((NAMES_UNIT.network, CLUSTER_UNIT.network, STATUS_UNIT.network))
"""Stand where a network does, and are none."""

_NEED_NOTHING = frozenset(("host", "none", *SERVICES))


def nodes_unit(driver: str) -> Unit:
    """Return the unit of what a plugin is told of the cluster's hosts: its failure is no network's."""
    return Unit(network=f"<nodes at plugin {driver}>")
