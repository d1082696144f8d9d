"""From the host's own namespace to the objects that are in it."""

from __future__ import annotations

from reconciler.incremental import Made, Table, Union
from reconciler.kernel.links import Link
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Key, Seen
from reconciler.model.observed import Keyed, keyed
from reconciler.observe.addresses import link_addresses
from reconciler.observe.links import NO_PEER, Peer, Peers, near_links
from reconciler.observe.routes import unicast_routes
from reconciler.observe.view import View


class HostObjects:
    """What the host's own namespace holds. Of a thousand links a change touches few: the others are not made into objects again."""

    def __init__(self) -> None:
        self._links: Made[int, Keyed] = Made(_link_objects)
        self._all: Union[tuple[int, int], Key, Seen] = Union()
        self._last: tuple[View, Peers, Table[Key, Seen]] | None = None

    def __call__(self, host: View, peers: Peers) -> Table[Key, Seen]:
        if self._last is None or self._last[0] is not host or self._last[1] is not peers:
            self._last = (host, peers, self._all(self._parts(host, peers)))
        return self._last[2]

    def _parts(self, host: View, peers: Peers) -> dict[tuple[int, int], Keyed]:
        names = host.names()
        links = {
            link.ifindex: (
                link,
                peers.get((link.peer_nsid, link.peer), NO_PEER),
                names.get(link.master, ""),
                names.get(link.peer, ""),
            )
            for link in host.links
        }
        parts = {(0, ifindex): found for ifindex, found in self._links(links).items()}
        own_names = {link.ifindex: link.ifname for link in host.links if link.is_ours}
        parts[1, 0] = keyed(link_addresses(HOST, host.addresses, own_names))
        parts[2, 0] = keyed(unicast_routes(HOST, host.routes, names))
        return parts


def _link_objects(link: Link, peer: Peer, master: str, lower: str) -> Keyed:
    names, peers = {link.master: master, link.peer: lower}, {(link.peer_nsid, link.peer): peer}
    return keyed(near_links(HOST, (link,), names, peers))
