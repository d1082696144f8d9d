"""One sandbox's side of the server: its two sockets, its view, and what to do with each question that arrives there."""

from __future__ import annotations

import errno
import fcntl
import random
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from reconciler.dns.answer import Forward, answer, ready_reply
from reconciler.dns.forwarder import Exchange, ForwardedQuery, Forwarder
from reconciler.dns.reactor import Reactor
from reconciler.dns.stream import BACKLOG, StreamGroup, StreamLimits
from reconciler.dns.upstream import Upstream
from reconciler.dns.view import DnsView
from reconciler.dns.wire import Query
from reconciler.dns.zones import LISTEN_ADDRESS
from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import NsRef

PORT: Final = 53
_BATCH: Final = 32
"""Datagrams taken from one sandbox before the others have their turn."""

_DATAGRAM_MAX: Final = 4096
_RECEIVE_BUFFER: Final = 1 << 20
"""Bytes asked for, of which the kernel grants what net.core.rmem_max allows (socket(7)): bursts of many clients wait in it."""

_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 1
_IFREQ: Final = struct.Struct("16sH22x")
"""Of netdevice(7)."""


def open_sockets(namespaces: Namespaces, ns: NsRef) -> tuple[socket.socket, socket.socket]:
    """Return the UDP and the listening TCP socket inside a sandbox. Raises SandboxMissing, KernelError, OSError (port taken)."""
    with namespaces.enter(ns):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _insist_on_loopback(datagrams)
        for made in (datagrams, listener):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((str(LISTEN_ADDRESS), PORT))
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listener.listen(BACKLOG)
    except OSError:
        datagrams.close()
        listener.close()
        raise
    return datagrams, listener


def _insist_on_loopback(inside: socket.socket) -> None:
    """Raise OSError while `lo` is down. In a namespace that never had an address the kernel takes any address for a broadcast one
    and lets it be bound, but then does not send from it (inet_addr_type in net/ipv4/fib_frontend.c).
    """
    _, flags = _IFREQ.unpack(fcntl.ioctl(inside, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
    if not flags & _IFF_UP:
        raise OSError(errno.EADDRNOTAVAIL, "its loopback interface is down")


def shuffled(records: Sequence[bytes]) -> list[bytes]:
    return random.sample(records, len(records))


class ServedSandbox:
    """A sandbox that is being served. view, servers: replaced when the zones change; inode: of the namespace it listens in."""

    def __init__(
        self,
        ns: NsRef,
        inode: int,
        sockets: tuple[socket.socket, socket.socket],
        reactor: Reactor,
        forwarder: Forwarder,
        limits: StreamLimits,
    ) -> None:
        self.ns = ns
        self.inode = inode
        self.sockets = sockets
        self.exchanges: set[Exchange] = set()
        self.view = DnsView(tables=(), links=(), is_ndots_set=False, ready_max=0)
        self.servers: tuple[Upstream, ...] = ()
        self._reactor = reactor
        self._forwarder = forwarder
        self._datagrams, self._listener = sockets
        self._streams = StreamGroup(limits, self._listener, self._answer_stream)

    def listen(self) -> None:
        self._reactor.watch(self._datagrams.fileno(), self._on_datagrams)
        self._reactor.watch(self._listener.fileno(), self._streams.on_connections)

    def stop_listening(self) -> None:
        """Take no new question; those under way are still answered."""
        self._reactor.forget(self._datagrams.fileno())
        self._reactor.forget(self._listener.fileno())

    @property
    def is_busy(self) -> bool:
        return bool(self.exchanges) or any(stream.is_busy for stream in self._streams.streams)

    def close(self) -> None:
        self.stop_listening()
        self._streams.close()
        for exchange in tuple(self.exchanges):
            exchange.cancel()
        for each in self.sockets:
            each.close()

    def _on_datagrams(self, _: int) -> None:
        """The path that all speed depends on: receive, one look-up, send."""
        receive, send = self._datagrams.recvfrom, self._datagrams.sendto
        ready = self.view.ready.get
        try:
            for _ in range(_BATCH):
                message, client = receive(_DATAGRAM_MAX)
                known = ready(message[2:].lower())
                if known is not None:
                    send(ready_reply(message, known, shuffled), client)
                else:
                    self._answer_datagram(message, client)
        except OSError:  # nothing left; or the client's buffer is full, and it will ask again
            return

    def _answer_datagram(self, message: bytes, client: tuple[str, int]) -> None:
        def deliver(reply: bytes) -> None:
            try:
                self._datagrams.sendto(reply, client)
            except OSError:
                return

        found = answer(message, self.view, shuffled)
        if isinstance(found, Forward):
            self._forwarder.forward(self, self._question(message, found.query, deliver, is_stream=False))
        elif found is not None:
            deliver(found)

    def _answer_stream(self, message: bytes, deliver: Callable[[bytes | None], None]) -> Callable[[], None] | None:
        found = answer(message, self.view, shuffled, is_stream=True)
        if isinstance(found, Forward):
            question = self._question(message, found.query, deliver, is_stream=True)
            exchange = self._forwarder.forward(self, question)
            return exchange.cancel if exchange is not None else None
        deliver(found)
        return None

    def _question(
        self, message: bytes, query: Query, deliver: Callable[[bytes], None], *, is_stream: bool
    ) -> ForwardedQuery:
        return ForwardedQuery(message=message, query=query, servers=self.servers, deliver=deliver, is_stream=is_stream)
