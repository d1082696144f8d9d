"""Macvlan and ipvlan links as rtnetlink messages, VLAN links as a dump tells of them (linux/if_link.h). Pure."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.links import (
    IFINFO,
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    RTM_NEWLINK,
    Link,
)
from reconciler.kernel.rtnetlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Request,
    attribute,
    attributes,
    mac_attribute,
    nested,
    text_attribute,
    u16,
    u32,
    u32_attribute,
)
from reconciler.model.identifiers import LINK_GROUP

_IFLA_MACVLAN_MODE: Final = 1
_IFLA_IPVLAN_MODE: Final = 1
_IFLA_IPVLAN_FLAGS: Final = 2
_IFLA_VLAN_ID: Final = 1

_MACVLAN_MODES: Final = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES: Final = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS: Final = {"bridge": 0, "private": 1, "vepa": 2}
UNKNOWN: Final = "?"
"""A mode that is none of these."""

_U16: Final = Struct("=H")


class SublinkPlace(NamedTuple):
    """Where a link comes to be: on the link `parent` of the socket's namespace, inside the namespace behind `ns_fd`."""

    ifname: str
    parent: int
    mtu: int
    ns_fd: int


def new_macvlan(place: SublinkPlace, mac: str, mode: str) -> Request:
    """Make a macvlan in our group, down.

    In mode passthru it takes its parent's MAC address whatever is said here (macvlan_common_newlink).
    """
    address = mac_attribute(IFLA_ADDRESS, mac)
    return _new(place, b"macvlan", address, u32_attribute(_IFLA_MACVLAN_MODE, _MACVLAN_MODES[mode]))


def new_ipvlan(place: SublinkPlace, mode: str, flag: str) -> Request:
    """Make an ipvlan link in our group, down. Its mode becomes that of all on the same parent."""
    data = attribute(_IFLA_IPVLAN_MODE, _U16.pack(_IPVLAN_MODES[mode])) + attribute(
        _IFLA_IPVLAN_FLAGS, _U16.pack(_IPVLAN_FLAGS[flag])
    )
    return _new(place, b"ipvlan", b"", data)


def _new(place: SublinkPlace, kind: bytes, address: bytes, data: bytes) -> Request:
    body = (
        IFINFO.pack(0, 0, 0, 0, 0)
        + text_attribute(IFLA_IFNAME, place.ifname)
        + address
        + u32_attribute(IFLA_MTU, place.mtu)
        + u32_attribute(IFLA_NET_NS_FD, place.ns_fd)
        + u32_attribute(IFLA_LINK, place.parent)
        + u32_attribute(IFLA_GROUP, LINK_GROUP)
        + nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind), nested(IFLA_INFO_DATA, data))
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def macvlan_mode(link: Link) -> str:
    """Read what the dump of a macvlan carried. Raises CodecError."""
    found = attributes(link.sublink, 0, len(link.sublink))
    return _name(_MACVLAN_MODES, u32(link.sublink, found.get(_IFLA_MACVLAN_MODE)))


def ipvlan_mode(link: Link) -> tuple[str, str]:
    """Read mode and flag from what the dump of an ipvlan link carried. Raises CodecError."""
    raw = link.sublink
    found = attributes(raw, 0, len(raw))
    mode, flag = (u16(raw, found.get(kind)) for kind in (_IFLA_IPVLAN_MODE, _IFLA_IPVLAN_FLAGS))
    return _name(_IPVLAN_MODES, mode), _name(_IPVLAN_FLAGS, flag)


def vlan_id(link: Link) -> int:
    """Read what the dump of a VLAN link carried. Raises CodecError."""
    return u16(link.sublink, attributes(link.sublink, 0, len(link.sublink)).get(_IFLA_VLAN_ID))


def _name(numbers: dict[str, int], number: int) -> str:
    return next((name for name, known in numbers.items() if known == number), UNKNOWN)
