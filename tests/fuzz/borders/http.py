"""HTTP both ways: answers of stores, plugins and engines; requests to the watcher's page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import h11

from reconciler.http.client_protocol import AnswerTooLong, BadResponse, ClientProtocol, Request
from reconciler.http.lines import Lines
from reconciler.http.listening import parse_address
from reconciler.http.server_protocol import BadRequest, ServedResponse, ServerProtocol
from reconciler.settings import Settings
from reconciler.watch.live_page import is_asked_for_itself
from reconciler.watch.metrics_server import LIMITS, ServedMetrics
from tests.fuzz.second import check_answer
from tests.fuzz.target import Form, Target, listed

_BODY_MAX: Final = 2000
_LINE_MAX: Final = 500


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield the rest of an input in pieces, of a size that its first byte says."""
    size = (1, 3, 17, 64, 1000, 5000)[(data[0] if data else 0) % 6]
    rest = data[1:]
    return (rest[at : at + size] for at in range(0, len(rest), size))


def _answer_seeds() -> Iterator[bytes]:
    for head in (b"\x05", b"\x01"):
        yield head + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Consul-Index: 7\r\n\r\nabcde"
        yield (
            head
            + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nab\ncd\r\n3\r\n\nef\r\n0\r\nA: b\r\n\r\n"
        )
        yield head + b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\n404 page not found\n"
        yield head + b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    yield b"\x05HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcdeHTTP/1.1 200 OK\r\n\r\n"
    yield b"\x04HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3000


def _run_answer(data: bytes) -> None:
    """Take it for an answer, and for one that goes on and on: never more than was allowed, and none that is cut counts as whole."""
    protocol = ClientProtocol("localhost")
    protocol.asked(Request(method="GET", target="/"), body_max=_BODY_MAX)
    for piece in (*_pieces(data), b""):
        if protocol.is_over:
            break
        protocol.receive(piece)
        assert len(protocol.body) <= _BODY_MAX
    if protocol.is_over:
        answer = protocol.answer()
        assert protocol.head is not None
        length = answer.headers.get("content-length")
        is_bare = answer.status in (204, 304) or "transfer-encoding" in answer.headers
        assert length is None or is_bare or len(answer.body) == int(length)
        assert 100 <= answer.status < 1000
        check_answer(data[1:], answer.status, bytes(answer.body))
    _run_following(data)


def _run_following(data: bytes) -> None:
    protocol, lines, found = ClientProtocol("localhost"), Lines(_LINE_MAX), list[bytes]()
    protocol.asked(Request(method="GET", target="/events"))
    for piece in _pieces(data):
        if protocol.is_over:
            break
        protocol.receive(piece)
        lines.add(protocol.take())
        found += lines.whole()
    assert all(b"\n" not in line for line in found)
    assert sum(map(len, found)) <= len(data)


# --- requests


def _request_seeds() -> Iterator[bytes]:
    for head in (b"\x05", b"\x01"):
        yield (
            head
            + b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n"
        )
        yield (
            head
            + b'GET /state.json HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nIf-None-Match: "x"\r\n\r\nGET / HTTP/1.1\r\nHost: [::1]\r\n\r\n'
        )
    yield b"\x05HEAD /healthz HTTP/1.0\r\n\r\n"
    yield b"\x05POST /drawing.json HTTP/1.1\r\nHost: alpha\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    yield b"\x05GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"x" * 4500 + b"\r\n\r\n"
    yield (
        b"\x05POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1200\r\n"
        + b"x" * 0x1200
        + b"\r\n0\r\n\r\n"
    )
    yield b"\x05CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"\x05GET /drawing.json?x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@cache
def _served() -> ServedMetrics:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    settings = Settings(host="alpha", state_dir=folder, status_dir=folder / "status")
    served = ServedMetrics.__new__(ServedMetrics)
    super(ServedMetrics, served).__init__(60.0, lambda: 0.0, lambda: 0.0)
    served._settings, served._looked_s, served._page, served._is_local = settings, 0.0, None, True
    return served


def _run_request(data: bytes) -> None:
    """Take it for what a client sends: every request has one answer that others can read, and no more is held than allowed."""
    protocol = ServerProtocol(LIMITS.head_max, LIMITS.body_max)
    for piece in _pieces(data):
        if protocol.is_over:
            return
        protocol.receive(piece)
        for _ in range(100):
            try:
                request = protocol.next_request()
            except BadRequest as refusal:
                method = protocol._head.method.decode() if protocol._head is not None else "GET"
                _check_answer(protocol.answered(ServedResponse.of(refusal.status, ("Connection", "close"))), method)
                assert protocol.is_over
                return
            if request is None:
                protocol.go_ahead()
                break
            assert len(request.body) <= LIMITS.body_max
            assert len(request.target) + sum(map(len, request.headers.values())) <= LIMITS.head_max
            _check_answer(protocol.answered(_served().answer(request)), request.method)
            if protocol.is_over:
                return


def _check_answer(answer: bytes, method: str) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="HEAD" if method == "HEAD" else "GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    events = []
    while (event := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        events.append(event)
        if isinstance(event, h11.EndOfMessage):
            break
    assert isinstance(events[-1], h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    HTTPStatus(events[0].status_code)  # type: ignore[union-attr]


def _host_seeds() -> Iterator[bytes]:
    yield from (b"localhost:9090", b"[::1]:9090", b"127.0.0.1", b"alpha", b"unix:/run/a.sock", b"evil.example:80")


def _run_host(data: bytes) -> None:
    """Take it for a Host header, and for the address to listen at: only of this machine by its own names and addresses."""
    text = data.decode("latin-1")
    if is_asked_for_itself(text, "alpha"):
        name = text.rpartition(":")[0] if text.rpartition(":")[2].isdecimal() and not text.endswith("]") else text
        if name.lower() not in ("localhost", "alpha"):
            ip_address(name.strip("[]"))
    address = parse_address(text, "metrics")
    assert str(address)


_WORDS: Final = (
    *listed("/metrics /healthz /state.json 99999999999999999999 ;q= text/plain"),
    *("HTTP/1.1 ", "HTTP/1.0 ", "HTTP/2 ", "GET ", "POST ", "HEAD ", "\r\n", "\r\n\r\n", "\n\n"),
    *("Content-Length: ", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Connection: upgrade\r\n"),
    *("Upgrade: x\r\n", "Expect: 100-continue\r\n", "Host: a\r\n", "0\r\n\r\n", "ffffffff\r\n", "200 OK"),
    *("204 ", "304 ", "101 ", "Accept: ", "If-None-Match: ", " chunked, gzip", "\x0b"),
    *("application/openmetrics-text; version=1.0.0; charset=utf-8",),
)

TARGETS: Final = (
    Target(
        "http answers",
        "HTTP answers and streams, in pieces",
        _run_answer,
        _answer_seeds,
        words=_WORDS,
        ours=(BadResponse, AnswerTooLong),
    ),
    Target(
        "http requests",
        "HTTP requests to the watcher's page and figures, in pieces",
        _run_request,
        _request_seeds,
        words=_WORDS,
        length_max=8192,
    ),
    Target(
        "http hosts",
        "Host headers and addresses to listen at",
        _run_host,
        _host_seeds,
        Form.TEXT,
        (":", "[", "]", "unix:", "0.0.0.0", "%"),
    ),
)
