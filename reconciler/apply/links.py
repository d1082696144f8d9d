"""Scripts that make, change and delete bridges and veth pairs."""

from __future__ import annotations

import errno

from reconciler.apply.ipv6 import set_ipv6
from reconciler.apply.scripts import (
    Ask,
    Script,
    change,
    check,
    foreign,
    found_link,
    needed_link,
    own_link,
)
from reconciler.errors import NameConflict
from reconciler.kernel.links import ADDR_GEN_EUI64, ADDR_GEN_NONE, Change, Link, new_veth
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.sysctl import write_sysctl
from reconciler.model.objects import Bridge, LinkUp, VethPair


def create_bridge(bridge: Bridge, namespaces: Namespaces) -> Script:
    """Make it down, then give it what must be set before it comes up."""
    from reconciler.kernel.rare import new_bridge

    what = f"create {bridge.describe()}"
    reply = yield Ask(bridge.ns, new_bridge(bridge.ifname, bridge.mac))
    if reply.errno == errno.EEXIST:
        yield from _check_is_our_bridge(bridge, what)
    else:
        check(reply, what)
    set_ipv6(bridge.ns, bridge.ifname, namespaces, is_on=bridge.has_ipv6)
    wanted = Change(
        is_up=bridge.is_up,
        mac=bridge.mac,
        mtu=bridge.mtu,
        address_generation=_address_generation(bridge),
        promotes_secondaries=True,
        alias=bridge.mark,
    )
    yield from change(bridge.ns, bridge.ifname, wanted, what)


def update_bridge(before: Bridge, after: Bridge, namespaces: Namespaces) -> Script:
    what = f"update {after.describe()}"
    link = yield from own_link(after.ns, after.ifname, what)
    wanted = Change(
        is_up=after.is_up if before.is_up != after.is_up else None,
        mac=after.mac if before.mac != after.mac else None,
        mtu=after.mtu if before.mtu != after.mtu else None,
        address_generation=_address_generation(after) if before.has_link_local != after.has_link_local else None,
        alias=after.mark if before.mark != after.mark else None,
    )
    if _ipv6_differs(before, after):
        set_ipv6(after.ns, after.ifname, namespaces, is_on=after.has_ipv6)
    yield from change(after.ns, link.ifindex, wanted, what)
    if before.mtu != after.mtu:  # a larger one may have brought IPv6 to the link, with the kernel's own settings
        set_ipv6(after.ns, after.ifname, namespaces, is_on=after.has_ipv6)
    if after.has_link_local and not before.has_link_local:
        # Netlink only notes the mode (inet6_set_link_af); the setting makes the address at once (addrconf_sysctl_addr_gen_mode),
        # provided that it changes something.
        with namespaces.enter(after.ns):
            path = f"net/ipv6/conf/{after.ifname}/addr_gen_mode"
            write_sysctl(path, str(ADDR_GEN_NONE))
            write_sysctl(path, str(ADDR_GEN_EUI64))


def create_veth(pair: VethPair, namespaces: Namespaces) -> Script:
    """Make the pair in one message; a second one sets up the near side. The peer comes up as a `LinkUp`."""
    what = f"create {pair.describe()}"
    master = yield from needed_link(pair.ns, pair.master, what)
    peer_ns_fd = namespaces.fd(pair.peer_ns)
    request = new_veth(pair.ifname, master.ifindex, pair.mtu, peer_ns_fd, pair.peer_ifname, pair.peer_mac)
    reply = yield Ask(pair.ns, request)
    if reply.errno == errno.EEXIST:
        yield from _check_is_our_pair(pair, what)
        yield from _set_pair(pair, what)
        return
    check(reply, what)
    wanted = Change(
        is_up=pair.is_up,
        is_hairpin=True if pair.is_hairpin else None,
        address_generation=ADDR_GEN_NONE,
    )
    yield from change(pair.ns, pair.ifname, wanted, what)


def update_veth(_: VethPair, pair: VethPair, __: Namespaces) -> Script:
    """Set everything that can change in place; where the peer is and its name cannot."""
    return _set_pair(pair, f"update {pair.describe()}")


def set_link_up(link: LinkUp, _: Namespaces) -> Script:
    """Bring a link of a sandbox up. One of ours from then on keeps its other addresses when it loses one."""
    wanted = Change(is_up=True, promotes_secondaries=link.ifname != "lo")
    return change(link.ns, link.ifname, wanted, f"set {link.describe()}")


def _set_pair(pair: VethPair, what: str) -> Script:
    near = yield from own_link(pair.ns, pair.ifname, what)
    # Whoever is inside may have changed the peer's group; that it is joined to ours says as much.
    peer = yield from needed_link(pair.peer_ns, pair.peer_ifname, what)
    if not _are_joined(near, peer):
        raise foreign(peer, pair.peer_ns)
    master = yield from needed_link(pair.ns, pair.master, what)
    is_renumbered = peer.mac != pair.peer_mac
    if is_renumbered or peer.mtu != pair.mtu:
        yield from change(pair.peer_ns, peer.ifindex, Change(mtu=pair.mtu, mac=pair.peer_mac), what)
    wanted = Change(
        is_up=pair.is_up,
        mtu=pair.mtu if near.mtu != pair.mtu else None,
        master=master.ifindex if near.master != master.ifindex else None,
        address_generation=ADDR_GEN_NONE,
    )
    yield from change(pair.ns, near.ifindex, wanted, what)
    # Only a port has these settings, and a link is one from the message before this one on. The MAC of before may be another
    # endpoint's by now, even on another host: the bridge must not go on sending its frames here until it forgets by itself.
    port = Change(is_hairpin=pair.is_hairpin, forgets_neighbours=is_renumbered)
    yield from change(pair.ns, near.ifindex, port, what)


def _check_is_our_bridge(bridge: Bridge, what: str) -> Script:
    link = yield from needed_link(bridge.ns, bridge.ifname, what)
    if not link.is_ours or link.kind != "bridge":
        raise foreign(link, bridge.ns)


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


def _ipv6_differs(before: Bridge, after: Bridge) -> bool:
    return (before.has_ipv6, before.heeds_routers) != (after.has_ipv6, after.heeds_routers)


def _address_generation(bridge: Bridge) -> int:
    return ADDR_GEN_EUI64 if bridge.has_link_local else ADDR_GEN_NONE
