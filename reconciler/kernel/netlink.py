"""One rtnetlink socket: dumps, and batches of requests of which each gets its own answer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from reconciler.errors import kernel_error, kernel_errors
from reconciler.kernel.rtnetlink import (
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    NetlinkRequest,
    messages,
    packed,
    refusal,
)

T = TypeVar("T")
Decode = Callable[[bytes, int, int], T]
"""Reads a payload at buffer[start:end]; None skips it."""

NETLINK_SOCK_DIAG: Final = 4
NETLINK_NETFILTER: Final = 12
GET_ELEMENT: Final = 10 << 8 | 13
GET_GENERATION: Final = 10 << 8 | 16
"""NFT_MSG_GETSETELEM and NFT_MSG_GETGEN of linux/netfilter/nf_tables.h."""

SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12
_RECEIVE_SIZE: Final = 1 << 16
"""The kernel cuts dumps into at most 32 KiB (netlink_dump in net/netlink/af_netlink.c)."""

_REPLIES_MAX: Final = 160 << 10
_ANSWER_SIZE: Final = 6 << 10
_REFUSAL_SIZE: Final = 1 << 10
"""What replies take of the receive buffer, if every request gets one: they shall fit the smallest default (208 KiB)."""

UNBROKEN_MAX: Final = 1024
"""Of about 50 bytes each, which the smallest default send buffer (208 KiB) holds."""

_DUMP_ATTEMPTS: Final = 20
_TIMEOUT_S: Final = 30.0
"""An answer is there when send() returns, but for the lock of rtnetlink, which others may hold."""


_LOW_FDS: Final = 512
_FD_SETSIZE: Final = 1024
"""Of select(2), by which libnftables waits for answers: a descriptor from there on ends the process."""


def out_of_the_way(fd: int) -> int:
    """Move a descriptor of those that come by the thousand behind the ones that all code can use; return it."""
    if fd < _LOW_FDS:
        return fd
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD_SETSIZE)
    except OSError:  # no process may have so many here
        return fd
    os.close(fd)
    return moved


class NetlinkMessage(NamedTuple):
    """What became of one request. errno 0: done. detail: the kernel's own words. answers: to requests that ask for something."""

    errno: int = 0
    detail: str = ""
    answers: tuple[Message, ...] = ()


