"""Looking into the namespaces that overlay networks have on this host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from msgspec.structs import replace

from reconciler.errors import ReconcilerError
from reconciler.kernel.links import Link
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.vxlan import vxlan_data
from reconciler.last_answer import LastAnswer
from reconciler.model.identifiers import OVERLAY_PREFIX, NsRef
from reconciler.model.objects import Namespace, Seen, Vxlan
from reconciler.model.observed import Keyed, keyed
from reconciler.observe.addresses import link_addresses
from reconciler.observe.links import Peers, near_links
from reconciler.observe.memory import Entries, Overlay
from reconciler.observe.sandboxes import view
from reconciler.observe.sysctls import forwarding_sysctls
from reconciler.observe.view import View

_NAMED = "netns:"

Named = tuple[str, int]
"""Name and inode of a namespace."""


def look_into_overlays(
    namespaces: Namespaces, known: Mapping[Named, Overlay | None], entries: dict[Named, Entries]
) -> dict[Named, Overlay | None]:
    """Look into every namespace with such a name, None for one that this instance did not make.

    known: what is remembered of earlier looks. entries: the same of entries, brought up to date here; of use
    where `known` lacks the namespace too. Never raises for one of them: what is gone meanwhile is left out.
    """
    found: dict[Named, Overlay | None] = {}
    for name in namespaces.names(OVERLAY_PREFIX):
        ns = NsRef(f"{_NAMED}{name}")
        named = (name, namespaces.present_inode(ns))
        try:
            found[named] = (
                known[named] if named in known else _overlay(namespaces, ns, entries.setdefault(named, Entries()))
            )
        except ReconcilerError:
            continue
    for named in entries.keys() - found.keys():
        del entries[named]
    return found


def _overlay(namespaces: Namespaces, ns: NsRef, entries: Entries) -> Overlay | None:
    if not namespaces.is_made_by_us(ns):
        namespaces.forget(ns)
        return None
    seen = replace(view(namespaces, ns), neighbours=entries.read(namespaces.socket(ns)))
    found = entries.objects(ns, seen)
    settings = tuple(forwarding_sysctls(namespaces, ns))
    return Overlay(ns=ns, seen=seen, objects=LastAnswer(partial(_objects, ns, seen, found, settings)))


def _objects(ns: NsRef, seen: View, entries: Keyed, settings: tuple[Seen, ...], peers: Peers) -> Keyed:
    return {**keyed((*overlay_objects(ns, seen, peers), *settings)), **entries}


def overlay_objects(ns: NsRef, seen: View, peers: Peers) -> Iterator[Seen]:
    """Give everything of ours in such a namespace but for entries, and the foreign links that may be in its way."""
    yield Seen(Namespace(ns=ns, name=ns.removeprefix(_NAMED)), is_ours=True)
    devices, names = seen.vxlans(), seen.names()
    yield from (Seen(_vxlan(ns, link, names), is_ours=True) for link in devices.values())
    yield from near_links(ns, (link for link in seen.links if link.ifindex not in devices), names, peers)
    yield from link_addresses(ns, seen.addresses, seen.own_names())


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
