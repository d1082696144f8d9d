"""A name server that does what a test tells it to: the truth, lies, garbage, or nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rrset

from tests.machine import Machine
from tests.waiting import patient

Behaviour = Callable[[bytes], list[bytes]]
"""Gives the replies to be sent to one query, none for silence."""


def truth(address: str = "198.51.100.7", *, rcode: int = 0, truncated: bool = False, count: int = 1) -> Behaviour:
    """Answer every question with an A record (or `count` of them), or by the response code alone."""

    def behave(message: bytes) -> list[bytes]:
        query = dns.message.from_wire(message)
        reply = dns.message.make_response(query)
        reply.set_rcode(rcode)  # type: ignore[arg-type]
        if rcode == 0:
            addresses = [address] + [f"198.51.101.{number}" for number in range(1, count)]
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", *addresses))
        if truncated:
            reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    return behave


def silence(_: bytes) -> list[bytes]:
    return []


def lies(message: bytes) -> list[bytes]:
    """A wrong id, a wrong question, the query itself, noise; then the truth."""
    other = dns.message.make_query("evil.example", "A")
    other.id = dns.message.from_wire(message).id
    wrong_id = bytes((message[0] ^ 1, *message[1:]))
    return [
        truth("203.0.113.66")(wrong_id)[0],
        truth("203.0.113.66")(other.to_wire())[0],
        message,
        b"\xff" * 40,
        *truth()(message),
    ]


def garbage(message: bytes) -> list[bytes]:
    return [message[:2] + b"\xff" * 50] * 20


class Upstream:
    """Serves UDP and TCP at one address in one namespace. queries: what came in, as (transport, message)."""

    def __init__(self, machine: Machine, ns: str, address: str, behave: Behaviour) -> None:
        self.behave = behave
        self.queries: list[tuple[str, bytes]] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with machine.inside(ns):
            self._datagrams = socket.socket(family, socket.SOCK_DGRAM)
            self._listener = socket.socket(family, socket.SOCK_STREAM)
            place = socket.getaddrinfo(address, 53, family, socket.SOCK_STREAM)[0][4]
        for each in (self._datagrams, self._listener):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(place)
        self._listener.listen(16)
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._serve_datagrams, self._serve_streams)
        ]

    @contextlib.contextmanager
    def running(self) -> Iterator[Upstream]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            for each in (self._datagrams, self._listener):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join(patient(5))
            self._datagrams.close()
            self._listener.close()

    def _serve_datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                message, client = self._datagrams.recvfrom(65535)
                if not message:  # shut down
                    return
                self.queries.append(("udp", message))
                for reply in self.behave(message):
                    self._datagrams.sendto(reply, client)

    def _serve_streams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(patient(6))
                    message = client.recv(65535)[2:]
                    self.queries.append(("tcp", message))
                    for reply in self.behave(message):
                        client.sendall(len(reply).to_bytes(2, "big") + reply)
                    if not self.behave(message):
                        client.recv(1)
