"""VXLAN devices as rtnetlink messages (linux/if_link.h). Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.links import RTM_NEWLINK, Link
from reconciler.kernel.rtnetlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    CodecError,
    Request,
    Span,
    attribute,
    attributes,
    nested,
    text_attribute,
    u8,
    u32,
    u32_attribute,
)
from reconciler.model.identifiers import LINK_GROUP
from reconciler.model.objects import IPAddress

_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_GROUP: Final = 27
_IFLA_NET_NS_FD: Final = 28
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_VXLAN_ID: Final = 1
_IFLA_VXLAN_LOCAL: Final = 4
_IFLA_VXLAN_LEARNING: Final = 7
_IFLA_VXLAN_PROXY: Final = 11
_IFLA_VXLAN_PORT: Final = 15
_IFLA_VXLAN_LOCAL6: Final = 17

_IFINFO: Final = Struct("=BxHiII")
_PORT: Final = Struct("!H")


class VxlanData(NamedTuple):
    """What a VXLAN device is made with. local: None where routing chooses the source address."""

    vni: int
    local: IPAddress | None
    port: int
    is_learning: bool
    is_proxy: bool


def new_vxlan(ifname: str, master: int, mtu: int, ns_fd: int, data: VxlanData) -> Request:
    """Make a VXLAN device in our group in the namespace behind `ns_fd`, there a port of link `master`, and down.

    For a socket in the underlay: that is where the device's own socket opens and stays, so it never exists in the host's
    namespace under any name (`src_net` of vxlan_newlink in drivers/net/vxlan/vxlan_core.c). It cannot come up in this message: it
    must first be told not to make itself an address, which is no part of creation (EAFNOSUPPORT).
    """
    body = (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + text_attribute(_IFLA_IFNAME, ifname)
        + u32_attribute(_IFLA_MTU, mtu)
        + u32_attribute(_IFLA_MASTER, master)
        + u32_attribute(_IFLA_GROUP, LINK_GROUP)
        + u32_attribute(_IFLA_NET_NS_FD, ns_fd)
        + nested(
            _IFLA_LINKINFO,
            attribute(_IFLA_INFO_KIND, b"vxlan"),
            nested(
                _IFLA_INFO_DATA,
                u32_attribute(_IFLA_VXLAN_ID, data.vni),
                _local(data.local),
                attribute(_IFLA_VXLAN_PORT, _PORT.pack(data.port)),
                attribute(_IFLA_VXLAN_LEARNING, bytes((data.is_learning,))),
                attribute(_IFLA_VXLAN_PROXY, bytes((data.is_proxy,))),
            ),
        )
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def vxlan_data(link: Link) -> VxlanData:
    """Read what the dump of a VXLAN device carried. Raises CodecError."""
    raw = link.vxlan
    found = attributes(raw, 0, len(raw))
    local = found.get(_IFLA_VXLAN_LOCAL) or found.get(_IFLA_VXLAN_LOCAL6)
    return VxlanData(
        vni=u32(raw, found.get(_IFLA_VXLAN_ID)),
        local=_address(raw, local) if local else None,
        port=_port(raw, found.get(_IFLA_VXLAN_PORT)),
        is_learning=bool(u8(raw, found.get(_IFLA_VXLAN_LEARNING))),
        is_proxy=bool(u8(raw, found.get(_IFLA_VXLAN_PROXY))),
    )


def _local(address: IPAddress | None) -> bytes:
    if address is None:
        return b""
    return attribute(_IFLA_VXLAN_LOCAL if address.version == 4 else _IFLA_VXLAN_LOCAL6, address.packed)


def _address(raw: bytes, span: Span) -> IPAddress:
    packed = raw[span[0] : span[1]]
    if len(packed) not in (4, 16):
        raise CodecError(f"netlink: a VTEP of {len(packed)} bytes")
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _port(raw: bytes, span: Span | None) -> int:
    if span is None:
        return 0
    if span[1] - span[0] < 2:
        raise CodecError("netlink: no room for a port")
    port: int = _PORT.unpack_from(raw, span[0])[0]
    return port
