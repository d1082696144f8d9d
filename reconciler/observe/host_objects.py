"""From the host's own namespace to the objects that are in it."""

from __future__ import annotations

from reconciler.incremental import Table, Union
from reconciler.kinds.registry import objects_in_link, objects_in_view
from reconciler.kinds.row import Where
from reconciler.kinds.view import Links, NamespaceView, Peer, Peers
from reconciler.model.identifiers import HOST, is_own_parent_name
from reconciler.model.objects import Key, Seen
from reconciler.model.observed import Keyed, keyed


class HostObjects:
    """What the host's own namespace holds. Of a thousand links a change touches few: the others are not made into objects again."""

    def __init__(self) -> None:
        self._links: Links = {}
        self._near: dict[tuple[int, int], int] = {}
        self._parts: dict[tuple[int, int], Keyed] = {}
        self._all: Union[tuple[int, int], Key, Seen] = Union()
        self._last: tuple[NamespaceView, Table[tuple[int, int], Peer], Table[Key, Seen]] | None = None

    def __call__(self, host: NamespaceView, peers: Table[tuple[int, int], Peer]) -> Table[Key, Seen]:
        """peers: far ends by the host's number for their namespace, and index."""
        before = self._last
        if before is None or before[0] is not host or before[1] is not peers:
            touched = self._take(host.by_index)
            far = peers.changed_since(before[1]) if before is not None else frozenset()
            touched |= {self._near[place] for place in far if place in self._near}
            self._make(touched, host, peers)
            self._last = (host, peers, self._all(self._parts))
        assert self._last is not None
        return self._last[2]

    def _take(self, links: Links) -> set[int]:
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
        # The objects of ports and of what sits on a link have its name; those of a dead end tell whether it has ports.
        named = {i for i, link in links.items() if link.master in renamed or link.peer in renamed}
        masters = {link.master for side in (before, links) for i in changed if (link := side.get(i)) is not None}
        return changed | named | {i for i in masters & links.keys() if is_own_parent_name(links[i].ifname)}

    def _make(self, touched: set[int], host: NamespaceView, peers: Peers) -> None:
        made = {
            (0, ifindex): keyed(objects_in_link(HOST, self._links[ifindex], self._links, peers))
            for ifindex in touched & self._links.keys()
        }
        gone = {(0, ifindex) for ifindex in touched - self._links.keys()}
        made[1, 0] = keyed(objects_in_view(Where.HOST, HOST, host))
        self._parts = {name: part for name, part in (self._parts | made).items() if name not in gone}
