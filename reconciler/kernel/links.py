"""Links as rtnetlink messages: what we send to make and change them, and what a dump says (linux/if_link.h). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.rtnetlink import (
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    CodecError,
    Request,
    Span,
    attribute,
    attributes,
    mac_attribute,
    nested,
    nested_attributes,
    raw,
    s32,
    text,
    text_attribute,
    u8,
    u32,
    u32_attribute,
)
from reconciler.model.identifiers import LINK_GROUP

RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_GETNSID: Final = 90
_RTEXT_FILTER_SKIP_STATS: Final = 8

IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINK: Final = 5
_IFLA_MASTER: Final = 10
IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_AF_SPEC: Final = 26
IFLA_GROUP: Final = 27
IFLA_NET_NS_FD: Final = 28
_IFLA_EXT_MASK: Final = 29
_IFLA_LINK_NETNSID: Final = 37
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
_IFLA_INFO_SLAVE_KIND: Final = 4
_IFLA_INFO_SLAVE_DATA: Final = 5
_VETH_INFO_PEER: Final = 1
_IFLA_BRPORT_MODE: Final = 4
_IFLA_BRPORT_FLUSH: Final = 24
_IFLA_INET_CONF: Final = 1
_IFLA_INET6_CONF: Final = 2
_IFLA_INET6_ADDR_GEN_MODE: Final = 8
_IPV4_DEVCONF_PROMOTE_SECONDARIES: Final = 20
NETNSA_NSID: Final = 1
NETNSA_FD: Final = 3

_IFF_UP: Final = 1
_IFF_LOWER_UP: Final = 1 << 16
_LOOPBACK_INDEX: Final = 1
ADDR_GEN_EUI64: Final = 0
ADDR_GEN_NONE: Final = 1
NSID_NOT_ASSIGNED: Final = -1

_DOOMED_GROUP: Final = LINK_GROUP ^ 1
"""Ours too, only on the way out."""

_PLUGIN_GROUP: Final = LINK_GROUP ^ 2
"""Ours as long as it is in a sandbox: made by a plugin, moved there by us."""

_NO_GROUP: Final = 0

_AF_INET, _AF_INET6 = FAMILIES[4], FAMILIES[6]
IFINFO: Final = Struct("=BxHiII")
_RTGEN: Final = Struct("=Bxxx")

_DEVCONF_ACCEPT_RA: Final = 3
_DEVCONF_AUTOCONF: Final = 5
_DEVCONF_DISABLE_IPV6: Final = 26

SYSCTLS: Final = {
    "net/ipv4/conf/{}/route_localnet": (_AF_INET, _IFLA_INET_CONF, 25),
    "net/ipv6/conf/{}/accept_ra": (_AF_INET6, _IFLA_INET6_CONF, _DEVCONF_ACCEPT_RA),
    "net/ipv6/conf/{}/disable_ipv6": (_AF_INET6, _IFLA_INET6_CONF, _DEVCONF_DISABLE_IPV6),
}
"""Settings that a link dump carries along: family, attribute and place in its array.

