"""Links as rtnetlink messages: what we send to make and change them, and what a dump says (linux/if_link.h). Pure."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.rtnetlink import (
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    CodecError,
    NetlinkRequest,
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
IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
_IFLA_AF_SPEC: Final = 26
IFLA_GROUP: Final = 27
IFLA_NET_NS_FD: Final = 28
_IFLA_EXT_MASK: Final = 29
_IFLA_CARRIER: Final = 33
_IFLA_LINK_NETNSID: Final = 37
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_INFO_SLAVE_KIND: Final = 4
_IFLA_INFO_SLAVE_DATA: Final = 5
_IFLA_BRPORT_MODE: Final = 4
_IFLA_BRPORT_FLUSH: Final = 24
IFLA_INET_CONF: Final = 1
IFLA_INET6_CONF: Final = 2
IFLA_INET6_ADDR_GEN_MODE: Final = 8
IPV4_DEVCONF_PROMOTE_SECONDARIES: Final = 20
NETNSA_NSID: Final = 1
NETNSA_FD: Final = 3

IFF_UP: Final = 1
LOOPBACK_INDEX: Final = 1
ADDR_GEN_EUI64: Final = 0
ADDR_GEN_NONE: Final = 1
NSID_NOT_ASSIGNED: Final = -1

_DOOMED_GROUP: Final = LINK_GROUP ^ 1
"""Ours too, only on the way out."""

PLUGIN_GROUP: Final = LINK_GROUP ^ 2
"""Ours as long as it is in a sandbox: made by a plugin, moved there by us."""

ADOPTED_GROUP: Final = LINK_GROUP ^ 3
"""Somebody else's that a network took over, and gives back: never deleted, so not among what `is_ours`."""

_AF_INET, _AF_INET6 = FAMILIES[4], FAMILIES[6]
IFINFO: Final = Struct("=BxHiII")
_RTGEN: Final = Struct("=Bxxx")

DEVCONF_ACCEPT_RA: Final = 3
DEVCONF_AUTOCONF: Final = 5
DEVCONF_DISABLE_IPV6: Final = 26
DEVCONF_FORCE_FORWARDING: Final = 59

_STEADY: Final = ("macvlan", "ipvlan", "vlan", "vxlan")
"""Kinds whose data changes by our wish alone, unlike the timers of a bridge."""


