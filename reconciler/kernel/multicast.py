"""Sockets that the kernel tells of changes (netlink(7)), for whichever protocol."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.errors import kernel_error

SOL_NETLINK: Final = 270
_AF_NETLINK: Final = 16
_ADD_MEMBERSHIP: Final = 1
_SO_RCVBUFFORCE: Final = 33

BUFFER_BYTES: Final = 8 << 20
"""For some 5,000 events. Only what waits to be read takes memory."""

_RECEIVED_MAX: Final = 8192
"""Taken at once, so that no flood keeps us; what is left makes the descriptor readable again."""

Ancillary = list[tuple[int, int, bytes]]


def listen(protocol: int, groups: Sequence[int], *, buffer_bytes: int = BUFFER_BYTES) -> socket.socket:
    """Open a socket in the namespace of the calling thread and join groups, by their numbers. Raises KernelError."""
    try:
        opened = socket.socket(_AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
        try:
            _set_buffer(opened, buffer_bytes)
            # An address first: to those who have none the kernel tells nothing of its own doing.
            opened.bind((0, 0))
            for group in groups:
                opened.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            opened.close()
            raise
    except OSError as cause:
        raise kernel_error(cause.errno or errno.EIO, f"listen to netlink protocol {protocol}") from cause
    return opened


def received(listener: socket.socket, size: int, ancillary_size: int = 0) -> Iterator[tuple[bytes, Ancillary] | None]:
    """Give what waits, each cut to `size`. None: some was lost for want of room. Raises KernelError."""
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
