"""Bridges: those of networks, and dead ends, which are bridges without ports that macvlan networks without a parent sit on.

Those of others that networks adopt are in `adopted`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from reconciler.kernel.links import ADDR_GEN_EUI64, ADDR_GEN_NONE, Link, LinkChange
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import NetlinkRequest
from reconciler.kernel.sysctl import write_sysctl
from reconciler.kinds.ipv6 import ipv6_of, set_ipv6, set_parent_up
from reconciler.kinds.links import change, foreign, needed_link, own_link
from reconciler.kinds.row import SeenInLink, scripted
from reconciler.kinds.scripts import Ask, Script, check
from reconciler.kinds.sysctl import FORWARDING_SYSCTLS, link_sysctls
from reconciler.kinds.view import Links, Peers
from reconciler.model.identifiers import NsRef, is_own_parent_name
from reconciler.model.objects import Bridge, DeadEnd, Seen


def new_bridge(ifname: str, mac: str = "") -> NetlinkRequest:
    """Make a bridge that is down, in our group. mac "": the kernel chooses one.

    Its MTU is not set here: one given on creation counts as not chosen, and the bridge would follow its ports (br_mtu_auto_adjust).
    """
    from reconciler.kernel.rare import new_rare_link

    return new_rare_link("bridge", ("IFLA_IFNAME", ifname), *([("IFLA_ADDRESS", mac)] if mac else ()))


def observe(ns: NsRef, link: Link, links: Links, _: Peers) -> Iterator[Seen]:
    if is_own_parent_name(link.ifname):
        yield Seen(_dead_end(ns, link, links), is_ours=True)
    else:
        yield Seen(_bridge(ns, link), is_ours=True)
        yield from link_sysctls(ns, link)


def observe_foreign(ns: NsRef, link: Link) -> Iterator[Seen]:
    """Yield any link that is not ours as a foreign bridge: so it gets in the way of one of ours; and what forwarding sets there."""
    yield Seen(_bridge(ns, link), is_ours=False)
    yield from link_sysctls(ns, link, FORWARDING_SYSCTLS)
    if link.kind == "bridge":  # one that is adopted, or was
        yield from link_sysctls(ns, link)


def _bridge(ns: NsRef, link: Link) -> Bridge:
    ipv6 = ipv6_of(link)
    return Bridge(
        ns=ns,
        ifname=link.ifname,
        mac=link.mac,
        mtu=link.mtu,
        has_ipv6=ipv6.is_on,
        has_link_local=ipv6.has_link_local,
        heeds_routers=ipv6.heeds_routers,
        is_up=link.is_up,
        mark=link.alias,
    )


def _dead_end(ns: NsRef, link: Link, links: Links) -> DeadEnd:
    return DeadEnd(
        ns=ns,
        ifname=link.ifname,
        mtu=link.mtu,
        has_carrier=link.has_carrier,
        has_ports=any(other.master == link.ifindex for other in links.values()),
        has_ipv6=ipv6_of(link).is_on,
        is_up=link.is_up,
    )


def create_bridge(bridge: Bridge, namespaces: Namespaces) -> Script:
    """Make it down, then give it what must be set before it comes up."""
    what = f"create {bridge.describe()}"
    yield from _make(bridge, new_bridge(bridge.ifname, bridge.mac), what)
    set_ipv6(bridge.ns, bridge.ifname, namespaces, is_on=bridge.has_ipv6)
    wanted = LinkChange(
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
    wanted = LinkChange(
        is_up=after.is_up if before.is_up != after.is_up else None,
        mac=after.mac if before.mac != after.mac else None,
        mtu=after.mtu if before.mtu != after.mtu else None,
        address_generation=_address_generation(after) if before.has_link_local != after.has_link_local else None,
        alias=after.mark if before.mark != after.mark else None,
    )
    if (before.has_ipv6, before.heeds_routers) != (after.has_ipv6, after.heeds_routers):
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


def create_dead_end(end: DeadEnd, namespaces: Namespaces) -> Script:
    what = f"create {end.describe()}"
    yield from _make(end, new_bridge(end.ifname), what)
    yield from set_parent_up(end.ns, end.ifname, namespaces, what, has_ipv6=end.has_ipv6, mtu=end.mtu)


def update_dead_end(_: DeadEnd, end: DeadEnd, namespaces: Namespaces) -> Script:
    what = f"update {end.describe()}"
    yield from own_link(end.ns, end.ifname, what)
    yield from set_parent_up(end.ns, end.ifname, namespaces, what, has_ipv6=end.has_ipv6, mtu=end.mtu)


def _make(bridge: Bridge | DeadEnd, request: NetlinkRequest, what: str) -> Script:
    """One of ours that is there already serves as well."""
    reply = yield Ask(bridge.ns, request)
    if reply.errno != errno.EEXIST:
        check(reply, what)
        return
    link = yield from needed_link(bridge.ns, bridge.ifname, what)
    if not link.is_ours or link.kind != "bridge":
        raise foreign(link, bridge.ns)


def _address_generation(bridge: Bridge) -> int:
    return ADDR_GEN_EUI64 if bridge.has_link_local else ADDR_GEN_NONE


ROWS = (
    scripted(Bridge, seen=SeenInLink(observe), create=create_bridge, update=update_bridge, remove=None),
    scripted(DeadEnd, seen=SeenInLink(observe), create=create_dead_end, update=update_dead_end, remove=None),
)
