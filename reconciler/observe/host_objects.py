"""From the host's own namespace to the objects that are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.incremental import Table, Union
from reconciler.kernel.links import Link
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Key, Seen
from reconciler.model.observed import Keyed, keyed
from reconciler.observe.addresses import link_addresses
from reconciler.observe.links import Peer, Peers, near_links
from reconciler.observe.routes import unicast_routes
from reconciler.observe.view import NamespaceView


class HostObjects:
    """What the host's own namespace holds. Of a thousand links a change touches few: the others are not made into objects again."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._near: dict[tuple[int, int], int] = {}
        self._parts: dict[tuple[int, int], Keyed] = {}
        self._all: Union[tuple[int, int], Key, Seen] = Union()
        self._last: tuple[NamespaceView, Table[tuple[int, int], Peer], Table[Key, Seen]] | None = None

    def __call__(self, host: NamespaceView, peers: Table[tuple[int, int], Peer]) -> Table[Key, Seen]:
        """peers: far ends by the host's number for their namespace, and index."""
        before = self._last
        if before is None or before[0] is not host or before[1] is not peers:
            touched = self._take({link.ifindex: link for link in host.links})
            far = peers.changed_since(before[1]) if before is not None else frozenset()
            touched |= {self._near[place] for place in far if place in self._near}
            self._make(touched, host, peers)
            self._last = (host, peers, self._all(self._parts))
        assert self._last is not None
        return self._last[2]

    def _take(self, links: dict[int, Link]) -> set[int]:
        """Have these links; return those whose objects are others than before, as far as the links tell."""
        before, self._links = self._links, links
        changed = {ifindex for ifindex, link in links.items() if before.get(ifindex) is not link}
        changed |= before.keys() - links.keys()
        renamed = set()
        for ifindex in changed:
            was, now = before.get(ifindex), links.get(ifindex)
            if was is None or now is None or was.ifname != now.ifname:
                renamed.add(ifindex)
            if was is not None and self._near.get((was.peer_nsid, was.peer)) == ifindex:
                del self._near[was.peer_nsid, was.peer]
        for ifindex in changed & links.keys():
            if links[ifindex].kind == "veth":
                self._near[links[ifindex].peer_nsid, links[ifindex].peer] = ifindex
        # The objects of ports and of what sits on a link have its name.
        return changed | {i for i, link in links.items() if link.master in renamed or link.peer in renamed}

    def _make(self, touched: set[int], host: NamespaceView, peers: Peers) -> None:
        names = _Names(self._links)
        made = {
            (0, ifindex): keyed(near_links(HOST, (self._links[ifindex],), names, peers))
            for ifindex in touched & self._links.keys()
        }
        gone = {(0, ifindex) for ifindex in touched - self._links.keys()}
        own_names = {entry.ifindex: names[entry.ifindex] for entry in host.addresses if names.is_own(entry.ifindex)}
        made[1, 0] = keyed(link_addresses(HOST, host.addresses, own_names))
        made[2, 0] = keyed(unicast_routes(HOST, host.routes, names))
        self._parts = {name: part for name, part in (self._parts | made).items() if name not in gone}


class _Names(Mapping[int, str]):
    """The names of links by index, without a table of them."""

    def __init__(self, links: Mapping[int, Link]) -> None:
        self._links = links

    def __getitem__(self, ifindex: int) -> str:
        return self._links[ifindex].ifname

    def __iter__(self) -> Iterator[int]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def is_own(self, ifindex: int) -> bool:
        link = self._links.get(ifindex)
        return link is not None and link.is_ours
