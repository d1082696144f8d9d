"""What was read of one network namespace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct

from reconciler.kernel.addresses import AddressEntry
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kernel.routes import RouteEntry


class NamespaceView(Struct, frozen=True, kw_only=True, dict=True):
    """What the kernel says of one namespace."""

    links: tuple[Link, ...]
    addresses: tuple[AddressEntry, ...]
    routes: tuple[RouteEntry, ...]

    @cached_property
    def foreign(self) -> tuple[Link, ...]:
        """The links that are not ours: few where ours come by the thousand."""
        return tuple(link for link in self.links if not link.is_ours)

    @cached_property
    def far_ends(self) -> Mapping[tuple[int, int], int]:
        """Return the near ends of our pairs to other namespaces, by this one's number for theirs, and the far end's index."""
        pairs = (link for link in self.links if link.kind == "veth" and link.is_ours)
        return {(link.peer_nsid, link.peer): link.ifindex for link in pairs if link.peer_nsid != NSID_NOT_ASSIGNED}

    def names(self) -> dict[int, str]:
        return {link.ifindex: link.ifname for link in self.links}

    def own_names(self) -> dict[int, str]:
        return {link.ifindex: link.ifname for link in self.links if link.is_ours}

    def vxlans(self) -> dict[int, Link]:
        """Return our VXLAN devices, by index."""
        return {link.ifindex: link for link in self.links if link.is_ours and link.kind == "vxlan"}
