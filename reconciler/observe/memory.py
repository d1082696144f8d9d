"""What was seen before, so that a process that stays looks again only where something may have changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from msgspec import Struct, field

from reconciler.facts import Records
from reconciler.incremental import Union
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kernel.neighbours import NeighbourDecoder, NeighbourEntry, dump_fdb, dump_neighbours
from reconciler.kernel.netlink import RouteSocket
from reconciler.last_answer import LastAnswer
from reconciler.model.containers import ContainerAnswer
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import FdbEntry, Key, Neighbour, Seen
from reconciler.model.observed import Keyed, Named, SandboxFact, keyed
from reconciler.model.plan import Operation
from reconciler.model.wanted import WantedState
from reconciler.observe.addresses import link_addresses
from reconciler.observe.firewall import FirewallView
from reconciler.observe.links import Peer, Peers, near_links
from reconciler.observe.records import decode_records
from reconciler.observe.routes import unicast_routes
from reconciler.observe.view import View


class Glimpse(Struct, frozen=True, kw_only=True):
    """What one look into a namespace gave.

    asked: the settings that it was asked for. peers: far ends found there, each with the namespace of the near end, that one's
    number for this namespace, and the index. sublinks: our macvlan and ipvlan links there, host_nsid its number for the host.
    """

    fact: SandboxFact
    asked: frozenset[str] = frozenset()
    seen: Keyed = field(default_factory=dict)
    peers: tuple[tuple[NsRef, tuple[int, int], Peer], ...] = ()
    sublinks: tuple[Link, ...] = ()
    host_nsid: int = NSID_NOT_ASSIGNED


class Overlay(Struct, frozen=True, kw_only=True):
    """The namespace of an overlay network. objects: what is in there, told the far ends of its pairs."""

    ns: NsRef
    seen: View
    objects: LastAnswer[[Peers], Keyed]


class Entries:
    """The entries in one namespace. Of thousands a change touches few: the others are neither read nor made into objects again."""

    def __init__(self) -> None:
        self._told: Mapping[bytes, NeighbourEntry | None] = {}
        self._known: dict[int, tuple[NeighbourEntry, str, tuple[Key, Seen]]] = {}

    def read(self, socket: RouteSocket) -> tuple[NeighbourEntry, ...]:
        """Ask the kernel; what has not changed is the same value as before."""
        decode = NeighbourDecoder(self._told)
        found = (*socket.dump(dump_neighbours(), decode), *socket.dump(dump_fdb(), decode))
        self._told = decode.told
        return found

    def objects(self, ns: NsRef, seen: View) -> Keyed:
        """Give the entries on our VXLAN devices; whoever made them, they are on a link of ours."""
        names = {ifindex: link.ifname for ifindex, link in seen.vxlans().items()}
        known, self._known = self._known, {}
        for entry in seen.neighbours:
            ifname = names.get(entry.ifindex)
            if ifname is None:
                continue
            before = known.get(id(entry))
            if before is None or before[0] is not entry or before[1] != ifname:
                made = _entry(ns, ifname, entry)
                if made is None:
                    continue
                before = (entry, ifname, (made.key, Seen(made, is_ours=True)))
            self._known[id(entry)] = before
        return dict(found for _, _, found in self._known.values())


def _entry(ns: NsRef, ifname: str, entry: NeighbourEntry) -> FdbEntry | Neighbour | None:
    if entry.is_fdb:
        return FdbEntry(ns=ns, ifname=ifname, mac=entry.mac, vtep=entry.address)
    return None if entry.address is None else Neighbour(ns=ns, ifname=ifname, address=entry.address, mac=entry.mac)


class HostObjects:
    """What the host's own namespace holds. Of a thousand links a change touches few: the others are not made into objects again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[Link, Peer | None, str, str], Keyed]] = {}

    def __call__(self, host: View, peers: Peers) -> Keyed:
        names = host.names()
        known, self._known = self._known, {}
        for link in host.links:
            peer = peers.get((link.peer_nsid, link.peer))
            basis = (link, peer, names.get(link.master, ""), names.get(link.peer, ""))
            before = known.get(link.ifindex)
            if before is None or before[0] != basis:
                before = (basis, keyed(near_links(HOST, (link,), names, peers)))
            self._known[link.ifindex] = before
        links = chain.from_iterable(found.items() for _, found in self._known.values())
        addresses = link_addresses(HOST, host.addresses, host.own_names())
        return {**dict(links), **keyed(chain(addresses, unicast_routes(HOST, host.routes, names)))}