Places count from 0; linux/ip.h, unlike linux/ipv6.h, numbers them from 1.
"""


FORWARDING_SYSCTLS: Final = {
    "net/ipv4/conf/{}/forwarding": (_AF_INET, _IFLA_INET_CONF, 0),
    "net/ipv6/conf/{}/forwarding": (_AF_INET6, _IFLA_INET6_CONF, 0),
    "net/ipv6/conf/{}/accept_ra": (_AF_INET6, _IFLA_INET6_CONF, _DEVCONF_ACCEPT_RA),
}
"""Those that forwarding has a say in."""


class Link(NamedTuple):
    """What one RTM_NEWLINK says. mac: lower case, "" if it has none; master, peer: link indexes, 0 for none.

    peer_nsid: how this namespace numbers that of the peer, -1 if it is the same. alias: cut at 256 bytes by the kernel.
    af_spec: raw, read by `sysctl_values` and `ipv6_of`. vxlan: raw, of a VXLAN device, read by `kernel.vxlan`.
    sublink: the same of a macvlan, ipvlan or VLAN link, read by `kernel.sublinks`; its peer is the link that it sits on.
    has_carrier: whether frames have somewhere to go.
    """

    ifindex: int
    ifname: str
    kind: str
    is_up: bool
    mac: str
    mtu: int
    group: int
    master: int
    peer: int
    peer_nsid: int
    is_hairpin: bool
    alias: str
    af_spec: bytes
    vxlan: bytes = b""
    sublink: bytes = b""
    has_carrier: bool = False

    @property
    def is_ours(self) -> bool:
        return self.group in (LINK_GROUP, _DOOMED_GROUP, _PLUGIN_GROUP)

    @property
    def is_a_plugins(self) -> bool:
        return self.group == _PLUGIN_GROUP


def dump_links() -> Request:
    """Ask for every link, without its counters."""
    return Request(_RTM_GETLINK, NLM_F_DUMP, IFINFO.pack(0, 0, 0, 0, 0) + _SKIP_STATS)


def get_link(ifname: str) -> Request:
    return Request(_RTM_GETLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + text_attribute(IFLA_IFNAME, ifname) + _SKIP_STATS)


def get_link_at(ifindex: int) -> Request:
    return Request(_RTM_GETLINK, 0, IFINFO.pack(0, 0, ifindex, 0, 0) + _SKIP_STATS)


def get_loopback() -> Request:
    """Ask for `lo`, which has ifindex 1 in every namespace (LOOPBACK_IFINDEX in net/flow.h)."""
    return get_link_at(_LOOPBACK_INDEX)


_SKIP_STATS: Final = u32_attribute(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


def mark_loopback(alias: str) -> Request:
    """Put our group and `alias` on `lo`, and bring it up."""
    body = IFINFO.pack(0, 0, _LOOPBACK_INDEX, _IFF_UP, _IFF_UP)
    return Request(RTM_NEWLINK, 0, body + _OUR_GROUP + text_attribute(_IFLA_IFALIAS, alias))


_OUR_GROUP: Final = u32_attribute(IFLA_GROUP, LINK_GROUP)


def new_veth(ifname: str, master: int, mtu: int, peer_ns_fd: int, peer_ifname: str, peer_mac: str) -> Request:
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
        + _OUR_GROUP
        + u32_attribute(IFLA_NET_NS_FD, peer_ns_fd)
    )
    pair = nested(IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    body = (
        IFINFO.pack(0, 0, 0, 0, 0)
        + text_attribute(IFLA_IFNAME, ifname)
        + mtu_attribute
        + u32_attribute(_IFLA_MASTER, master)
        + _OUR_GROUP
        + nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth"), pair)
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


class Change(NamedTuple):
    """What to change of a link; None: leave it. is_hairpin needs a link that is a port already.

    forgets_neighbours: along with is_hairpin, the bridge forgets which MACs it had seen there.
    """

    is_up: bool | None = None
    mac: str | None = None
    mtu: int | None = None
    master: int | None = None
    is_hairpin: bool | None = None
    address_generation: int | None = None
    promotes_secondaries: bool = False
    forgets_neighbours: bool = False
    alias: str | None = None


def change_link(link: int | str, change: Change) -> Request:
    """Change a link, given by index or name.

    promotes_secondaries: losing an IPv4 address then takes no other one of its subnet along.
    """
    ifindex = link if isinstance(link, int) else 0
    body = IFINFO.pack(0, 0, ifindex, _IFF_UP if change.is_up else 0, 0 if change.is_up is None else _IFF_UP)
    if isinstance(link, str):
        body += text_attribute(IFLA_IFNAME, link)
    if change.mac is not None:
        body += mac_attribute(IFLA_ADDRESS, change.mac)
    if change.mtu is not None:
        body += u32_attribute(IFLA_MTU, change.mtu)
    if change.master is not None:
        body += u32_attribute(_IFLA_MASTER, change.master)
    if change.alias is not None:
        body += attribute(_IFLA_IFALIAS, change.alias.encode())
    if change.is_hairpin is not None:
        body += _PORT[change.is_hairpin, change.forgets_neighbours]
    return Request(RTM_NEWLINK, 0, body + _af_spec(change))


def _af_spec(change: Change) -> bytes:
    inet = _PROMOTE if change.promotes_secondaries else b""
    mode = change.address_generation
    inet6 = b"" if mode is None else nested(_AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes((mode,))))
    return nested(_IFLA_AF_SPEC, inet, inet6) if inet or inet6 else b""


_PROMOTE: Final = nested(_AF_INET, nested(_IFLA_INET_CONF, u32_attribute(_IPV4_DEVCONF_PROMOTE_SECONDARIES, 1)))
_PORT: Final = {
    (is_hairpin, forgets): nested(
        IFLA_LINKINFO,
        attribute(_IFLA_INFO_SLAVE_KIND, b"bridge"),
        nested(
            _IFLA_INFO_SLAVE_DATA,
            attribute(_IFLA_BRPORT_MODE, bytes((is_hairpin,))),
            attribute(_IFLA_BRPORT_FLUSH, b"") if forgets else b"",
        ),
    )
    for is_hairpin in (False, True)
    for forgets in (False, True)
}


def move_in(ifindex: int, ns_fd: int, ifname: str, alias: str, mac: str) -> Request:
    """Move a link of a plugin into the namespace behind `ns_fd`, under another name, and mark it: all in one message.

    mac: "" leaves it. The kernel moves first (do_setlink in net/core/rtnetlink.c), down and without its addresses; where the name
    is taken it has moved all the same, and answers EEXIST.
    """
    return _moved(ifindex, ns_fd, ifname, _PLUGIN_GROUP, alias, mac_attribute(IFLA_ADDRESS, mac) if mac else b"")


def move_back(ifindex: int, ns_fd: int, ifname: str) -> Request:
    """Move such a link back, without our mark. ifname: one with %d is numbered."""
    return _moved(ifindex, ns_fd, ifname, _NO_GROUP, "")


def _moved(ifindex: int, ns_fd: int, ifname: str, group: int, alias: str, more: bytes = b"") -> Request:
    body = (
        IFINFO.pack(0, 0, ifindex, 0, _IFF_UP)
        + u32_attribute(IFLA_NET_NS_FD, ns_fd)
        + text_attribute(IFLA_IFNAME, ifname)
        + u32_attribute(IFLA_GROUP, group)
        + attribute(_IFLA_IFALIAS, alias.encode())
        + more
    )
    return Request(RTM_NEWLINK, 0, body)


def doom_link(ifindex: int) -> Request:
    """Put a link where `delete_doomed` finds it. It stays recognisable as ours."""
    return Request(RTM_NEWLINK, 0, IFINFO.pack(0, 0, ifindex, 0, 0) + u32_attribute(IFLA_GROUP, _DOOMED_GROUP))


def spare_link(ifindex: int) -> Request:
    """Take a link back from where `doom_link` put it."""
    return Request(RTM_NEWLINK, 0, IFINFO.pack(0, 0, ifindex, 0, 0) + _OUR_GROUP)


def delete_doomed() -> Request:
    """Delete all doomed links together: one by one each waits for the whole machine (synchronize_net), 20 ms for a veth pair."""
    return Request(_RTM_DELLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + u32_attribute(IFLA_GROUP, _DOOMED_GROUP))


def get_nsid(fd: int) -> Request:
    """Ask how the socket's namespace numbers the one behind `fd`."""
    return Request(_RTM_GETNSID, 0, _RTGEN.pack(0) + u32_attribute(NETNSA_FD, fd))


