"""What is drawn: hosts, the networks on them, who is attached where, and what a change adds, moves and removes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct


class Mark(StrEnum):
    """What a change does to something; the values are what people read."""

    SAME = ""
    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    CHANGED = "changed"
    DRIFTED = "drifted"
    """Somebody else changed it on the host: a pass puts it back."""


class Port(Struct, frozen=True, kw_only=True):
    """A published port. text: as `8080→80/tcp`, or `80/tcp` where it is reached at the endpoint's own address."""

    text: str
    mark: Mark = Mark.SAME


class Link(Struct, frozen=True, kw_only=True):
    """alias leads to the attachment `target`."""

    target: str
    alias: str
    mark: Mark = Mark.SAME


class Place(Struct, frozen=True, kw_only=True):
    """An attachment's endpoint on a network. addresses: without their prefix lengths; was: those before, where they change.

    is_default: the default route leads through here. is_gateway: it joined as the way out of overlay networks.
    """

    network: str
    addresses: tuple[str, ...] = ()
    was: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    is_default: bool = False
    is_gateway: bool = False
    mark: Mark = Mark.SAME


class Attachment(Struct, frozen=True, kw_only=True):
    """One sandbox. declared: file and line, "" where no spec says so. note: where it moves from or to.

    is_elsewhere: another host told of it, so that only its places on shared networks are known.
    """

    host: str
    name: str
    sandbox: str = ""
    places: tuple[Place, ...] = ()
    links: tuple[Link, ...] = ()
    declared: str = ""
    note: str = ""
    is_elsewhere: bool = False
    mark: Mark = Mark.SAME


class Subnet(Struct, frozen=True, kw_only=True):
    """gateway: "" for none. vni: of an overlay's."""

    subnet: str
    gateway: str = ""
    vni: int | None = None


class Network(Struct, frozen=True, kw_only=True):
    """host: "" for one that hosts share; hosts: where it has a part then, sorted. traits: what else is to be known, in words."""

    host: str
    name: str
    driver: str
    subnets: tuple[Subnet, ...] = ()
    is_internal: bool = False
    hosts: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    declared: str = ""
    mark: Mark = Mark.SAME

    @property
    def is_shared(self) -> bool:
        return self.host == ""


class Host(Struct, frozen=True, kw_only=True):
    name: str
    networks: tuple[Network, ...] = ()
    attachments: tuple[Attachment, ...] = ()


class Topology(Struct, frozen=True, kw_only=True):
    """Everything, sorted by name. shared: networks of several hosts. is_change: marks say what a change does."""

    hosts: tuple[Host, ...]
    shared: tuple[Network, ...] = ()
    is_change: bool = False

    @property
    def networks(self) -> tuple[Network, ...]:
        return (*self.shared, *(network for host in self.hosts for network in host.networks))

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return tuple(attachment for host in self.hosts for attachment in host.attachments)

    def members(self, network: Network) -> Iterator[tuple[Attachment, Place]]:
        """Yield who is on a network, host by host."""
        for host in self.hosts:
            if network.is_shared or host.name == network.host:
                for attachment in host.attachments:
                    yield from ((attachment, place) for place in attachment.places if place.network == network.name)