class Memory(Struct):
    """Kept from pass to pass; a new one remembers nothing, so that everything is looked at.

    host: the host's own namespace. stale_links: of the host, by index, to be looked at again with its addresses and routes; None:
    its view is as new. sandboxes: those that attachments name. others: namespaces under other names, by name and
    inode, with what was found in them. overlays: the same for namespaces with names of overlay networks, None for those of others.
    entries: what the entries in those came to; never stale, so never forgotten.
    files: all sandbox files, and for whom they were looked up. containers: what their engine said, by the name that the specs call
    each by. container_files: those of theirs that hold our text. firewall: our tables on the host and in the namespaces of overlay
    networks; touched_elements: what was done to them since. name_server: the process of the name server
    that answered last, 0 when none did. revision: commit and dirty flag of the specs, and what they wanted then; asked for in a
    cluster only. records: reads what the host's own store holds.
    """

    host: View | None = None
    stale_links: frozenset[int] | None = None
    sandboxes: dict[NsRef, Glimpse] = field(default_factory=dict)
    others: dict[tuple[str, int], Glimpse] = field(default_factory=dict)
    overlays: dict[tuple[str, int], Overlay | None] = field(default_factory=dict)
    entries: dict[tuple[str, int], Entries] = field(default_factory=dict)
    files: tuple[Mapping[str, str], Keyed] | None = None
    containers: dict[str, ContainerAnswer] = field(default_factory=dict)
    container_files: Keyed | None = None
    firewall: dict[Named, FirewallView] = field(default_factory=dict)
    touched_elements: list[Operation] = field(default_factory=list)
    all_firewalls: Union[Named, Key, Seen] = field(default_factory=Union)
    name_server: int = 0
    revision: tuple[WantedState, tuple[str, bool]] | None = None
    records: LastAnswer[[Mapping[str, str]], Records] = field(default_factory=lambda: LastAnswer(decode_records))
    host_objects: LastAnswer[[View, Peers], Keyed] = field(default_factory=lambda: LastAnswer(HostObjects().__call__))

    def forget(self, namespaces: Iterable[NsRef]) -> None:
        """Look again into these at the next occasion. What is not remembered is fine."""
        for ns in namespaces:
            if ns == HOST:
                self.host = None
            else:
                self.sandboxes.pop(ns, None)
                self.others = {key: found for key, found in self.others.items() if f"netns:{key[0]}" != ns}
                self.overlays = {key: found for key, found in self.overlays.items() if f"netns:{key[0]}" != ns}

    def forget_touched(self, operations: Sequence[Operation]) -> None:
        """Look again where these took place."""
        self.forget({ns for operation in operations for ns in operation.namespaces()})
        for operation in operations:
            part = operation.object.traits.memory
            if part == "firewall":
                self.touched_elements.append(operation)
            elif part:
                setattr(self, part, None)

    def forget_host_links(self, links: frozenset[int]) -> None:
        """Look again at these links of the host, and at its addresses and routes."""
        self.stale_links = links | (self.stale_links or frozenset())

    def forget_containers(self, names: Collection[str]) -> None:
        """Ask for these again, and look into their namespaces and files."""
        if names:
            self.container_files = None
            self.forget(NsRef(f"container:{name}") for name in names)
            self.containers = {name: found for name, found in self.containers.items() if name not in names}

    def forget_all(self) -> None:
        self.host = self.files = self.container_files = self.revision = None
        self.firewall.clear()
        self.containers.clear()
        self.sandboxes.clear()
        self.others.clear()
        self.overlays.clear()