def decode_link(buffer: bytes, start: int, end: int) -> Link:
    """Read the payload of an RTM_NEWLINK. Raises CodecError."""
    if end - start < 16:
        raise CodecError(f"netlink: a link in {end - start} bytes")
    _, _, ifindex, flags, _ = IFINFO.unpack_from(buffer, start)
    found = attributes(buffer, start + 16, end)
    info = nested_attributes(buffer, found.get(IFLA_LINKINFO))
    is_port = _IFLA_INFO_SLAVE_DATA in info and text(buffer, info.get(_IFLA_INFO_SLAVE_KIND)) == "bridge"
    port = nested_attributes(buffer, info[_IFLA_INFO_SLAVE_DATA]) if is_port else {}
    kind = text(buffer, info.get(IFLA_INFO_KIND))
    return Link(
        ifindex=ifindex,
        ifname=text(buffer, found.get(IFLA_IFNAME)),
        kind=kind,
        is_up=bool(flags & _IFF_UP),
        mac=raw(buffer, found.get(IFLA_ADDRESS)).hex(":"),
        mtu=u32(buffer, found.get(IFLA_MTU)),
        group=u32(buffer, found.get(IFLA_GROUP)),
        master=u32(buffer, found.get(_IFLA_MASTER)),
        peer=u32(buffer, found.get(IFLA_LINK)),
        peer_nsid=s32(buffer, found.get(_IFLA_LINK_NETNSID), NSID_NOT_ASSIGNED),
        is_hairpin=bool(u8(buffer, port.get(_IFLA_BRPORT_MODE))),
        alias=text(buffer, found.get(_IFLA_IFALIAS)),
        af_spec=raw(buffer, found.get(_IFLA_AF_SPEC)),
        vxlan=raw(buffer, info.get(IFLA_INFO_DATA)) if kind == "vxlan" else b"",
        sublink=raw(buffer, info.get(IFLA_INFO_DATA)) if kind in ("macvlan", "ipvlan", "vlan") else b"",
        has_carrier=bool(flags & _IFF_LOWER_UP),
    )


