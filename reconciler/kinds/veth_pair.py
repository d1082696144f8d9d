"""Veth pairs, by which sandboxes are on bridges."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EEXIST
from typing import Final

from reconciler.errors import NameConflict
from reconciler.kernel.links import (
    ADDR_GEN_NONE,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    OUR_GROUP,
    Link,
    LinkChange,
    new_link,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import NetlinkRequest, attribute, mac_attribute, text_attribute, u32_attribute
from reconciler.kinds.links import change, foreign, found_link, needed_link, own_link
from reconciler.kinds.row import SeenInLink, scripted
from reconciler.kinds.scripts import Ask, Script, check
from reconciler.kinds.view import Links, Peer, Peers, name_of
from reconciler.model.identifiers import UNKNOWN_NS, NsRef
from reconciler.model.objects import Seen, VethPair

_VETH_INFO_PEER: Final = 1

_ENDS_DIFFER: Final = 0
"""As the MTU of a pair: never what is wanted, and the change sets both ends."""

_NO_PEER: Final = Peer(ns=UNKNOWN_NS, link=Link(0, "", "", False, "", 0, 0, 0, 0, -1, False, "", b""))


def new_veth(ifname: str, master: int, mtu: int, peer_ns_fd: int, peer_ifname: str, peer_mac: str) -> NetlinkRequest:
    """Make a veth pair in our group, near side a port of link `master` and down, the peer in the namespace behind `peer_ns_fd`.

    Neither end can come up in this message: the kernel opens the peer before the two are joined (ENOTCONN), and the near
    side must first be told not to make itself an address, which is no part of creation (EAFNOSUPPORT).
    """
    mtu_attribute = u32_attribute(IFLA_MTU, mtu)
    peer = (
        IFINFO.pack(0, 0, 0, 0, 0)
        + text_attribute(IFLA_IFNAME, peer_ifname)
        + mac_attribute(IFLA_ADDRESS, peer_mac)
        + mtu_attribute
        + OUR_GROUP
        + u32_attribute(IFLA_NET_NS_FD, peer_ns_fd)
    )
    near = text_attribute(IFLA_IFNAME, ifname) + mtu_attribute + u32_attribute(IFLA_MASTER, master)
    return new_link(b"veth", near, attribute(_VETH_INFO_PEER, peer))


def observe(ns: NsRef, link: Link, links: Links, peers: Peers) -> Iterator[Seen]:
    peer = peers.get((link.peer_nsid, link.peer), _NO_PEER)
    pair = VethPair(
        ns=ns,
        ifname=link.ifname,
        master=name_of(links, link.master),
        mtu=link.mtu if peer is _NO_PEER or peer.link.mtu == link.mtu else _ENDS_DIFFER,
        peer_ns=peer.ns,
        peer_ifname=peer.link.ifname,
        peer_mac=peer.link.mac,
        is_hairpin=link.is_hairpin,
        is_up=link.is_up,
    )
    yield Seen(pair, is_ours=True)


def create(pair: VethPair, namespaces: Namespaces) -> Script:
    """Make the pair in one message; a second one sets up the near side. The peer comes up as a `LinkUp`."""
    what = f"create {pair.describe()}"
    master = yield from needed_link(pair.ns, pair.master, what)
    peer_ns_fd = namespaces.fd(pair.peer_ns)
    request = new_veth(pair.ifname, master.ifindex, pair.mtu, peer_ns_fd, pair.peer_ifname, pair.peer_mac)
    reply = yield Ask(pair.ns, request)
    if reply.errno == EEXIST:
        yield from _check_is_our_pair(pair, what)
        yield from _set_pair(pair, what)
        return
    check(reply, what)
    wanted = LinkChange(
        is_up=pair.is_up,
        is_hairpin=True if pair.is_hairpin else None,
        address_generation=ADDR_GEN_NONE,
    )
    yield from change(pair.ns, pair.ifname, wanted, what)


def update(_: VethPair, pair: VethPair, __: Namespaces) -> Script:
    """Set everything that can change in place; where the peer is and its name cannot."""
    return _set_pair(pair, f"update {pair.describe()}")


def _set_pair(pair: VethPair, what: str) -> Script:
    near = yield from own_link(pair.ns, pair.ifname, what)
    # Whoever is inside may have changed the peer's group; that it is joined to ours says as much.
    peer = yield from needed_link(pair.peer_ns, pair.peer_ifname, what)
    if not _are_joined(near, peer):
        raise foreign(peer, pair.peer_ns)
    master = yield from needed_link(pair.ns, pair.master, what)
    is_renumbered = peer.mac != pair.peer_mac
    if is_renumbered or peer.mtu != pair.mtu:
        yield from change(pair.peer_ns, peer.ifindex, LinkChange(mtu=pair.mtu, mac=pair.peer_mac), what)
    wanted = LinkChange(
        is_up=pair.is_up,
        mtu=pair.mtu if near.mtu != pair.mtu else None,
        master=master.ifindex if near.master != master.ifindex else None,
        address_generation=ADDR_GEN_NONE,
    )
    yield from change(pair.ns, near.ifindex, wanted, what)
    # Only a port has these settings, and a link is one from the message before this one on. The MAC of before may be another
    # endpoint's by now, even on another host: the bridge must not go on sending its frames here until it forgets by itself.
    port = LinkChange(is_hairpin=pair.is_hairpin, forgets_neighbours=is_renumbered)
    yield from change(pair.ns, near.ifindex, port, what)


def _check_is_our_pair(pair: VethPair, what: str) -> Script:
    """Find out which of the two names is taken, and whether by just this pair."""
    near = yield from found_link(pair.ns, pair.ifname, what)
    peer = yield from found_link(pair.peer_ns, pair.peer_ifname, what)
    if near is not None and not near.is_ours:
        raise foreign(near, pair.ns)
    if peer is not None and not peer.is_ours:
        raise foreign(peer, pair.peer_ns)
    if near is None or peer is None or not _are_joined(near, peer):
        taken, where = (pair.ifname, "the host") if near is not None else (pair.peer_ifname, pair.peer_ns)
        raise NameConflict(
            f"{what}: link {taken} in {where} belongs to another pair of ours; the next pass looks again"
        )


def _are_joined(near: Link, peer: Link) -> bool:
    return near.kind == peer.kind == "veth" and near.peer == peer.ifindex and peer.peer == near.ifindex


ROWS = (scripted(VethPair, seen=SeenInLink(observe), create=create, update=update, remove=None),)
