"""Bridges: those of networks, and those that lead nowhere, for macvlan and ipvlan links to sit on."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import NO_FIELDS, OfLink, Places, Traits, made_link, these, upper_links_of, where


class Bridge(OfLink, frozen=True, kw_only=True):
    """A bridge device that is up.

    mtu: bytes. has_ipv6: whether it takes IPv6 packets at all, has_link_local: whether it makes itself an fe80:: address (both
    wanted on IPv6 networks only). heeds_routers: whether it takes addresses and routes from router advertisements, which any
    sandbox can send. mark: its alias on the host, see `model.marks`.
    """

    kind: ClassVar[str] = "Bridge"
    traits: ClassVar[Traits] = made_link(20, "bridge", NO_FIELDS, these("mac", "is_up"), is_endpoint_link=False)
    ns: NsRef
    ifname: str
    mac: str
    mtu: int
    has_ipv6: bool = False
    has_link_local: bool = False
    heeds_routers: bool = False
    is_up: bool = True
    mark: str = ""

    def describe(self) -> str:
        return f"bridge {self.ifname} (mtu {self.mtu}){where(self.ns)}"


class DeadEnd(OfLink, frozen=True, kw_only=True):
    """A link of ours on the host that leads nowhere, for macvlan and ipvlan links to sit on: a bridge without ports or addresses.

    Its MAC address is left to the kernel: a bridge without ports that was given one has no carrier (br_port_state_selection),
    nor have the links on it. One that lost a port has none either, and one that has a port leads there: both are made anew.
    has_ipv6: as for `Bridge`.
    """

    kind: ClassVar[str] = "DeadEnd"
    traits: ClassVar[Traits] = made_link(
        20, "bridge", these("has_carrier", "has_ports"), these("is_up"), is_endpoint_link=False
    )
    ns: NsRef
    ifname: str
    mtu: int
    has_carrier: bool = True
    has_ports: bool = False
    has_ipv6: bool = False
    is_up: bool = True

    def may_carry(self) -> Places:
        return (upper_links_of(self.ifname),)

    def describe(self) -> str:
        return f"dead end {self.ifname} (mtu {self.mtu}){where(self.ns)}"
