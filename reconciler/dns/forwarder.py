"""Asks other servers on behalf of sandboxes, from the right namespace, and hands back the first reply that can be believed."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Final, Protocol

from msgspec import Struct

from reconciler.dns import upstream, wire
from reconciler.dns.reactor import READ, WRITE, Reactor, Timer
from reconciler.dns.upstream import Upstream
from reconciler.dns.wire import Query, Rcode
from reconciler.errors import ReconcilerError
from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import HOST, NsRef, is_link_name

PORT: Final = 53
SERVER_TIMEOUT_S: Final = 4.0
"""Per server, for all of connecting, asking and reading (docs/design/docker.md#forwarding)."""

_GARBAGE_MAX: Final = 16
"""Datagrams that do not answer the question, after which a server is given up."""

_MESSAGE_MAX: Final = 0xFFFF
_INDEX_DIGITS: Final = 10
"""Of an interface's index, a positive C int."""

_UNDER_WAY: Final = (errno.EINPROGRESS, 0)


class Asker(Protocol):
    """Whose queries are forwarded: a sandbox."""

    ns: NsRef
    exchanges: set[Exchange]


class ForwardedQuery(Struct, frozen=True, kw_only=True):
    """What an asker wants to know. servers: in the order to be asked; deliver: gets the reply."""

    message: bytes
    query: Query
    servers: Sequence[Upstream]
    deliver: Callable[[bytes], None]
    is_stream: bool

    def error(self, rcode: Rcode) -> bytes:
        return wire.error_reply(self.message, self.query, rcode)


class Exchange:
    """One question on its way: server after server until a reply is final or none is left."""

    __slots__ = (
        "_asked",
        "_buffer",
        "_forwarder",
        "_garbage",
        "_last",
        "_question",
        "_servers",
        "_socket",
        "_timer",
        "asker",
    )

    def __init__(self, forwarder: Forwarder, asker: Asker, question: ForwardedQuery) -> None:
        self.asker = asker
        self._forwarder = forwarder
        self._question = question
        self._servers = iter(question.servers)
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._asked = self._buffer = b""
        self._garbage = 0
        self._last: bytes | None = None

    def ask_next(self) -> None:
        """Turn to the next server; without one hand back the last refusal, or SERVFAIL when nobody said anything."""
        self._leave_server()
        if not any(self._ask(server) for server in self._servers):
            self._finish(self._last or self._question.error(Rcode.SERVFAIL))

    def cancel(self) -> None:
        """Forget it; nobody gets a reply. Harmless when done."""
        self._leave_server()
        self._forwarder.done(self)

    def _finish(self, reply: bytes) -> None:
        self.cancel()
        self._question.deliver(reply)

    def _ask(self, server: Upstream) -> bool:
        """Open a socket for each server: the kernel picks its port and drops what comes from elsewhere (RFC 5452)."""
        kind = socket.SOCK_STREAM if self._question.is_stream else socket.SOCK_DGRAM
        self._asked = os.urandom(2) + self._question.message[2:]
        self._buffer, self._garbage = b"", 0
        try:
            self._socket = self._forwarder.connected(self.asker.ns if server.is_inside else HOST, server, kind)
            if not self._question.is_stream:
                self._socket.send(self._asked)
        except (OSError, ReconcilerError):
            self._leave_server()
            return False
        on_ready = self._on_connected if self._question.is_stream else self._on_datagram
        reactor = self._forwarder.reactor
        reactor.watch(self._socket.fileno(), on_ready, WRITE if self._question.is_stream else READ)
        self._timer = reactor.call_after(SERVER_TIMEOUT_S, self.ask_next)
        return True

    def _leave_server(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._forwarder.reactor.forget(self._socket.fileno())
            self._socket.close()
        self._timer = self._socket = None

    def _on_datagram(self, _: int) -> None:
        if self._socket is None:
            return None
        try:
            reply = self._socket.recv(_MESSAGE_MAX)
        except BlockingIOError:
            return None
        except OSError:  # an ICMP error: nobody listens there
            return self.ask_next()
        if upstream.is_reply_to(self._asked, self._question.query.question_end, reply):
            return self._take(reply)
        self._garbage += 1
        if self._garbage >= _GARBAGE_MAX:
            self.ask_next()
        return None

    def _on_connected(self, _: int) -> None:
        if self._socket is None:
            return None
        framed = len(self._asked).to_bytes(2, "big") + self._asked
        try:
            is_sent = self._socket.send(framed) == len(framed)
        except BlockingIOError:
            return None
        except OSError:
            is_sent = False
        if not is_sent:
            return self.ask_next()
        fd = self._socket.fileno()
        self._forwarder.reactor.forget(fd)
        self._forwarder.reactor.watch(fd, self._on_stream)
        return None

    def _on_stream(self, _: int) -> None:
        if self._socket is None:
            return None
        try:
            data = self._socket.recv(_MESSAGE_MAX)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return self.ask_next()
        self._buffer += data
        size = int.from_bytes(self._buffer[:2], "big") if len(self._buffer) >= 2 else _MESSAGE_MAX
        if len(self._buffer) < size + 2:
            return None
        reply = self._buffer[2 : size + 2]
        if upstream.is_reply_to(self._asked, self._question.query.question_end, reply):
            return self._take(reply)
        return self.ask_next()

    def _take(self, reply: bytes) -> None:
        question = self._question
        passed_on = upstream.passed_on(reply, question.message, question.query, is_stream=question.is_stream)
        if upstream.is_final(reply):
            return self._finish(passed_on)
        self._last = passed_on
        return self.ask_next()


class Forwarder:
    """All exchanges of the process, within bounds that no sandbox can use up for the others."""

    def __init__(self, reactor: Reactor, namespaces: Namespaces) -> None:
        self.reactor = reactor
        self._namespaces = namespaces
        self.in_flight = 0

    def forward(self, asker: Asker, question: ForwardedQuery) -> Exchange | None:
        """Start asking. The reply may be delivered before this returns, which is then None: SERVFAIL at once without servers,
        REFUSED beyond the limits.
        """
        if not question.servers:
            question.deliver(question.error(Rcode.SERVFAIL))
            return None
        if upstream.is_over_limit(len(asker.exchanges), self.in_flight):
            question.deliver(question.error(Rcode.REFUSED))
            return None
        exchange = Exchange(self, asker, question)
        asker.exchanges.add(exchange)
        self.in_flight += 1
        exchange.ask_next()
        return exchange if exchange in asker.exchanges else None

    def done(self, exchange: Exchange) -> None:
        if exchange in exchange.asker.exchanges:
            exchange.asker.exchanges.remove(exchange)
            self.in_flight -= 1

    def connected(self, ns: NsRef, server: Upstream, kind: socket.SocketKind) -> socket.socket:
        """Return a socket on its way to the server, made in `ns`. Raises OSError, SandboxMissing, KernelError."""
        family = socket.AF_INET if server.address.version == 4 else socket.AF_INET6
        inside = contextlib.nullcontext() if ns == HOST else self._namespaces.enter(ns)
        with inside:
            place = destination(server)
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
            number = made.connect_ex(place)
        if number in _UNDER_WAY:
            return made
        made.close()
        raise OSError(number, os.strerror(number))


def destination(server: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the socket address, to be used in the namespace that this is called in: there its zone is the index of a link.

    Raises OSError where that link is not there.
    """
    zone = server.address.scope_id if isinstance(server.address, IPv6Address) else None
    if zone is None:
        return str(server.address), PORT
    return str(server.address).partition("%")[0], PORT, 0, _index(zone)


def _index(zone: str) -> int:
    if zone.isascii() and zone.isdecimal() and len(zone) < _INDEX_DIGITS:
        return int(zone)
    if not is_link_name(zone):
        raise OSError(errno.ENODEV, f"{zone!r} is no link")
    return socket.if_nametoindex(zone)
