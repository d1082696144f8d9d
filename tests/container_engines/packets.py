"""Who reaches whom: every party asks every address by ICMP, TCP and UDP, all at once, and servers tell whom they saw.

One process, one thread: sockets stay in the namespace in which they were made. Standard library only, as record.sh runs it too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.container_engines.packet_matrix import SILENT, Cell
from tests.container_engines.pings import Heard, echo_request, read_ping
from tests.private_namespaces import set_network_namespace

_AGAIN_S: Final = 0.25
"""What needs no connection is sent again meanwhile: a link that came up just now may have lost it."""

_UNLIMITED: Final = {
    "ipv4/icmp_ratelimit": "0",
    "ipv4/icmp_ratemask": "0",
    "ipv6/icmp/ratelimit": "0",
    "ipv6/icmp/ratemask": "255",  # a list of kinds, of which there must be one
}
_ANCILLARY: Final = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
_NOBODY_SAID: Final = (errno.EPERM, errno.ETIMEDOUT, errno.EHOSTUNREACH)
"""Dropped on the way out; no answer; nobody has the address, which takes seconds to find out."""

_PONG: Final = "somebody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    name: str
    namespace: Path
    serves: Sequence[int]


class Questions:
    """All parties' servers and questions; close it."""

    def __init__(self, parties: Iterable[Party], addresses: Mapping[str, str], cells: Sequence[Cell]) -> None:
        self.answers = dict.fromkeys(cells, SILENT)
        self._addresses = addresses
        self._names = {address: name for name, address in addresses.items()}
        self._cells = cells
        self._sockets: list[socket.socket] = []
        self._handlers: dict[int, Callable[[], None]] = {}
        self._datagrams: dict[Cell, Callable[[], None]] = {}
        self._pinged: dict[int, str] = {}
        self._poll = select.epoll()
        self._parties = tuple(parties)

    def ask(self, is_enough: Callable[[Mapping[Cell, str], float], bool]) -> None:
        """Serve and ask until it is enough, by the answers and the seconds since the last question."""
        by_client: dict[str, list[Cell]] = {}
        for cell in self._cells:
            by_client.setdefault(cell.client, []).append(cell)
        pings: dict[str, dict[int, socket.socket]] = {}
        numbers = {cell: number for number, cell in enumerate(self._cells)}
        for party in self._parties:
            with _inside(party.namespace):
                self._serve(party)
                pings[party.name] = self._ping_sockets(party)
        for party in self._parties:
            with _inside(party.namespace):
                for cell in by_client.get(party.name, ()):
                    self._begin(cell, pings[party.name], numbers[cell])
            self._handle(0)
        began = again = time.monotonic()
        while not is_enough(self.answers, time.monotonic() - began):
            self._handle(0.05)
            if time.monotonic() - again > _AGAIN_S:
                again = time.monotonic()
                self._send_again()

    def close(self) -> dict[Cell, str]:
        """End all, and give the answers; who was asked by a ping is known now, whichever socket was read first."""
        self._poll.close()
        for one in self._sockets:
            one.close()
        answered = {number: cell for number, cell in enumerate(self._cells) if self.answers[cell] == _PONG}
        return self.answers | {cell: self._pinged.get(number, _PONG) for number, cell in answered.items()}

    def _handle(self, timeout_s: float) -> None:
        for fd, _ in self._poll.poll(timeout_s):
            self._handlers[fd]()

    def _send_again(self) -> None:
        for cell, send in self._datagrams.items():
            if self.answers[cell] == SILENT:
                with contextlib.suppress(OSError):
                    send()

    def _made(
        self, family: int, kind: int, handler: Callable[[socket.socket], None], protocol: int = 0
    ) -> socket.socket:
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(made)
        self._handlers[made.fileno()] = lambda: handler(made)
        return made

    def _watch(self, one: socket.socket) -> None:
        self._poll.register(one.fileno(), select.EPOLLIN)

    # --- servers

    def _serve(self, party: Party) -> None:
        for port in party.serves:
            tcp = self._made(socket.AF_INET6, socket.SOCK_STREAM, lambda one: self._accept(party, one))
            udp = self._made(socket.AF_INET6, socket.SOCK_DGRAM, lambda one: self._reply(party, one))
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            for one in (tcp, udp):
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("::", port))
            tcp.listen(4096)
            self._watch(tcp)
            self._watch(udp)

    def _seen(self, party: Party, address: str) -> str:
        plain = address.removeprefix("::ffff:").partition("%")[0]
        known = "link-local" if plain.startswith("fe80:") else plain
        return f"{party.name}<{self._names.get(plain, known)}"

    def _accept(self, party: Party, server: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, address = server.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(self._seen(party, address[0]).encode())

    def _reply(self, party: Party, server: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    _, ancillary, _, client = server.recvmsg(100, 100)
                    # From the address that was asked, or the client takes it for somebody else's.
                    source = [
                        (*_ANCILLARY, data[:16] + bytes(4))
                        for level, kind, data in ancillary
                        if (level, kind) == _ANCILLARY
                    ]
                    server.sendmsg([self._seen(party, client[0]).encode()], source, 0, client)
                except BlockingIOError:
                    raise
                except OSError:  # an earlier reply was refused, or this one has no way
                    continue

    # --- clients

    def _begin(self, cell: Cell, pings: Mapping[int, socket.socket], number: int) -> None:
        address = self._addresses[cell.target]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            if cell.kind == "icmp":
                self._send_ping(cell, pings[family], address, number)
            else:
                protocol, port = cell.kind.split()
                self._ask(cell, family, protocol, (address, int(port)))
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(cell, error)

    def _ask(self, cell: Cell, family: int, protocol: str, target: tuple[str, int]) -> None:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        made = self._made(family, kind, lambda one: self._answered(cell, one))
        if protocol == "udp":
            made.connect(target)
            self._watch(made)
            self._datagrams[cell] = lambda: _send(made)
            _send(made)
            return
        number = made.connect_ex(target)
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))
        self._watch(made)

    def _answered(self, cell: Cell, client: socket.socket) -> None:
        try:
            self.answers[cell] = client.recv(100).decode() or "closed"
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.answers[cell] = "closed"
        except OSError as error:
            self._failed(cell, error)
        self._poll.unregister(client.fileno())
        client.close()

    def _failed(self, cell: Cell, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            self.answers[cell] = "refused"
        elif error.errno not in _NOBODY_SAID:
            self.answers[cell] = "unreachable"

    # --- pings: raw sockets see requests as well, in which the server finds whom it saw

    def _ping_sockets(self, party: Party) -> dict[int, socket.socket]:
        found = {}
        for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
            made = self._made(family, socket.SOCK_RAW, lambda one: self._heard(party, one), protocol)
            self._watch(made)
            found[int(family)] = made
        return found

    def _send_ping(self, cell: Cell, sender: socket.socket, address: str, number: int) -> None:
        packet = echo_request(number, is_v4=sender.family == socket.AF_INET)
        self._datagrams[cell] = lambda: _send(sender, packet, (address, 0))
        self._datagrams[cell]()

    def _heard(self, party: Party, one: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, source = one.recvfrom(2048)
                told = read_ping(packet, is_v4=one.family == socket.AF_INET)
                if told is None:
                    continue
                number, heard = told
                cell = self._cells[number]
                if heard is Heard.REQUEST:
                    self._pinged[number] = self._seen(party, source[0])
                elif cell.client == party.name and self.answers[cell] == SILENT:
                    self.answers[cell] = _PONG if heard is Heard.REPLY else "unreachable"


def _send(sender: socket.socket, data: bytes = b"who am I?", target: tuple[str, int] | None = None) -> None:
    """Whether it was refused is read, not told by the next sending."""
    with contextlib.suppress(ConnectionRefusedError, PermissionError):
        if target is None:
            sender.send(data)
        else:
            sender.sendto(data, target)


@contextlib.contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    with open("/proc/thread-self/ns/net", "rb") as own, namespace.open("rb") as other:
        set_network_namespace(other.fileno())
        try:
            yield
        finally:
            set_network_namespace(own.fileno())


def answers(
    parties: Sequence[Party],
    addresses: Mapping[str, str],
    cells: Sequence[Cell],
    is_enough: Callable[[Mapping[Cell, str], float], bool],
) -> dict[Cell, str]:
    """Ask for all cells; addresses: by the names that cells have for them. Kernels of all parties refuse without sparing."""
    for party in parties:
        with _inside(party.namespace):
            for limit, value in _UNLIMITED.items():
                Path("/proc/sys/net", limit).write_text(value)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    questions = Questions(parties, addresses, cells)
    try:
        questions.ask(is_enough)
    finally:
        found = questions.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    return found
