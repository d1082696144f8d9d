"""VXLAN devices, by which overlay networks reach other hosts (linux/if_link.h)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final, NamedTuple

from reconciler.errors import kernel_error
from reconciler.kernel.links import ADDR_GEN_NONE, Link, LinkChange
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import NetlinkRequest, address_of, attributes, port, raw, u8, u32
from reconciler.kinds.links import change, foreign, found_link, needed_link, own_link
from reconciler.kinds.row import SeenInLink, scripted
from reconciler.kinds.scripts import Ask, Script, check
from reconciler.kinds.view import Links, Peers, name_of
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import IPAddress, Seen, Vxlan

_IFLA_VXLAN_ID: Final = 1
_IFLA_VXLAN_LOCAL: Final = 4
_IFLA_VXLAN_LEARNING: Final = 7
_IFLA_VXLAN_PROXY: Final = 11
_IFLA_VXLAN_PORT: Final = 15
_IFLA_VXLAN_LOCAL6: Final = 17


class VxlanData(NamedTuple):
    """What a VXLAN device is made with. local: None where routing chooses the source address."""

    vni: int
    local: IPAddress | None
    port: int
    is_learning: bool
    is_proxy: bool


def new_vxlan(ifname: str, master: int, mtu: int, ns_fd: int, data: VxlanData) -> NetlinkRequest:
    """Make a VXLAN device in our group in the namespace behind `ns_fd`, there a port of link `master`, and down.

    For a socket in the underlay: that is where the device's own socket opens and stays, so it never exists in the host's
    namespace under any name (`src_net` of vxlan_newlink in drivers/net/vxlan/vxlan_core.c). It cannot come up in this message: it
    must first be told not to make itself an address, which is no part of creation (EAFNOSUPPORT).
    """
    from reconciler.kernel.rare import new_rare_link

    local = "IFLA_VXLAN_LOCAL6" if data.local is not None and data.local.version == 6 else "IFLA_VXLAN_LOCAL"
    return new_rare_link(
        "vxlan",
        ("IFLA_IFNAME", ifname),
        ("IFLA_MTU", mtu),
        ("IFLA_MASTER", master),
        ("IFLA_NET_NS_FD", ns_fd),
        data=[
            ("IFLA_VXLAN_ID", data.vni),
            *([(local, str(data.local))] if data.local is not None else ()),
            ("IFLA_VXLAN_PORT", data.port),
            ("IFLA_VXLAN_LEARNING", data.is_learning),
            ("IFLA_VXLAN_PROXY", data.is_proxy),
        ],
    )


def vxlan_data(link: Link) -> VxlanData:
    """Read what the dump of a VXLAN device carried. Raises CodecError."""
    data = link.data
    found = attributes(data, 0, len(data))
    local = found.get(_IFLA_VXLAN_LOCAL) or found.get(_IFLA_VXLAN_LOCAL6)
    return VxlanData(
        vni=u32(data, found.get(_IFLA_VXLAN_ID)),
        local=address_of(raw(data, local)) if local else None,
        port=port(data, found.get(_IFLA_VXLAN_PORT)),
        is_learning=bool(u8(data, found.get(_IFLA_VXLAN_LEARNING))),
        is_proxy=bool(u8(data, found.get(_IFLA_VXLAN_PROXY))),
    )


def observe(ns: NsRef, link: Link, links: Links, _: Peers) -> Iterator[Seen]:
    master, data = name_of(links, link.master), vxlan_data(link)._asdict()
    vxlan = Vxlan(ns=ns, ifname=link.ifname, master=master, mtu=link.mtu, is_up=link.is_up, **data)
    yield Seen(vxlan, is_ours=True)


def create(vxlan: Vxlan, namespaces: Namespaces) -> Script:
    """Make it by one message from the host's namespace; a second one, inside its own, sets it up."""
    what = f"create {vxlan.describe()}"
    master = yield from needed_link(vxlan.ns, vxlan.master, what)
    wanted = VxlanData(vxlan.vni, vxlan.local, vxlan.port, vxlan.is_learning, vxlan.is_proxy)
    reply = yield Ask(HOST, new_vxlan(vxlan.ifname, master.ifindex, vxlan.mtu, namespaces.fd(vxlan.ns), wanted))
    if reply.errno == errno.EEXIST:
        link = yield from found_link(vxlan.ns, vxlan.ifname, what)
        if link is None:
            # A namespace that was just deleted lets go of its devices in the background: trying again may help.
            raise kernel_error(
                errno.EBUSY, what, f"another VXLAN device has VNI {vxlan.vni} on UDP port {vxlan.port}; remove it"
            )
        if not link.is_ours or link.kind != "vxlan" or vxlan_data(link) != wanted:
            raise foreign(link, vxlan.ns)
        yield from update(vxlan, vxlan, namespaces)
        return
    check(reply, what)
    yield from change(vxlan.ns, vxlan.ifname, LinkChange(is_up=vxlan.is_up, address_generation=ADDR_GEN_NONE), what)


def update(_: Vxlan, vxlan: Vxlan, __: Namespaces) -> Script:
    """Set what can change in place."""
    what = f"update {vxlan.describe()}"
    link = yield from own_link(vxlan.ns, vxlan.ifname, what)
    master = yield from needed_link(vxlan.ns, vxlan.master, what)
    wanted = LinkChange(
        is_up=vxlan.is_up,
        mtu=vxlan.mtu if link.mtu != vxlan.mtu else None,
        master=master.ifindex if link.master != master.ifindex else None,
        address_generation=ADDR_GEN_NONE,
    )
    yield from change(vxlan.ns, link.ifindex, wanted, what)


ROWS = (scripted(Vxlan, seen=SeenInLink(observe), create=create, update=update, remove=None),)
