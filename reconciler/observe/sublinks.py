"""From dumped macvlan and ipvlan links to the objects that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kernel.sublinks import ipvlan_mode, macvlan_mode
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Ipvlan, Macvlan, Seen
from reconciler.model.observed import Keyed, keyed

KINDS = ("macvlan", "ipvlan")


def own_sublinks(links: Iterable[Link]) -> tuple[Link, ...]:
    return tuple(link for link in links if link.is_ours and link.kind in KINDS)


def sublink_objects(ns: NsRef, links: Sequence[Link], host_nsid: int, parents: Sequence[str]) -> Keyed:
    """Return those of ours in a sandbox. host_nsid: its number for the host's namespace; parents: names of what they sit on."""
    return keyed(_sublinks(ns, links, host_nsid, parents))


def _sublinks(ns: NsRef, links: Sequence[Link], host_nsid: int, parents: Sequence[str]) -> Iterator[Seen]:
    for link, name in zip(links, parents, strict=True):
        is_on_host = link.peer_nsid != NSID_NOT_ASSIGNED and link.peer_nsid == host_nsid
        parent = name if is_on_host else ""
        yield Seen(_macvlan(ns, link, parent) if link.kind == "macvlan" else _ipvlan(ns, link, parent), is_ours=True)


def _macvlan(ns: NsRef, link: Link, parent: str) -> Macvlan:
    return Macvlan(ns=ns, ifname=link.ifname, parent=parent, mode=macvlan_mode(link), mac=link.mac, mtu=link.mtu)


def _ipvlan(ns: NsRef, link: Link, parent: str) -> Ipvlan:
    mode, flag = ipvlan_mode(link)
    return Ipvlan(ns=ns, ifname=link.ifname, parent=parent, mode=mode, flag=flag, mtu=link.mtu)
