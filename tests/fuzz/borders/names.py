"""DNS both ways, and the files and messages between the engine and its name server."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from reconciler.dns import control, upstream
from reconciler.dns import forwarder as dns_forwarder
from reconciler.dns.answer import Forward, answer
from reconciler.dns.forwarder import ForwardedQuery, Forwarder, destination
from reconciler.dns.in_force import ZonesInForce
from reconciler.dns.service import Service
from reconciler.dns.stream import Stream, StreamGroup, StreamLimits
from reconciler.dns.tables import kept_tables
from reconciler.dns.upstream import Upstream
from reconciler.dns.view import Views, reverse_block
from reconciler.dns.wire import Malformed, Unanswerable, parse_query
from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint, read_rows
from reconciler.errors import ReconcilerError, ResolverError
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Unit
from reconciler.sandbox.resolv_conf import ndots, parse_resolv_conf
from tests.fakes.zones import Zones, zone_rows
from tests.fuzz.second import check_query
from tests.fuzz.target import Form, Target, listed

_FRONT: Final = NetworkZone(
    name="front",
    endpoints=(
        ServedEndpoint(
            name="web",
            names=("web", "www"),
            addresses=(ip_address("172.21.0.2"), ip_address("fd00::2")),
            ports=((80, 80, "tcp"),),
        ),
        ServedEndpoint(name="db", names=("db",), addresses=tuple(ip_address(f"172.21.1.{n}") for n in range(1, 60))),
    ),
)
_ASKER: Final = SandboxZone(
    name="asker",
    ns=NsRef("netns:asker"),
    networks=("front",),
    links=(("front", (("store", "db"),)),),
    servers=(ip_address("192.0.2.53"),),
    subnets=(),
)


def _views(**changes: Any) -> Views:
    from msgspec.structs import replace

    views = Views()
    views.update({"front": _FRONT}, {"asker": replace(_ASKER, **changes)})
    return views


_SEEN: Final = _views().of("asker")
_NDOTS: Final = _views(is_ndots_set=True).of("asker")


def _query(name: str, rtype: str = "A", **options: Any) -> bytes:
    return dns.message.make_query(name, rtype, id=0x1234, **options).to_wire()


def _query_seeds() -> Iterator[bytes]:
    for name, rtype in (
        ("web", "A"),
        ("WEB.front", "AAAA"),
        ("db", "A"),
        ("store", "A"),
        ("example.org", "MX"),
        ("www", "HTTPS"),
    ):
        yield _query(name, rtype, use_edns=0 if rtype != "A" else -1)
    yield _query("2.0.21.172.in-addr.arpa", "PTR", use_edns=0, payload=4096, want_dnssec=True)
    yield _query("_80._tcp.web", "SRV")
    yield _query(f"{'0.' * 31}0.ip6.arpa", "PTR")
    yield _query("db", use_edns=1, payload=1400)
    yield _query(".", "NS")
    yield _query("web", "AXFR")


def _run_query(data: bytes) -> None:
    """Answer a question of a sandbox: nothing, or a reply to it that others can read, in the size that was asked for."""
    with contextlib.suppress(Unanswerable, Malformed):
        check_query(data, parse_query(data))
    for view in (_SEEN, _NDOTS):
        for is_stream in (False, True):
            for _ in range(2):
                reply = answer(data, view, tuple, is_stream=is_stream)
                if isinstance(reply, Forward):
                    _check_forward(data, reply, is_stream=is_stream)
                elif reply is not None:
                    _check_reply(data, reply, is_stream=is_stream)


def _check_forward(data: bytes, found: Forward, *, is_stream: bool) -> None:
    question = ForwardedQuery(message=data, query=found.query, servers=(), deliver=lambda _: None, is_stream=is_stream)
    for rcode in (2, 5):
        _check_reply(data, question.error(rcode), is_stream=is_stream)  # type: ignore[arg-type]


def _check_reply(data: bytes, reply: bytes, *, is_stream: bool) -> None:
    assert reply[:2] == data[:2]
    assert reply[2] & 0x80
    assert len(reply) <= (0xFFFF if is_stream else 4096)
    if len(reply) == 12:  # to what could not be read
        return
    read = dns.message.from_wire(reply)
    _check_records(data, read)
    size = parse_query(data).udp_size
    assert is_stream or len(reply) <= max(512, size)
    assert read.flags & 0x8000


_NAMES: Final = {"web": _FRONT.endpoints[0], "www": _FRONT.endpoints[0], "db": _FRONT.endpoints[1]}


def _check_records(data: bytes, read: dns.message.Message) -> None:
    """A name of ours leads to all its addresses of the family that is asked for, or to some of them where that is said."""
    (question,) = read.question
    name = str(question.name).lower().removesuffix(".").removesuffix(".front")
    endpoint = _NAMES.get("db" if name == "store" else name)
    if endpoint is None or question.rdclass != dns.rdataclass.IN or read.rcode() != dns.rcode.NOERROR:
        return
    versions = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
    expected = {str(a) for a in endpoint.addresses if a.version == versions.get(question.rdtype)}
    found = [str(one) for records in read.answer for one in records if records.rdtype in versions]
    assert len(found) == len(set(found))
    assert set(found) == expected or (read.flags & dns.flags.TC and set(found) < expected)


# --- what other servers answer

_ASKED: Final = _query("example.org", "A", use_edns=0)


def _upstream_seeds() -> Iterator[bytes]:
    query = dns.message.from_wire(_ASKED)
    for rcode in (0, 2, 3, 5):
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.Rcode(rcode))
        yield reply.to_wire()
    reply = dns.message.make_response(query)
    for line in ("example.org. 60 IN A 192.0.2.1", 'example.org. 60 IN TXT "x"'):
        reply.answer += dns.message.from_text(f"id 1\n;QUESTION\n;ANSWER\n{line}").answer
    yield reply.to_wire()
    yield reply.to_wire()[:14]


class _Line:
    """Stands for a socket to a server, of which pieces come; what is sent is kept."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces, self.sent, self.is_closed = pieces, bytearray(), False

    def fileno(self) -> int:
        return -1 if self.is_closed else 7

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        piece, rest = self.pieces[0][:size], self.pieces[0][size:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    def close(self) -> None:
        self.is_closed = True


class _Reactor:
    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, handler: Callable[[int], None], _: int = 0) -> None:
        self.handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        pass

    def forget(self, fd: int) -> None:
        self.handlers.pop(fd, None)

    def call_after(self, _: float, __: Callable[[], None]) -> Any:
        return SimpleNamespace(cancel=lambda: None)


