"""Scripts that make and change macvlan and ipvlan links, and what of ours they may sit on."""

from __future__ import annotations

import errno

from reconciler.apply.ipv6 import set_ipv6
from reconciler.apply.scripts import Ask, Script, change, check, foreign, found_link, needed_link, own_link
from reconciler.errors import NameConflict, kernel_error
from reconciler.kernel.links import ADDR_GEN_NONE, NSID_NOT_ASSIGNED, Change, Link
from reconciler.kernel.netlink import NetlinkMessage
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import Request
from reconciler.kernel.sublinks import SublinkPlace, ipvlan_mode, macvlan_mode, new_ipvlan, new_macvlan, vlan_id
from reconciler.model.identifiers import HOST
from reconciler.model.objects import DeadEnd, Ipvlan, Macvlan, Vlan

Sublink = Macvlan | Ipvlan

_KINDS: dict[type[Sublink | Vlan], str] = {Macvlan: "macvlan", Ipvlan: "ipvlan", Vlan: "vlan"}


def create_dead_end(end: DeadEnd, namespaces: Namespaces) -> Script:
    from reconciler.kernel.rare import new_bridge

    what = f"create {end.describe()}"
    reply = yield Ask(end.ns, new_bridge(end.ifname))
    if reply.errno == errno.EEXIST:
        found = yield from needed_link(end.ns, end.ifname, what)
        if not found.is_ours or found.kind != "bridge":
            raise foreign(found, end.ns)
    else:
        check(reply, what)
    yield from _set_up(end, namespaces, what)


def update_dead_end(_: DeadEnd, end: DeadEnd, namespaces: Namespaces) -> Script:
    what = f"update {end.describe()}"
    yield from own_link(end.ns, end.ifname, what)
    yield from _set_up(end, namespaces, what)


def _set_up(link: DeadEnd | Vlan, namespaces: Namespaces, what: str) -> Script:
    """Switch IPv6 off before it comes up, as it has a carrier at once: the host shall neither be reached by it nor heed routers."""
    set_ipv6(link.ns, link.ifname, namespaces, is_on=link.has_ipv6)
    mtu = link.mtu if isinstance(link, DeadEnd) else None
    yield from change(link.ns, link.ifname, Change(mtu=mtu, address_generation=ADDR_GEN_NONE), what)
    yield from change(link.ns, link.ifname, Change(is_up=True), what)


def create_vlan(vlan: Vlan, namespaces: Namespaces) -> Script:
    from reconciler.kernel.rare import new_vlan

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
        _check_created(reply, vlan, parent, what)
    yield from _set_up(vlan, namespaces, what)


def update_vlan(_: Vlan, vlan: Vlan, namespaces: Namespaces) -> Script:
    what = f"update {vlan.describe()}"
    yield from own_link(vlan.ns, vlan.ifname, what)
    yield from _set_up(vlan, namespaces, what)


def create_sublink(link: Sublink, namespaces: Namespaces) -> Script:
    """Make it by one message from the host's namespace, already in the sandbox under its final name. It comes up as a `LinkUp`."""
    what = f"create {link.describe()}"
    parent = yield from needed_link(HOST, link.parent, what)
    reply = yield Ask(HOST, _request(link, parent.ifindex, namespaces.fd(link.ns)))
    if reply.errno == errno.EEXIST:
        yield from _check_is_this(link, parent, what)
        yield from update_sublink(link, link, namespaces)
        return
    _check_created(reply, link, parent, what)
    if isinstance(link, Macvlan) and link.mode == "passthru":
        yield from change(link.ns, link.ifname, Change(mac=link.mac), what)


def update_sublink(_: Sublink, link: Sublink, namespaces: Namespaces) -> Script:
    """Set what can change in place: MTU and MAC address."""
    what = f"update {link.describe()}"
    found = yield from own_link(link.ns, link.ifname, what)
    mac = link.mac if isinstance(link, Macvlan) and link.mac != found.mac else None
    mtu = link.mtu if link.mtu != found.mtu else None
    if mac is not None or mtu is not None:
        yield from change(link.ns, found.ifindex, Change(mac=mac, mtu=mtu), what)


def _request(link: Sublink, parent: int, ns_fd: int) -> Request:
    place = SublinkPlace(ifname=link.ifname, parent=parent, mtu=link.mtu, ns_fd=ns_fd)
    match link:
        case Macvlan():
            return new_macvlan(place, link.mac, link.mode)
        case Ipvlan():
            return new_ipvlan(place, link.mode, link.flag)


def _check_is_this(link: Sublink, parent: Link, what: str) -> Script:
    """Find out whether the one that has the name is the one wanted."""
    found = yield from needed_link(link.ns, link.ifname, what)
    if not found.is_ours:
        raise foreign(found, link.ns)
    is_on_parent = found.peer == parent.ifindex and found.peer_nsid != NSID_NOT_ASSIGNED
    if found.kind != _KINDS[type(link)] or not is_on_parent or not _has_mode(found, link):
        raise NameConflict(f"{what}: another link of ours has the name {link.ifname}; the next pass looks again")


def _has_mode(found: Link, link: Sublink) -> bool:
    match link:
        case Macvlan():
            return macvlan_mode(found) == link.mode
        case Ipvlan():
            return ipvlan_mode(found) == (link.mode, link.flag)


def _check_created(reply: NetlinkMessage, link: Sublink | Vlan, parent: Link, what: str) -> None:
    """Put the kernel's bare numbers into words: it has none of its own for these."""
    kind = _KINDS[type(link)]
    match reply.errno:
        case errno.EOPNOTSUPP:
            option = {"vlan": "CONFIG_VLAN_8021Q"}.get(kind, f"CONFIG_{kind.upper()}")
            raise kernel_error(reply.errno, what, f"this kernel has no {kind} links ({option}); do without them")
        case errno.EBUSY:
            taken = (
                f"{parent.ifname} is in use: a port of a bridge or bond, or with links of another kind than {kind} on it; "
                "name the bridge itself, or another link"
            )
            raise kernel_error(reply.errno, what, taken)
        case errno.EINVAL:
            unfit = (
                f"{parent.ifname} bears no such link: it is no Ethernet link, has a smaller MTU, "
                "or what is on it (mode passthru) excludes others"
            )
            raise kernel_error(reply.errno, what, reply.detail or unfit)
    check(reply, what)
