"""VXLAN devices as a dump of links tells of them (linux/if_link.h); `kernel.rare` makes them. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.kernel.links import Link
from reconciler.kernel.rtnetlink import address_of, attributes, port, raw, u8, u32
from reconciler.model.objects import IPAddress

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


def vxlan_data(link: Link) -> VxlanData:
    """Read what the dump of a VXLAN device carried. Raises CodecError."""
    data = link.vxlan
    found = attributes(data, 0, len(data))
    local = found.get(_IFLA_VXLAN_LOCAL) or found.get(_IFLA_VXLAN_LOCAL6)
    return VxlanData(
        vni=u32(data, found.get(_IFLA_VXLAN_ID)),
        local=address_of(raw(data, local)) if local else None,
        port=port(data, found.get(_IFLA_VXLAN_PORT)),
        is_learning=bool(u8(data, found.get(_IFLA_VXLAN_LEARNING))),
        is_proxy=bool(u8(data, found.get(_IFLA_VXLAN_PROXY))),
    )