def _run_upstream(data: bytes) -> None:
    """Take it for the answers of two servers, by UDP and TCP: the asker gets one reply, to what it asked, or none yet."""
    size = 1 + (data[0] if data else 0)
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if data[:1] > b"\x40" else [data] * 20
    for is_stream in (False, True):
        reactor: Any = _Reactor()
        namespaces: Any = None
        forwarder = Forwarder(reactor, namespaces)
        lines: list[_Line] = []

        def connected(*_: object, is_stream: bool = is_stream, lines: list[_Line] = lines) -> Any:
            lines.append(_Line([_to(piece, is_stream=is_stream) for piece in pieces]))
            return lines[-1]

        forwarder.connected = connected  # type: ignore[method-assign, assignment]
        delivered: list[bytes] = []
        query = parse_query(_ASKED)
        servers = [Upstream(ip_address(f"192.0.2.{n}"), is_inside=False) for n in (1, 2)]
        asker: Any = SimpleNamespace(ns=NsRef("netns:asker"), exchanges=set())
        question = ForwardedQuery(
            message=_ASKED, query=query, servers=servers, deliver=delivered.append, is_stream=is_stream
        )
        with mock.patch.object(dns_forwarder, "os", SimpleNamespace(urandom=lambda _: _ASKED[:2], strerror=str)):
            forwarder.forward(asker, question)
            for _ in range(60):
                for handler in tuple(reactor.handlers.values()):
                    handler(1)
        assert len(delivered) <= 1
        assert forwarder.in_flight == len(asker.exchanges) == 1 - len(delivered)
        for reply in delivered:
            _check_passed_on(reply, pieces, is_stream=is_stream)


def _to(piece: bytes, *, is_stream: bool) -> bytes:
    return struct.pack("!H", len(piece)) + piece if is_stream and piece else piece


