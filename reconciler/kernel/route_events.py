"""Changes in network namespaces as rtnetlink tells of them: one socket for the host's and all that it has numbers for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from reconciler.errors import KernelError, kernel_errors
from reconciler.kernel.links import NETNSA_FD, NETNSA_NSID
from reconciler.kernel.multicast import (
    ANCILLARY_SIZE,
    BUFFER_BYTES,
    Ancillary,
    listen,
    listen_everywhere,
    nsid_of,
    received,
)
from reconciler.kernel.neighbours import EntryKey, entry_key
from reconciler.kernel.route_filter import MessageType, attach
from reconciler.kernel.rtnetlink import CodecError, NetlinkRequest, attributes, s32, u32_attribute

_GROUPS: Final = (1, 3, 5, 7, 9, 11, 28)
"""RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, NSID of linux/rtnetlink.h."""

_IFINDEX_END: Final = 16 + 8
"""Where the index ends in struct ifinfomsg, behind the message's header."""

_RTGENMSG: Final = bytes(4)
_ANY_NSID: Final = 0xFFFFFFFF

_HEAD_SIZE: Final = 192
"""Where something happened says enough, and of an entry all: the rest of a message is never copied."""

_HEADER: Final = Struct("=IH")
_HEADER_SIZE: Final = 16


class RouteEvent(NamedTuple):
    """nsid: the number of the namespace where it happened, None for the socket's own. gone: of one that has ended, else None.

    link: the index of the link that came, changed or went; entry: which neighbour or forwarding entry did; None where it was
    something else. numbered: the number of one that has it only now, so that what happened there before was told to nobody.
    """

    nsid: int | None
    gone: int | None = None
    link: int | None = None
    numbered: int | None = None
    entry: EntryKey | None = None


class RouteEvents:
    """Listens in the namespace of the calling thread and in all that it has numbers for (ip-netns(8), `list-id`).

    It hears of the end of each. Needs CAP_NET_BROADCAST. Raises KernelError.
    """

    def __init__(self, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._socket = listen(socket.NETLINK_ROUTE, _GROUPS, buffer_bytes=buffer_bytes)
        try:
            with kernel_errors("listen to network namespaces"):
                attach(self._socket)
                listen_everywhere(self._socket)
        except KernelError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Iterator[RouteEvent | None]:
        """Yield what is there. None: some was lost, so anything may have changed. Raises KernelError."""
        for got in received(self._socket, _HEAD_SIZE, ANCILLARY_SIZE):
            yield None if got is None else _route_event(*got)


def new_nsid(fd: int) -> NetlinkRequest:
    """Have the socket's namespace number that behind `fd`; refused with EEXIST where it has a number."""
    return NetlinkRequest(
        MessageType.NEW_NSID, 0, _RTGENMSG + u32_attribute(NETNSA_FD, fd) + u32_attribute(NETNSA_NSID, _ANY_NSID)
    )


def _route_event(head: bytes, ancillary: Ancillary) -> RouteEvent | None:
    nsid = nsid_of(ancillary)
    if len(head) < _HEADER_SIZE:
        return None
    length, kind = _HEADER.unpack_from(head)
    if kind in (MessageType.NEW_LINK, MessageType.DELETE_LINK) and len(head) >= _IFINDEX_END:
        return RouteEvent(nsid, link=s32(head, (_IFINDEX_END - 4, _IFINDEX_END)))
    if kind in (MessageType.NEW_NEIGHBOUR, MessageType.DELETE_NEIGHBOUR):
        try:
            return RouteEvent(nsid, entry=entry_key(head, _HEADER_SIZE, min(length, len(head))))
        except CodecError:
            return RouteEvent(nsid)
    if kind not in (MessageType.NEW_NSID, MessageType.DELETE_NSID) or nsid is not None:
        return RouteEvent(nsid)
    try:
        found = attributes(head, _HEADER_SIZE + len(_RTGENMSG), min(length, len(head)))
        number = s32(head, found.get(NETNSA_NSID))
    except CodecError:
        return None
    return RouteEvent(None, gone=number) if kind == MessageType.DELETE_NSID else RouteEvent(None, numbered=number)