class RouteSocket:
    """An rtnetlink socket in the namespace that the calling thread is in when it is made. Not for several threads at once.

    protocol: another one of linux/netlink.h; requests of a batch are changes then, none of them asks for something.
    writes: how many changing requests were sent, so that a test can prove a pass that changes nothing.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._protocol = protocol
        with kernel_errors("open a netlink socket"):
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket = socket.socket(opened.family, opened.type, protocol, out_of_the_way(opened.detach()))
        self._sequence = 0
        self.writes = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            with contextlib.suppress(OSError):  # kernels before 4.20 lack some: longer answers then, dumps less exact
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        self._socket.close()

    def dump(self, request: NetlinkRequest, decode: Decode[T | None]) -> list[T]:
        """Return everything that `request` asks for, decoded.

        Starts again when the kernel says that something changed meanwhile, or that answers were lost. Raises KernelError.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found = self._dump_once(request, decode)
            if found is not None:
                return found
        raise kernel_error(
            errno.EAGAIN, f"netlink dump {request.kind}", "it changed while it was read, again and again"
        )

    def _dump_once(self, request: NetlinkRequest, decode: Decode[T | None]) -> list[T] | None:
        """Return None when the dump was cut or inconsistent."""
        self._sequence += 1
        sequence, is_interrupted = self._sequence, False
        self._send(packed(request, sequence))
        found: list[T] = []
        while True:
            try:
                buffer = self._receive()
            except BlockingIOError:
                return None
            for message in messages(buffer):
                if message.sequence != sequence:
                    continue
                is_interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
                if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                    number, detail = refusal(message) if message.end > message.start else (0, "")
                    if number not in (0, errno.EINTR):
                        raise kernel_error(number, f"netlink dump {request.kind}", detail)
                    return None if is_interrupted or number else found
                decoded = decode(buffer, message.start, message.end)
                if decoded is not None:
                    found.append(decoded)

    def batch(self, requests: Sequence[NetlinkRequest]) -> list[NetlinkMessage]:
        """Send requests, which the kernel carries out in order, each whether or not those before it succeeded.

        Gives one reply each, in the same order. Raises KernelError only when the socket itself fails.
        """
        return [reply for some in self._fitting(requests) for reply in self.batch_unbroken(some)]

    def batch_unbroken(self, requests: Sequence[NetlinkRequest]) -> list[NetlinkMessage]:
        """As `batch`, in one datagram: once the kernel has it, nothing that happens to us stops it half way.

        For at most `UNBROKEN_MAX` small requests that are seldom refused. Only the last acknowledgement is asked for: errors come
        unasked, so when it is there the silent ones succeeded.
        """
        first = self._sequence + 1
        self._sequence = last = self._sequence + len(requests)
        self.writes += sum(not self._is_question(request) for request in requests)
        self._send(
            b"".join(
                packed(request, sequence, NLM_F_ACK if sequence == last else 0)
                for sequence, request in enumerate(requests, first)
            )
        )
        refusals: dict[int, tuple[int, str]] = {}
        answers: dict[int, list[Message]] = {}
        while last not in refusals:
            for message in messages(self._receive_reply()):
                if message.kind == NLMSG_ERROR:
                    refusals[message.sequence] = refusal(message)
                elif message.sequence >= first:
                    answers.setdefault(message.sequence, []).append(message)
        return [
            NetlinkMessage(*refusals.get(sequence, (0, "")), tuple(answers.get(sequence, ())))
            for sequence in range(first, last + 1)
        ]

    def request(self, request: NetlinkRequest) -> NetlinkMessage:
        return self.batch((request,))[0]

    def _send(self, datagram: bytes) -> None:
        with kernel_errors("send to rtnetlink"):
            self._socket.send(datagram)

    def _receive(self) -> bytes:
        """Raises BlockingIOError when answers were lost for want of room; what came is thrown away then."""
        try:
            return self._socket.recv(_RECEIVE_SIZE)
        except TimeoutError as cause:
            raise kernel_error(errno.ETIMEDOUT, "wait for rtnetlink") from cause
        except OSError as cause:
            if cause.errno != errno.ENOBUFS:
                raise kernel_error(cause.errno or errno.EIO, "receive from rtnetlink") from cause
            self._drain()
            raise BlockingIOError(errno.ENOBUFS, "answers lost") from cause

    def _receive_reply(self) -> bytes:
        try:
            return self._receive()
        except BlockingIOError as cause:
            raise kernel_error(
                errno.ENOBUFS, "receive from rtnetlink", "answers were lost; the next pass looks again"
            ) from cause

    def _fitting(self, requests: Sequence[NetlinkRequest]) -> Iterator[Sequence[NetlinkRequest]]:
        """Cut into runs whose replies fit the receive buffer."""
        start, size = 0, 0
        for number, request in enumerate(requests):
            own = _ANSWER_SIZE if self._is_question(request) else _REFUSAL_SIZE
            if size + own > _REPLIES_MAX:
                yield requests[start:number]
                start, size = number, 0
            size += own
        if start < len(requests):
            yield requests[start:]

    def _is_question(self, request: NetlinkRequest) -> bool:
        """rtnetlink types come in fours: new, delete, get, set (RTM_BASE in linux/rtnetlink.h)."""
        return (self._protocol == socket.NETLINK_ROUTE and request.kind & 3 == 2) or request.kind in (
            GET_ELEMENT,
            GET_GENERATION,
        )

    def _drain(self) -> None:
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(_RECEIVE_SIZE):
                pass
        self._socket.settimeout(_TIMEOUT_S)
