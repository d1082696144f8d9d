"""The sockets that hold ports of the namespace which the calling thread is in, by sock_diag(7)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final

from reconciler.errors import KernelError
from reconciler.kernel.netlink import NETLINK_SOCK_DIAG, RouteSocket
from reconciler.kernel.rtnetlink import NLM_F_DUMP, CodecError, NetlinkRequest, attributes, u8
from reconciler.model.objects import IPAddress
from reconciler.model.observed import BoundSocket

_SOCK_DIAG_BY_FAMILY: Final = 20
_INET_DIAG_SKV6ONLY: Final = 11
_TCP_CLOSE: Final = 7
_TCP_LISTEN: Final = 10
"""States of linux/inet_diag.h and net/tcp_states.h. A socket of UDP that is bound and not connected is in TCP_CLOSE."""

_REQUEST: Final = Struct("=BBBxI48s")
_REPLY: Final = Struct(">4xH2x16s")
_REPLY_SIZE: Final = 72
"""struct inet_diag_req_v2 and inet_diag_msg: family, state, timer, retransmits, then ports and addresses as on the wire."""

_PROTOCOLS: Final = {
    "tcp": (socket.IPPROTO_TCP, 1 << _TCP_LISTEN),
    "udp": (socket.IPPROTO_UDP, 1 << _TCP_CLOSE),
    "sctp": (socket.IPPROTO_SCTP, 1 << _TCP_LISTEN),
}


def bound_sockets() -> Iterator[BoundSocket]:
    """Yield every socket that listens, and every unconnected one of UDP that has a port. Raises KernelError.

    A protocol that the kernel lacks has none; a kernel without sock_diag tells of none.
    """
    try:
        opened = RouteSocket(NETLINK_SOCK_DIAG)
    except KernelError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return
        raise
    with closing(opened) as with_diag:
        for protocol, (number, states) in _PROTOCOLS.items():
            for family in (socket.AF_INET, socket.AF_INET6):
                body = _REQUEST.pack(family, number, 0, states, bytes(48))
                request = NetlinkRequest(_SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body)
                try:
                    found = with_diag.dump(request, partial(_decode, protocol))
                except KernelError as error:
                    if error.errno not in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
                        raise
                    found = []
                yield from (bound for bound in found if bound is not None)


def _decode(protocol: str, buffer: bytes, start: int, end: int) -> BoundSocket | None:
    if end - start < _REPLY_SIZE:
        raise CodecError(f"netlink: a socket in {end - start} bytes")
    port, raw = _REPLY.unpack_from(buffer, start)
    if not port:
        return None
    if buffer[start] == socket.AF_INET:
        return BoundSocket(protocol=protocol, address=IPv4Address(raw[:4]), port=port)
    address = IPv6Address(raw)
    is_v6_only = bool(u8(buffer, attributes(buffer, start + _REPLY_SIZE, end).get(_INET_DIAG_SKV6ONLY)))
    return BoundSocket(protocol=protocol, address=_seen_as(address, is_v6_only=is_v6_only), port=port)


def _seen_as(address: IPv6Address, *, is_v6_only: bool) -> IPAddress | None:
    """A socket of IPv6 serves IPv4 too: all of it on the unspecified address, else what is mapped."""
    if address.is_unspecified and not is_v6_only:
        return None
    return address.ipv4_mapped or address