def _check_passed_on(reply: bytes, pieces: list[bytes], *, is_stream: bool) -> None:
    query = parse_query(_ASKED)
    is_own = len(reply) == query.question_end + 11 and reply[3] & 0xF == dns.rcode.SERVFAIL
    assert is_own or any(_is_answer(piece, reply) for piece in pieces)
    assert reply[:2] == _ASKED[:2]
    assert reply[12 : query.question_end] == _ASKED[12 : query.question_end]
    assert is_stream or len(reply) <= query.udp_size


def _is_answer(piece: bytes, reply: bytes) -> bool:
    """Return whether a reply is what a server said to our question: id, QR and opcode, and the question itself (RFC 5452)."""
    end = parse_query(_ASKED).question_end
    is_to_us = piece[:2] == _ASKED[:2] and len(piece) >= end and piece[2] & 0xF8 == 0x80 and piece[4:6] == b"\0\1"
    is_to_us = is_to_us and piece[12:end].lower() == _ASKED[12:end].lower()
    return is_to_us and (reply[end:] == piece[end:] or (reply[end:] == b"" and bool(reply[2] & 0x02)))


def _run_stream(data: bytes) -> None:
    """Take what a client of TCP sends, in pieces: as many replies as whole questions, or it is hung up on."""
    size = 1 + (data[0] if data else 0)
    line: Any = _Line([data[at : at + size] for at in range(0, len(data), size)] + [b""] * (size % 2))
    reactor: Any = _Reactor()
    limits = StreamLimits(reactor)
    questions: list[bytes] = []

    def answering(message: bytes, deliver: Callable[[bytes | None], None]) -> None:
        questions.append(message)
        found = answer(message, _SEEN, tuple, is_stream=True)
        deliver(found if isinstance(found, bytes) else None if found is None else b"\0" * 12)

    listener: Any = None
    group = StreamGroup(limits, listener, answering)
    stream = Stream(group, line)
    group.streams[stream] = None
    limits.total = 1
    for _ in range(len(data) + 2):
        if line.is_closed:
            break
        stream._on_ready(1)
        assert len(stream._in) <= 4098
    assert limits.total == len(group.streams) == (not line.is_closed)
    assert line.is_closed or int.from_bytes(stream._in[:2], "big") <= 4096
    replies, at = 0, 0
    while at < len(line.sent):
        at += 2 + int.from_bytes(line.sent[at : at + 2], "big")
        replies += 1
    assert at == len(line.sent)
    assert replies in (len(questions), len(questions) - 1)


def _stream_seeds() -> Iterator[bytes]:
    framed = [struct.pack("!H", len(one)) + one for one in _query_seeds()]
    yield from framed[:3]
    yield framed[0] + framed[1] + framed[2][:9]
    yield b"\xff\xff" + bytes(40)


# --- between the engine and its server


def _zone_seeds() -> Iterator[bytes]:
    rows = zone_rows(Zones(networks=(_FRONT,), sandboxes=(_ASKER,), host_servers=(ip_address("192.0.2.53"),)))
    text = json.loads(rows.text())
    yield json.dumps({**text, "networks": [[name, each[:1]] for name, each in text["networks"]]}).encode()
    change: dict[str, Any] = {"do": "change", "from": "", "to": "x", "host_servers": ["192.0.2.1"]}
    yield json.dumps(
        {**change, "networks": {"front": [0, 0, [["a", ["a"], ["10.0.0.1"], []]]], "gone": None}, "sandboxes": {}}
    ).encode()
    yield json.dumps({"do": "follow", "sandboxes": ["asker"]}).encode()
    yield json.dumps({"do": "status"}).encode()


_UNIT: Final = Unit(network="front", attachment="web")


def _run_zones(data: bytes) -> None:
    """Take it for the file of zones, and for a message on the control socket: what is in force stays where it is none."""
    last: Exception | None = None
    text = data.decode(errors="replace")
    kept_tables(None, text, frozenset({_UNIT}), frozenset({_UNIT}))
    for read in (lambda: read_rows(text), lambda: _put_in_force(text), lambda: control.decode(data)):
        try:
            read()
        except ReconcilerError as error:
            last = error
    reply = _service()._reply(_Line([data]))  # type: ignore[arg-type]
    assert len(control.encode(reply)) < control.MESSAGE_MAX
    if last is not None:
        raise last


