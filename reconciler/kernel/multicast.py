"""Sockets that the kernel tells of changes (netlink(7)), for whichever protocol."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from reconciler.errors import kernel_error, kernel_errors
from reconciler.kernel.netlink import SOL_NETLINK

_ADD_MEMBERSHIP: Final = 1
_LISTEN_ALL_NSID: Final = 8
_SO_RCVBUFFORCE: Final = 33

BUFFER_BYTES: Final = 8 << 20
"""For some 5,000 events. Only what waits to be read takes memory."""

_RECEIVED_MAX: Final = 8192
"""Taken at once, so that no flood keeps us; what is left makes the descriptor readable again."""

Ancillary = list[tuple[int, int, bytes]]
_NSID: Final = Struct("=i")
ANCILLARY_SIZE: Final = socket.CMSG_SPACE(_NSID.size)


def listen(protocol: int, groups: Sequence[int], *, buffer_bytes: int = BUFFER_BYTES) -> socket.socket:
    """Open a socket in the namespace of the calling thread and join groups, by their numbers. Raises KernelError."""
    with kernel_errors(f"listen to netlink protocol {protocol}"):
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        opened = socket.socket(socket.AF_NETLINK, kind, protocol)
        try:
            _set_buffer(opened, buffer_bytes)
            # An address first: to those who have none the kernel tells nothing of its own doing.
            opened.bind((0, 0))
            for group in groups:
                opened.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            opened.close()
            raise
    return opened


def listen_everywhere(listener: socket.socket, *, is_on: bool = True) -> None:
    """Hear also of the namespaces that the socket's own has numbers for, or no longer. Needs CAP_NET_BROADCAST. Raises KernelError.

    It keeps no namespace alive, as a socket inside would.
    """
    try:
        listener.setsockopt(SOL_NETLINK, _LISTEN_ALL_NSID, int(is_on))
    except OSError as cause:
        detail = "Operation not permitted; it takes CAP_NET_BROADCAST" if cause.errno == errno.EPERM else ""
        raise kernel_error(cause.errno or errno.EIO, "listen to network namespaces", detail) from cause


def nsid_of(ancillary: Ancillary) -> int | None:
    """Return the number of the namespace where it happened, None for the socket's own."""
    return next((_NSID.unpack(data)[0] for level, _, data in ancillary if level == SOL_NETLINK), None)


def received(listener: socket.socket, size: int, ancillary_size: int = 0) -> Iterator[tuple[bytes, Ancillary] | None]:
    """Yield what waits, each cut to `size`. None: some was lost for want of room. Raises KernelError."""
    for _ in range(_RECEIVED_MAX):
        try:
            data, ancillary, _, _ = listener.recvmsg(size, ancillary_size)
        except BlockingIOError:
            return
        except OSError as cause:
            if cause.errno != errno.ENOBUFS:
                raise kernel_error(cause.errno or errno.EIO, "receive netlink events") from cause
            yield None
        else:
            yield data, ancillary


def _set_buffer(opened: socket.socket, size: int) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:  # not root of the machine: as much as net.core.rmem_max allows
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
