"""Macvlan and ipvlan links of sandboxes, which sit on a link of the host (linux/if_link.h)."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final

from reconciler.errors import NameConflict
from reconciler.kernel.links import (
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_LINK,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    NSID_NOT_ASSIGNED,
    Link,
    LinkChange,
    new_link,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import (
    NetlinkRequest,
    attribute,
    attributes,
    mac_attribute,
    text_attribute,
    u16,
    u32,
    u32_attribute,
)
from reconciler.kinds.links import change, check_on_parent, foreign, needed_link, own_link
from reconciler.kinds.row import SeenApart, scripted
from reconciler.kinds.scripts import Ask, Script
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Ipvlan, Macvlan, Seen
from reconciler.model.observed import Keyed, keyed

_IFLA_MACVLAN_MODE: Final = 1
_IFLA_IPVLAN_MODE: Final = 1
_IFLA_IPVLAN_FLAGS: Final = 2

_MACVLAN_MODES: Final = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES: Final = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS: Final = {"bridge": 0, "private": 1, "vepa": 2}
UNKNOWN: Final = "?"
"""A mode that is none of these."""

_U16: Final = Struct("=H")

Sublink = Macvlan | Ipvlan


def new_sublink(link: Sublink, parent: int, ns_fd: int) -> NetlinkRequest:
    """Make it in our group, down: on the link `parent` of the socket's namespace, inside the namespace behind `ns_fd`.

    In mode passthru a macvlan takes its parent's MAC address whatever is said here (macvlan_common_newlink). The mode of an ipvlan
    becomes that of all on the same parent.
    """
    if isinstance(link, Macvlan):
        kind, address = b"macvlan", mac_attribute(IFLA_ADDRESS, link.mac)
        data = u32_attribute(_IFLA_MACVLAN_MODE, _MACVLAN_MODES[link.mode])
    else:
        kind, address = b"ipvlan", b""
        data = attribute(_IFLA_IPVLAN_MODE, _U16.pack(_IPVLAN_MODES[link.mode]))
        data += attribute(_IFLA_IPVLAN_FLAGS, _U16.pack(_IPVLAN_FLAGS[link.flag]))
    attributes = (
        text_attribute(IFLA_IFNAME, link.ifname)
        + address
        + u32_attribute(IFLA_MTU, link.mtu)
        + u32_attribute(IFLA_NET_NS_FD, ns_fd)
        + u32_attribute(IFLA_LINK, parent)
    )
    return new_link(kind, attributes, data)


def macvlan_mode(link: Link) -> str:
    """Read what the dump of a macvlan carried. Raises CodecError."""
    found = attributes(link.data, 0, len(link.data))
    return _name(_MACVLAN_MODES, u32(link.data, found.get(_IFLA_MACVLAN_MODE)))


def ipvlan_mode(link: Link) -> tuple[str, str]:
    """Read mode and flag from what the dump of an ipvlan link carried. Raises CodecError."""
    found = attributes(link.data, 0, len(link.data))
    mode, flag = (u16(link.data, found.get(kind)) for kind in (_IFLA_IPVLAN_MODE, _IFLA_IPVLAN_FLAGS))
    return _name(_IPVLAN_MODES, mode), _name(_IPVLAN_FLAGS, flag)


def _name(numbers: dict[str, int], number: int) -> str:
    return next((name for name, known in numbers.items() if known == number), UNKNOWN)


def own_sublinks(links: Iterable[Link]) -> tuple[Link, ...]:
    return tuple(link for link in links if link.is_ours and link.kind in ("macvlan", "ipvlan"))


def observe(ns: NsRef, links: Sequence[Link], host_nsid: int, parents: Sequence[str]) -> Keyed:
    """Return those of ours in a sandbox. host_nsid: its number for the host's namespace; parents: names of what they sit on."""
    return keyed(_sublinks(ns, links, host_nsid, parents))


def _sublinks(ns: NsRef, links: Sequence[Link], host_nsid: int, parents: Sequence[str]) -> Iterator[Seen]:
    for link, name in zip(links, parents, strict=True):
        is_on_host = link.peer_nsid != NSID_NOT_ASSIGNED and link.peer_nsid == host_nsid
        yield Seen(_sublink(ns, link, name if is_on_host else ""), is_ours=True)


def _sublink(ns: NsRef, link: Link, parent: str) -> Sublink:
    if link.kind == "macvlan":
        mode = macvlan_mode(link)
        return Macvlan(ns=ns, ifname=link.ifname, parent=parent, mode=mode, mac=link.mac, mtu=link.mtu)
    mode, flag = ipvlan_mode(link)
    return Ipvlan(ns=ns, ifname=link.ifname, parent=parent, mode=mode, flag=flag, mtu=link.mtu)


def create(link: Sublink, namespaces: Namespaces) -> Script:
    """Make it by one message from the host's namespace, already in the sandbox under its final name. It comes up as a `LinkUp`."""
    what = f"create {link.describe()}"
    parent = yield from needed_link(HOST, link.parent, what)
    reply = yield Ask(HOST, new_sublink(link, parent.ifindex, namespaces.fd(link.ns)))
    if reply.errno == errno.EEXIST:
        yield from _check_is_this(link, parent, what)
        yield from update(link, link, namespaces)
        return
    check_on_parent(reply, link, parent, what)
    if isinstance(link, Macvlan) and link.mode == "passthru":
        yield from change(link.ns, link.ifname, LinkChange(mac=link.mac), what)


def update(_: Sublink, link: Sublink, __: Namespaces) -> Script:
    """Set what can change in place: MTU and MAC address."""
    what = f"update {link.describe()}"
    found = yield from own_link(link.ns, link.ifname, what)
    mac = link.mac if isinstance(link, Macvlan) and link.mac != found.mac else None
    mtu = link.mtu if link.mtu != found.mtu else None
    if mac is not None or mtu is not None:
        yield from change(link.ns, found.ifindex, LinkChange(mac=mac, mtu=mtu), what)


def _check_is_this(link: Sublink, parent: Link, what: str) -> Script:
    """Find out whether the one that has the name is the one wanted."""
    found = yield from needed_link(link.ns, link.ifname, what)
    if not found.is_ours:
        raise foreign(found, link.ns)
    is_on_parent = found.peer == parent.ifindex and found.peer_nsid != NSID_NOT_ASSIGNED
    if found.kind != link.traits.link_kind or not is_on_parent or not _has_mode(found, link):
        raise NameConflict(f"{what}: another link of ours has the name {link.ifname}; the next pass looks again")


def _has_mode(found: Link, link: Sublink) -> bool:
    if isinstance(link, Macvlan):
        return macvlan_mode(found) == link.mode
    return ipvlan_mode(found) == (link.mode, link.flag)


ROWS = (
    scripted(Macvlan, seen=SeenApart(observe), create=create, update=update, remove=None),
    scripted(Ipvlan, seen=SeenApart(observe), create=create, update=update, remove=None),
)
