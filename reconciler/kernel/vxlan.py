"""VXLAN devices as a dump of links tells of them (linux/if_link.h); `kernel.rare` makes them. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.links import Link
from reconciler.kernel.rtnetlink import (
    CodecError,
    Span,
    attributes,
    u8,
    u32,
)
from reconciler.model.objects import IPAddress

_IFLA_VXLAN_ID: Final = 1
_IFLA_VXLAN_LOCAL: Final = 4
_IFLA_VXLAN_LEARNING: Final = 7
_IFLA_VXLAN_PROXY: Final = 11
_IFLA_VXLAN_PORT: Final = 15
_IFLA_VXLAN_LOCAL6: Final = 17

_PORT: Final = Struct("!H")


class VxlanData(NamedTuple):
    """What a VXLAN device is made with. local: None where routing chooses the source address."""

    vni: int
    local: IPAddress | None
    port: int
    is_learning: bool
    is_proxy: bool


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
