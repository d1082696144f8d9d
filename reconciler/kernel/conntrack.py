"""The connections that the kernel tracks in the namespace which the calling thread is in, and forgetting some of them.

Connection tracking speaks nfnetlink (linux/netfilter/nfnetlink_conntrack.h).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import closing
from struct import Struct
from typing import Final, NamedTuple

from reconciler.errors import kernel_error
from reconciler.kernel.netlink import NETLINK_NETFILTER, RouteSocket
from reconciler.kernel.rtnetlink import (
    NLM_F_DUMP,
    CodecError,
    NetlinkRequest,
    address_of,
    attribute,
    attributes,
    nested,
    nested_attributes,
    port,
    raw,
)
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.objects import IPAddress

_COUNT: Final = "net/netfilter/nf_conntrack_count"
_CTNETLINK: Final = 1 << 8
_GET: Final = _CTNETLINK | 1
_DELETE: Final = _CTNETLINK | 2
_ORIGINAL: Final = 1
_REPLY: Final = 2
_ID: Final = 12
_ZONE: Final = 18
_TUPLE_IP: Final = 1
_TUPLE_PROTO: Final = 2
_IP_SOURCE: Final = {4: 1, 6: 3}
_IP_DESTINATION: Final = {4: 2, 6: 4}
_PROTO_NUMBER: Final = 1
_PROTO_SOURCE_PORT: Final = 2
_PROTO_DESTINATION_PORT: Final = 3
_NFGENMSG: Final = Struct("=BBH")
_PROTOCOLS: Final = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}


class Direction(NamedTuple):
    """One direction of a connection; ports are 0 where the protocol has none."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int


class TrackedConnection(NamedTuple):
    """A tracked connection. protocol: "" for one without ports. handle: what names it to the kernel, in an nfgenmsg of `family`."""

    protocol: str
    original: Direction
    reply: Direction
    family: int
    handle: bytes


def forget_flows(is_stale: Callable[[TrackedConnection], bool]) -> int:
    """Delete the connections that `is_stale` says are; give how many. Those gone meanwhile are fine. Raises KernelError.

    A dump walks the one table that all namespaces share, of 262,144 places: 10 ms, whatever is in it. So there is one for both
    families, and none where nothing is tracked.
    """
    if read_sysctl(_COUNT) == "0":
        return 0
    with closing(RouteSocket(NETLINK_NETFILTER)) as connection:
        request = NetlinkRequest(_GET, NLM_F_DUMP, _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0))
        flows = connection.dump(
            request, lambda *span: flow if (flow := decode_flow(*span)) and is_stale(flow) else None
        )
        return _delete(connection, flows)


def _delete(connection: RouteSocket, flows: Iterable[TrackedConnection]) -> int:
    replies = connection.batch([NetlinkRequest(_DELETE, 0, _NFGENMSG.pack(f.family, 0, 0) + f.handle) for f in flows])
    for number, detail, _ in replies:
        if number not in (0, errno.ENOENT):
            raise kernel_error(number, "forget a tracked connection", detail)
    return sum(reply.errno == 0 for reply in replies)


def decode_flow(buffer: bytes, start: int, end: int) -> TrackedConnection | None:
    """Read one IPCTNL_MSG_CT_NEW; None for what is no connection of IPv4 or IPv6. Raises CodecError."""
    if end - start < _NFGENMSG.size:
        raise CodecError(f"netlink: a connection in {end - start} bytes")
    family = buffer[start]
    found = attributes(buffer, start + _NFGENMSG.size, end)
    if family not in (socket.AF_INET, socket.AF_INET6) or not {_ORIGINAL, _REPLY} <= found.keys():
        return None
    number, original = _direction(buffer, found[_ORIGINAL], 4 if family == socket.AF_INET else 6)
    _, reply = _direction(buffer, found[_REPLY], 4 if family == socket.AF_INET else 6)
    handle = b"".join(
        (nested if kind == _ORIGINAL else attribute)(kind, raw(buffer, found[kind]))
        for kind in (_ORIGINAL, _ID, _ZONE)
        if kind in found
    )
    return TrackedConnection(_PROTOCOLS.get(number, ""), original, reply, family, handle)


def _direction(buffer: bytes, span: tuple[int, int], version: int) -> tuple[int, Direction]:
    """Read the protocol's number and one direction. Raises CodecError."""
    parts = attributes(buffer, *span)
    addresses = nested_attributes(buffer, parts.get(_TUPLE_IP))
    ports = nested_attributes(buffer, parts.get(_TUPLE_PROTO))
    number = buffer[ports[_PROTO_NUMBER][0]] if _PROTO_NUMBER in ports else 0
    return number, Direction(
        address_of(raw(buffer, addresses.get(_IP_SOURCE[version]))),
        port(buffer, ports.get(_PROTO_SOURCE_PORT)),
        address_of(raw(buffer, addresses.get(_IP_DESTINATION[version]))),
        port(buffer, ports.get(_PROTO_DESTINATION_PORT)),
    )