class Link(NamedTuple):
    """What one RTM_NEWLINK says. mac: lower case, "" if it has none; master, peer: link indexes, 0 for none.

    peer_nsid: how this namespace numbers that of the peer, -1 if it is the same. alias: cut at 256 bytes by the kernel.
    af_spec: raw; what of it matters `kinds.ipv6` and `kinds.sysctl` read. data: raw, what its kind says of it, where that stays as
    it is; read by the modules of `kinds`. Of a macvlan, ipvlan or VLAN link the peer is the link that it sits on.
    has_carrier: whether frames have somewhere to go, as soon as it is up.
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
    data: bytes = b""
    has_carrier: bool = False

    @property
    def is_ours(self) -> bool:
        return self.group in (LINK_GROUP, _DOOMED_GROUP, PLUGIN_GROUP)

    @property
    def is_a_plugins(self) -> bool:
        return self.group == PLUGIN_GROUP

    @property
    def is_adopted(self) -> bool:
        return self.group == ADOPTED_GROUP


def dump_links() -> NetlinkRequest:
    """Ask for every link, without its counters."""
    return NetlinkRequest(_RTM_GETLINK, NLM_F_DUMP, IFINFO.pack(0, 0, 0, 0, 0) + _SKIP_STATS)


def get_link(ifname: str) -> NetlinkRequest:
    return NetlinkRequest(
        _RTM_GETLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + text_attribute(IFLA_IFNAME, ifname) + _SKIP_STATS
    )


def get_link_at(ifindex: int) -> NetlinkRequest:
    return NetlinkRequest(_RTM_GETLINK, 0, IFINFO.pack(0, 0, ifindex, 0, 0) + _SKIP_STATS)


def get_loopback() -> NetlinkRequest:
    """Ask for `lo`, which has ifindex 1 in every namespace (LOOPBACK_IFINDEX in net/flow.h)."""
    return get_link_at(LOOPBACK_INDEX)


_SKIP_STATS: Final = u32_attribute(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


def mark_loopback(alias: str) -> NetlinkRequest:
    """Put our group and `alias` on `lo`, and bring it up."""
    body = IFINFO.pack(0, 0, LOOPBACK_INDEX, IFF_UP, IFF_UP)
    return NetlinkRequest(RTM_NEWLINK, 0, body + OUR_GROUP + text_attribute(IFLA_IFALIAS, alias))


OUR_GROUP: Final = u32_attribute(IFLA_GROUP, LINK_GROUP)


def new_link(kind: bytes, attributes: bytes, data: bytes) -> NetlinkRequest:
    """Make a link of a kind in our group, with these attributes and what its kind asks for."""
    info = nested(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, kind), nested(_IFLA_INFO_DATA, data))
    return NetlinkRequest(
        RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, IFINFO.pack(0, 0, 0, 0, 0) + attributes + OUR_GROUP + info
    )


class LinkChange(NamedTuple):
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
    group: int | None = None


def change_link(link: int | str, change: LinkChange) -> NetlinkRequest:
    """Change a link, given by index or name.

    promotes_secondaries: losing an IPv4 address then takes no other one of its subnet along.
    """
    ifindex = link if isinstance(link, int) else 0
    body = IFINFO.pack(0, 0, ifindex, IFF_UP if change.is_up else 0, 0 if change.is_up is None else IFF_UP)
    if isinstance(link, str):
        body += text_attribute(IFLA_IFNAME, link)
    if change.mac is not None:
        body += mac_attribute(IFLA_ADDRESS, change.mac)
    if change.mtu is not None:
        body += u32_attribute(IFLA_MTU, change.mtu)
    if change.master is not None:
        body += u32_attribute(IFLA_MASTER, change.master)
    if change.alias is not None:
        body += attribute(IFLA_IFALIAS, change.alias.encode())
    if change.group is not None:
        body += u32_attribute(IFLA_GROUP, change.group)
    if change.is_hairpin is not None:
        body += _PORT[change.is_hairpin, change.forgets_neighbours]
    return NetlinkRequest(RTM_NEWLINK, 0, body + _af_spec(change))


def _af_spec(change: LinkChange) -> bytes:
    inet = _PROMOTE if change.promotes_secondaries else b""
    mode = change.address_generation
    inet6 = b"" if mode is None else nested(_AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, bytes((mode,))))
    return nested(_IFLA_AF_SPEC, inet, inet6) if inet or inet6 else b""


_PROMOTE: Final = nested(_AF_INET, nested(IFLA_INET_CONF, u32_attribute(IPV4_DEVCONF_PROMOTE_SECONDARIES, 1)))
_PORT: Final = {
    (is_hairpin, forgets): nested(
        _IFLA_LINKINFO,
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


def doom_link(ifindex: int) -> NetlinkRequest:
    """Put a link where `delete_doomed` finds it. It stays recognisable as ours."""
    return NetlinkRequest(RTM_NEWLINK, 0, IFINFO.pack(0, 0, ifindex, 0, 0) + u32_attribute(IFLA_GROUP, _DOOMED_GROUP))


def spare_link(ifindex: int) -> NetlinkRequest:
    """Take a link back from where `doom_link` put it."""
    return NetlinkRequest(RTM_NEWLINK, 0, IFINFO.pack(0, 0, ifindex, 0, 0) + OUR_GROUP)


def delete_doomed() -> NetlinkRequest:
    """Delete all doomed links together: one by one each waits for the whole machine (synchronize_net), 20 ms for a veth pair."""
    return NetlinkRequest(_RTM_DELLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + u32_attribute(IFLA_GROUP, _DOOMED_GROUP))


def get_nsid(fd: int) -> NetlinkRequest:
    """Ask how the socket's namespace numbers the one behind `fd`."""
    return NetlinkRequest(_RTM_GETNSID, 0, _RTGEN.pack(0) + u32_attribute(NETNSA_FD, fd))


def decode_link(buffer: bytes, start: int, end: int) -> Link:
    """Read the payload of an RTM_NEWLINK. Raises CodecError."""
    if end - start < 16:
        raise CodecError(f"netlink: a link in {end - start} bytes")
    _, _, ifindex, flags, _ = IFINFO.unpack_from(buffer, start)
    found = attributes(buffer, start + 16, end)
    info = nested_attributes(buffer, found.get(_IFLA_LINKINFO))
    is_port = _IFLA_INFO_SLAVE_DATA in info and text(buffer, info.get(_IFLA_INFO_SLAVE_KIND)) == "bridge"
    port = nested_attributes(buffer, info[_IFLA_INFO_SLAVE_DATA]) if is_port else {}
    kind = text(buffer, info.get(_IFLA_INFO_KIND))
    return Link(
        ifindex=ifindex,
        ifname=text(buffer, found.get(IFLA_IFNAME)),
        kind=kind,
        is_up=bool(flags & IFF_UP),
        mac=raw(buffer, found.get(IFLA_ADDRESS)).hex(":"),
        mtu=u32(buffer, found.get(IFLA_MTU)),
        group=u32(buffer, found.get(IFLA_GROUP)),
        master=u32(buffer, found.get(IFLA_MASTER)),
        peer=u32(buffer, found.get(IFLA_LINK)),
        peer_nsid=s32(buffer, found.get(_IFLA_LINK_NETNSID), NSID_NOT_ASSIGNED),
        is_hairpin=bool(u8(buffer, port.get(_IFLA_BRPORT_MODE))),
        alias=text(buffer, found.get(IFLA_IFALIAS)),
        af_spec=raw(buffer, found.get(_IFLA_AF_SPEC)),
        data=raw(buffer, info.get(_IFLA_INFO_DATA)) if kind in _STEADY else b"",
        has_carrier=bool(u8(buffer, found.get(_IFLA_CARRIER))),
    )


def decode_nsid(buffer: bytes, start: int, end: int) -> int:
    """Read the answer to `get_nsid`: -1 when the namespace has no number here. Raises CodecError."""
    return s32(buffer, attributes(buffer, start + 4, end).get(NETNSA_NSID), NSID_NOT_ASSIGNED)
