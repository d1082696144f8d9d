"""Bridges of others that networks take over (`adopt`), and give back as they were found."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from reconciler.model.ip import IPInterface


class Adopt(StrEnum):
    """`adopt` of a network: whether a bridge of others under its name is taken over, and even one that a program manages."""

    NO = "false"
    UNMANAGED = "true"
    EVEN_MANAGED = "managed"


class Found(Struct, frozen=True, kw_only=True):
    """How a bridge was when it was taken over. ifindex: tells it from a later one of its name. network: that took it.

    alias, group: its marks of before (ip-link(8)). addresses, ports: of others, in words; they are never touched.
    """

    network: str
    ifname: str
    ifindex: int
    mac: str
    mtu: int
    is_up: bool
    has_ipv6: bool
    promotes_secondaries: bool
    alias: str = ""
    group: int = 0
    addresses: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


class BridgeFact(Struct, frozen=True, kw_only=True):
    """A bridge on the host that is not ours and that a network may take over, or has taken.

    addresses: those on it that are not ours. manager: the program that runs it, in words, "" when none is known. found: while
    nobody has taken it, how it is.
    """

    ifname: str
    mac: str
    mtu: int
    is_up: bool
    has_ipv6: bool
    addresses: tuple[IPInterface, ...] = ()
    manager: str = ""
    found: Found | None = None


class Adopted(Struct, frozen=True, kw_only=True):
    """The bridge that a network takes over or has taken. found: None where the record of it was lost."""

    bridge: BridgeFact
    found: Found | None