def _put_in_force(text: str) -> None:
    zones = ZonesInForce()
    zones.put(zone_rows(Zones(networks=(_FRONT,), sandboxes=(_ASKER,))).text())
    before = zones.digest
    try:
        zones.put(text)
    except ReconcilerError:
        assert zones.digest == before
        assert zones.sandboxes.keys() == {"asker"}
        raise
    for name in zones.sandboxes:
        view = zones.views.of(name)
        for question in (_query("web"), _query("1.0.0.10.in-addr.arpa", "PTR"), _query("_80._tcp.web", "SRV")):
            reply = answer(question, view, tuple)
            assert reply is None or isinstance(reply, Forward) or dns.message.from_wire(reply)
        for server in upstream.upstreams(zones.sandboxes[name], zones.host_servers):
            if not (isinstance(server.address, IPv6Address) and server.address.scope_id):
                destination(server)


def _service() -> Service:
    """Return one whose sandboxes cannot be reached: their namespaces are not there."""
    made = Service.__new__(Service)
    fields: dict[str, Any] = {
        "_zones": ZonesInForce(), "_sandboxes": {}, "_failures": {}, "_unvisited": [], "_namespaces": _NoNamespaces(),
        "_forwarder": SimpleNamespace(in_flight=0), "_limits": SimpleNamespace(total=0),
        "_reactor": SimpleNamespace(stop=lambda: None),
        "_inheritance": SimpleNamespace(close_sockets=lambda: None), "reload": lambda: None,
    }  # fmt: skip
    for name, value in fields.items():
        setattr(made, name, value)
    made._requests = {
        "status": made._status,
        "change": made._changed,
        "follow": made._followed,
        "stop": made._stopped,
    }
    return made


class _NoNamespaces:
    def forget(self, _: NsRef) -> None:
        pass

    def inode(self, ns: NsRef) -> int:
        if ns == "":
            return 1
        raise ResolverError(f"sandbox {ns} is not there")


def _resolv_seeds() -> Iterator[bytes]:
    yield b"# by hand\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 edns0\n"
    yield b"domain x\nnameserver 127.0.0.53\noptions ndots:\xb2\n"


def _run_resolv(data: bytes) -> None:
    """Read the host's resolv.conf, and make that of sandboxes of it, and what the name server asks."""
    found = parse_resolv_conf(data.decode(errors="replace"))
    ndots(found.options)
    for server in found.nameservers:
        assert not any(blank in server for blank in " \n\t")
    text = _resolv_conf(found.nameservers, found.search, found.options)
    assert (
        parse_resolv_conf(text) == found
        or not (found.nameservers or found.search or found.options)
        or found.search == (".",)
    )
    for name in data.decode("latin-1").lower().split():
        reverse_block(name)


def _resolv_conf(*parts: tuple[str, ...]) -> str:
    from reconciler.sandbox.resolv_conf import _text

    return _text(*parts)


_WORDS: Final = (
    *listed(
        "format host_servers networks sandboxes front asker web netns:asker 10.0.0.1 tcp do change follow reload "
        "status from to stop fe80::1%eth0"
    ),
    *("hand over",),
)

_LABELS: Final = ("web", "\x03web", "\x05front", "\x04arpa", "\x07in-addr", "\x04_tcp")
_RESOLV_WORDS: Final = (
    *(
        "nameserver ",
        "search ",
        "options ",
        "domain ",
        "ndots:",
        "0.0.10.in-addr.arpa",
        "ip6.arpa",
        "\u2028",
        "\x85",
        "\x1c",
    ),
)

TARGETS: Final = (
    Target("dns queries", "questions of sandboxes to the name server", _run_query, _query_seeds, words=_LABELS),
    Target("dns answers", "answers of other name servers", _run_upstream, _upstream_seeds),
    Target("dns streams", "clients of the name server by TCP", _run_stream, _stream_seeds),
    Target(
        "zones",
        "zones file and control messages of the name server",
        _run_zones,
        _zone_seeds,
        Form.JSON,
        _WORDS,
        runs=150,
    ),
    Target("resolv.conf", "the host's resolv.conf", _run_resolv, _resolv_seeds, Form.TEXT, _RESOLV_WORDS),
)
