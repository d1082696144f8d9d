"""VLAN links, which macvlan and ipvlan networks with a tagged parent sit on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from reconciler.errors import kernel_error
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import NetlinkRequest, attributes, u16
from reconciler.kinds.ipv6 import ipv6_of, set_parent_up
from reconciler.kinds.links import check_on_parent, foreign, found_link, needed_link, own_link
from reconciler.kinds.row import SeenInLink, scripted
from reconciler.kinds.scripts import Ask, Script
from reconciler.kinds.view import Links, Peers, name_of
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Seen, Vlan

_IFLA_VLAN_ID: Final = 1


def new_vlan(ifname: str, parent: int, vlan_id: int) -> NetlinkRequest:
    """Make a VLAN link in our group, down, beside its parent and with its MTU."""
    from reconciler.kernel.rare import new_rare_link

    return new_rare_link("vlan", ("IFLA_IFNAME", ifname), ("IFLA_LINK", parent), data=[("IFLA_VLAN_ID", vlan_id)])


def vlan_id(link: Link) -> int:
    """Read what the dump of a VLAN link carried. Raises CodecError."""
    return u16(link.data, attributes(link.data, 0, len(link.data)).get(_IFLA_VLAN_ID))


def observe(ns: NsRef, link: Link, links: Links, _: Peers) -> Iterator[Seen]:
    vlan = Vlan(
        ns=ns,
        ifname=link.ifname,
        parent=name_of(links, link.peer) if link.peer_nsid == NSID_NOT_ASSIGNED else "",
        vlan_id=vlan_id(link),
        has_ipv6=ipv6_of(link).is_on,
        is_up=link.is_up,
    )
    yield Seen(vlan, is_ours=True)


def create(vlan: Vlan, namespaces: Namespaces) -> Script:
    what = f"create {vlan.describe()}"
    parent = yield from needed_link(vlan.ns, vlan.parent, what)
    reply = yield Ask(vlan.ns, new_vlan(vlan.ifname, parent.ifindex, vlan.vlan_id))
    if reply.errno == errno.EEXIST:
        found = yield from found_link(vlan.ns, vlan.ifname, what)
        if found is None:
            raise kernel_error(
                errno.EEXIST, what, f"{vlan.parent} has VLAN {vlan.vlan_id} under another name; name that"
            )
        if not found.is_ours or (found.kind, found.peer) != ("vlan", parent.ifindex) or vlan_id(found) != vlan.vlan_id:
            raise foreign(found, vlan.ns)
    else:
        check_on_parent(reply, vlan, parent, what)
    yield from set_parent_up(vlan.ns, vlan.ifname, namespaces, what, has_ipv6=vlan.has_ipv6)


def update(_: Vlan, vlan: Vlan, namespaces: Namespaces) -> Script:
    what = f"update {vlan.describe()}"
    yield from own_link(vlan.ns, vlan.ifname, what)
    yield from set_parent_up(vlan.ns, vlan.ifname, namespaces, what, has_ipv6=vlan.has_ipv6)


ROWS = (scripted(Vlan, seen=SeenInLink(observe), create=create, update=update, remove=None),)
