"""Looking into the namespaces that overlay networks have on this host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from reconciler.errors import ReconcilerError
from reconciler.kernel.links import Link
from reconciler.kernel.neighbours import NeighbourEntry, decode_neighbour, dump_fdb, dump_neighbours
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.vxlan import vxlan_data
from reconciler.last_answer import LastAnswer
from reconciler.model.identifiers import OVERLAY_PREFIX, NsRef
from reconciler.model.objects import FdbEntry, Namespace, Neighbour, Seen, Vxlan
from reconciler.observe.addresses import link_addresses
from reconciler.observe.links import Peers, near_links
from reconciler.observe.memory import Keyed, Overlay, View, keyed
from reconciler.observe.sandboxes import view
from reconciler.observe.sysctls import forwarding_sysctls

_NAMED = "netns:"

Named = tuple[str, int]
"""Name and inode of a namespace."""


def look_into_overlays(namespaces: Namespaces, known: Mapping[Named, Overlay | None]) -> dict[Named, Overlay | None]:
    """Look into every namespace with such a name, None for one that this instance did not make.

    known: what is remembered of earlier looks. Never raises for one of them: what is gone meanwhile is left out.
    """
    found: dict[Named, Overlay | None] = {}
    for name in namespaces.names(OVERLAY_PREFIX):
        ns = NsRef(f"{_NAMED}{name}")
        named = (name, namespaces.present_inode(ns))
        try:
            found[named] = known[named] if named in known else _overlay(namespaces, ns)
        except ReconcilerError:
            continue
    return found


def _overlay(namespaces: Namespaces, ns: NsRef) -> Overlay | None:
    if not namespaces.is_made_by_us(ns):
        namespaces.forget(ns)
        return None
    socket = namespaces.socket(ns)
    neighbours = (*socket.dump(dump_neighbours(), decode_neighbour), *socket.dump(dump_fdb(), decode_neighbour))
    seen = replace(view(namespaces, ns), neighbours=neighbours)
    settings = tuple(forwarding_sysctls(namespaces, ns))
    return Overlay(ns=ns, seen=seen, objects=LastAnswer(partial(_objects, ns, seen, settings)))


def _objects(ns: NsRef, seen: View, settings: tuple[Seen, ...], peers: Peers) -> Keyed:
    return keyed((*overlay_objects(ns, seen, peers), *settings))


def overlay_objects(ns: NsRef, seen: View, peers: Peers) -> Iterator[Seen]:
    """Give everything of ours in such a namespace, and the foreign links that may be in its way."""
    yield Seen(Namespace(ns=ns, name=ns.removeprefix(_NAMED)), is_ours=True)
    devices = {link.ifindex: link for link in seen.links if link.is_ours and link.kind == "vxlan"}
    names = seen.names()
    yield from (Seen(_vxlan(ns, link, names), is_ours=True) for link in devices.values())
    yield from near_links(ns, (link for link in seen.links if link.ifindex not in devices), names, peers)
    yield from link_addresses(ns, seen.addresses, seen.own_names())
    yield from _entries(ns, seen.neighbours, {ifindex: link.ifname for ifindex, link in devices.items()})


def _vxlan(ns: NsRef, link: Link, names: Mapping[int, str]) -> Vxlan:
    data = vxlan_data(link)
    return Vxlan(
        ns=ns,
        ifname=link.ifname,
        master=names.get(link.master, ""),
        vni=data.vni,
        local=data.local,
        port=data.port,
        mtu=link.mtu,
        is_learning=data.is_learning,
        is_proxy=data.is_proxy,
        is_up=link.is_up,
    )


def _entries(ns: NsRef, entries: Iterable[NeighbourEntry], devices: Mapping[int, str]) -> Iterator[Seen]:
    """Give the entries on our VXLAN devices; whoever made them, they are on a link of ours."""
    for entry in entries:
        ifname = devices.get(entry.ifindex)
        if ifname is None:
            continue
        if entry.is_fdb:
            yield Seen(FdbEntry(ns=ns, ifname=ifname, mac=entry.mac, vtep=entry.address), is_ours=True)
        elif entry.address is not None:
            yield Seen(Neighbour(ns=ns, ifname=ifname, address=entry.address, mac=entry.mac), is_ours=True)
