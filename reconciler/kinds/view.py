"""What was read of network namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.model.identifiers import NsRef

if TYPE_CHECKING:
    from reconciler.kinds.address import AddressEntry
    from reconciler.kinds.route import RouteEntry

Links = Mapping[int, Link]
"""By index."""


class Peer(Struct, frozen=True, kw_only=True):
    """The far end of a veth pair."""

    ns: NsRef
    link: Link


Peers = Mapping[tuple[int, int], Peer]
"""By the number that the near side's namespace has for the peer's, and the link's index there."""


class NamespaceView(Struct, frozen=True, kw_only=True, dict=True):
    """What the kernel says of one namespace."""

    links: tuple[Link, ...]
    addresses: tuple[AddressEntry, ...]
    routes: tuple[RouteEntry, ...]

    @cached_property
    def by_index(self) -> Links:
        return {link.ifindex: link for link in self.links}

    @cached_property
    def foreign(self) -> tuple[Link, ...]:
        """The links that are not ours: few where ours come by the thousand."""
        return tuple(link for link in self.links if not link.is_ours)

    @cached_property
    def bridges_of_others(self) -> tuple[Link, ...]:
        """The bridges that a network may adopt, or has adopted."""
        return tuple(link for link in self.foreign if link.kind == "bridge")

    @cached_property
    def own_bridges(self) -> tuple[Link, ...]:
        """Those that are ours or adopted, so that their marks count."""
        return tuple(link for link in self.links if link.kind == "bridge" and (link.is_ours or link.is_adopted))

    @cached_property
    def has_own_pairs(self) -> bool:
        return any(link.kind == "veth" and (link.is_ours or link.is_adopted) for link in self.links)

    @cached_property
    def far_ends(self) -> Mapping[tuple[int, int], int]:
        """Return the near ends of our pairs to other namespaces, by this one's number for theirs, and the far end's index."""
        pairs = (link for link in self.links if link.kind == "veth" and link.is_ours)
        return {(link.peer_nsid, link.peer): link.ifindex for link in pairs if link.peer_nsid != NSID_NOT_ASSIGNED}


def name_of(links: Links, ifindex: int) -> str:
    """Return the name of a link, "" where it is not there."""
    link = links.get(ifindex)
    return link.ifname if link is not None else ""
