"""Sockets of a server, and clients that behave badly."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest

from reconciler.http.listening import ListenAddress, ListeningSocket
from reconciler.http.server import ClientLimits, HttpServer
from reconciler.http.server_protocol import ServedRequest, ServedResponse
from tests.fakes.clock import Clock
from tests.waiting import patient

LIMITS = ClientLimits(clients=16, head_max=1000, body_max=2000, timeout_s=5.0)
GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Served:
    """A server of one page, at a socket and with a clock of its own."""

    path: Path
    page: bytes = b"as asked"
    clock: Clock = field(default_factory=Clock)
    asked: list[ServedRequest] = field(default_factory=list)
    server: HttpServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = HttpServer(
            ListeningSocket(ListenAddress(unix=self.path), "test"), self.handle, LIMITS, self.clock
        )

    def handle(self, request: ServedRequest) -> ServedResponse:
        self.asked.append(request)
        if request.path == "/broken":
            raise ValueError("a bug")
        if request.path == "/split":
            return ServedResponse(HTTPStatus.OK, headers=(("Location", "a\r\nSet-Cookie: b"),))
        return ServedResponse(HTTPStatus.OK, self.page)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(patient(5))
        client.connect(str(self.path))
        return client

    def turn(self) -> None:
        """Let the loop turn as often as one exchange needs."""
        for _ in range(4):
            self.server.serve()

    def ask(self, *parts: bytes) -> bytes:
        with self.connect() as client:
            for part in parts:
                client.sendall(part)
                self.turn()
            client.shutdown(socket.SHUT_WR)
            self.turn()
            return everything(client)

    def is_readable(self) -> bool:
        return bool(select.select([self.server], [], [], 0)[0])


def everything(client: socket.socket) -> bytes:
    found = b""
    while data := client.recv(1 << 16):
        found += data
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "run" / "served.sock")
    yield served
    served.server.close()


def test_page_is_served_with_its_length_type_and_date(served: Served) -> None:
    head, _, body = served.ask(GET).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert {b"Content-Type: text/plain; charset=utf-8", b"Content-Length: 8"} <= set(head.splitlines())
    assert b"\r\nDate: " in head
    assert body == b"as asked"


def test_connection_is_kept_and_each_exchange_has_its_own_time(served: Served) -> None:
    with served.connect() as client:
        for _ in range(5):
            served.clock.now_s += 0.9 * LIMITS.timeout_s
            client.sendall(GET)
            served.turn()
            assert client.recv(1 << 16).endswith(b"as asked")
        assert not served.is_readable()

        served.clock.now_s += LIMITS.timeout_s
        served.turn()
        assert client.recv(1) == b""


def test_requests_sent_at_once_are_answered_in_turn_and_let_others_in_between(served: Served) -> None:
    with served.connect() as greedy, served.connect() as other:
        greedy.sendall(20 * GET + LAST)
        other.sendall(LAST)
        served.turn()
        served.turn()

        assert len(served.asked) < 21
        assert everything(other).endswith(b"as asked")
        while served.is_readable():
            served.server.serve()
        assert everything(greedy).count(b"as asked") == 21


def test_request_in_pieces_is_put_together(served: Served) -> None:
    answer = served.ask(b"POST /pa", b"ge HTTP/1.1\r\nHost", b": x\r\nContent-Length: 4\r\n\r\nd", b"ata")

    assert answer.startswith(b"HTTP/1.1 200")
    assert [(request.path, request.body) for request in served.asked] == [("/page", b"data")]


def test_client_that_waits_to_be_told_before_it_sends_its_body_is_told(served: Served) -> None:
    head = b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with served.connect() as client:
        client.sendall(head)
        served.turn()
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"data")
        served.turn()
        assert client.recv(1 << 16).endswith(b"as asked")
    assert served.asked[0].body == b"data"


@pytest.mark.parametrize("drip", [GET[:-2], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + 800 * b"x"])
def test_client_that_drips_is_let_go_in_time_and_is_not_answered(served: Served, drip: bytes) -> None:
    with served.connect() as client:
        for byte in drip:
            client.sendall(bytes([byte]))
            served.server.serve()
            served.clock.now_s += 1.1 * LIMITS.timeout_s / len(drip)
            if not served.server._clients:
                break

        assert served.asked == []
        with contextlib.suppress(ConnectionResetError):  # of what it had sent last
            assert client.recv(1) == b""


def test_silent_client_is_let_go_in_time(served: Served) -> None:
    with served.connect() as silent:
        served.turn()
        served.clock.now_s += LIMITS.timeout_s

        served.turn()

        assert silent.recv(1) == b""


def test_answer_that_is_read_slowly_is_cut_in_time(served: Served) -> None:
    served.page = 8_000_000 * b"x"
    with served.connect() as client:
        client.sendall(GET)
        served.turn()
        served.clock.now_s += LIMITS.timeout_s
        served.turn()

        assert len(everything(client)) < len(served.page)
    assert not served.is_readable()


def test_many_silent_clients_do_not_keep_others_out(served: Served) -> None:
    with contextlib.ExitStack() as crowd:
        for _ in range(2 * LIMITS.clients):
            crowd.enter_context(served.connect())
            served.clock.now_s += 0.001
            served.turn()

        assert served.ask(GET).startswith(b"HTTP/1.1 200")
        assert len(os.listdir("/proc/self/fd")) < 4 * LIMITS.clients + 40


def test_client_that_does_not_read_is_not_waited_for(served: Served) -> None:
    served.page = 2_000_000 * b"x"  # more than a socket's buffer takes

    with served.connect() as client:
        client.sendall(LAST)
        served.turn()
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
            served.turn()

    assert answer.endswith(b"\r\n\r\n" + served.page)


def test_refusal_reaches_a_client_that_goes_on_sending(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + 20_000 * b"x")
        served.turn()
        client.sendall(20_000 * b"x")
        while served.is_readable():
            served.server.serve()
        client.shutdown(socket.SHUT_WR)
        served.turn()

        assert everything(client).startswith(b"HTTP/1.1 413")
    assert served.asked == []
    assert not served.server._clients


@pytest.mark.parametrize("path", [b"/broken", b"/split"], ids=["raises", "is no HTTP"])
def test_a_bug_of_a_page_is_logged_answered_and_survived(
    served: Served, caplog: pytest.LogCaptureFixture, path: bytes
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = served.ask(GET.replace(b"/page", path + b"?token=1"))

    assert answer.startswith(b"HTTP/1.1 500")
    assert b"Cookie" not in answer
    assert f"GET {path.decode()}" in caplog.text
    assert "token" not in caplog.text
    assert served.ask(GET).startswith(b"HTTP/1.1 200")


def test_nothing_to_do_is_not_readable_and_a_client_is(served: Served) -> None:
    assert not served.is_readable()
    with served.connect():
        assert select.select([served.server], [], [], patient(1))[0]


def test_no_descriptor_is_left_open(served: Served) -> None:
    before = len(os.listdir("/proc/self/fd"))

    for request in 20 * (GET, LAST, b"nonsense\r\n\r\n"):
        served.ask(request)

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
def test_out_of_descriptors_or_memory_the_loop_does_not_spin_and_recovers(
    served: Served, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_: socket.socket) -> tuple[socket.socket, str]:
        raise OSError(number, os.strerror(number))

    with served.connect() as client:
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", refuse)
            served.server.serve()
        assert not served.is_readable()

        served.clock.now_s += LIMITS.timeout_s
        client.sendall(LAST)
        served.turn()

        assert everything(client).startswith(b"HTTP/1.1 200")


def test_tcp_serves_too() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = HttpServer(
        ListeningSocket(ListenAddress(host="127.0.0.1", port=port), "test"),
        lambda _: ServedResponse(HTTPStatus.OK),
        LIMITS,
    )

    with socket.create_connection(("127.0.0.1", port), timeout=patient(5)) as client:
        client.sendall(LAST)
        for _ in range(4):
            server.serve()
        assert everything(client).startswith(b"HTTP/1.1 200")
    server.close()