def decode_nsid(buffer: bytes, start: int, end: int) -> int:
    """Read the answer to `get_nsid`: -1 when the namespace has no number here. Raises CodecError."""
    return s32(buffer, attributes(buffer, start + 4, end).get(NETNSA_NSID), NSID_NOT_ASSIGNED)


def sysctl_values(link: Link, settings: Mapping[str, tuple[int, int, int]] = SYSCTLS) -> dict[str, str]:
    """Return those of the link's settings that its dump carried, by path. Raises CodecError."""
    spec = attributes(link.af_spec, 0, len(link.af_spec))
    values = {}
    for path, (family, kind, place) in settings.items():
        conf = nested_attributes(link.af_spec, spec.get(family)).get(kind)
        if conf is not None and conf[0] + 4 * place + 4 <= conf[1]:
            at = conf[0] + 4 * place
            values[path.format(link.ifname)] = str(s32(link.af_spec, (at, at + 4)))
    return values


class Ipv6(NamedTuple):
    """How a link takes part in IPv6: not at all where the kernel has none, or the link's MTU is too small for it.

    has_link_local: it makes itself an address. heeds_routers: it takes addresses or routes from router advertisements.
    """

    is_on: bool = False
    has_link_local: bool = False
    heeds_routers: bool = False


def ipv6_of(link: Link) -> Ipv6:
    """Read it from the link's dump. Raises CodecError."""
    spec = attributes(link.af_spec, 0, len(link.af_spec))
    inet6 = nested_attributes(link.af_spec, spec.get(_AF_INET6))
    conf = inet6.get(_IFLA_INET6_CONF)
    if conf is None:
        return Ipv6()
    heeded = (_devconf(link.af_spec, conf, place) for place in (_DEVCONF_ACCEPT_RA, _DEVCONF_AUTOCONF))
    return Ipv6(
        is_on=not _devconf(link.af_spec, conf, _DEVCONF_DISABLE_IPV6),
        has_link_local=u8(link.af_spec, inet6.get(_IFLA_INET6_ADDR_GEN_MODE), ADDR_GEN_NONE) == ADDR_GEN_EUI64,
        heeds_routers=any(heeded),
    )


def _devconf(af_spec: bytes, conf: Span, place: int) -> int:
    at = conf[0] + 4 * place
    return s32(af_spec, (at, min(at + 4, conf[1])) if at < conf[1] else None)
