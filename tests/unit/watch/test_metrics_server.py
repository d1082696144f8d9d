"""As much HTTP as a scraper speaks, and clients that behave badly."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.errors import ConfigError
from reconciler.watch.metrics import Metrics
from reconciler.watch.metrics_server import (
    CLIENTS_MAX,
    REQUEST_MAX,
    TIMEOUT_S,
    Address,
    MetricsServer,
    ServedMetrics,
    parse_address,
)
from tests.fakes.reports import report
from tests.waiting import patient


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Served:
    path: Path
    server: MetricsServer
    metrics: Metrics
    clock: Clock

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
            return everything(client)

    def get(self, path: str) -> tuple[int, str]:
        head, _, body = self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body


def figures(page: bytes) -> list[bytes]:
    """Give the lines with our figures: those of the process are others each time."""
    return [line for line in page.splitlines() if line.startswith(b"reconciler_")]


def everything(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            found += data
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    clock, metrics = Clock(), Metrics(quiet_max_s=600)
    path = tmp_path / "run" / "metrics.sock"
    server = MetricsServer(Address(unix=path), metrics, clock)
    yield Served(path, server, metrics, clock)
    server.close()


def test_metrics_are_served_with_their_type_and_length(served: Served) -> None:
    answer = served.ask(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert figures(body) == figures(served.metrics.page()[1])


def test_health_is_503_until_the_first_pass_has_ended(served: Served) -> None:
    assert served.get("/healthz") == (503, "starting: no pass has ended yet\n")

    served.metrics.passed(report(), 0.1, is_drift=False)

    assert served.get("/healthz") == (200, "fine\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + REQUEST_MAX * b"x", 431),
        (b"GET /healthz HTTP/1.0\n\n", 503),
    ],
    ids=["unknown page", "another method", "no version", "TLS", "too long", "bare line feeds"],
)
def test_what_is_not_served_is_answered_by_status(served: Served, request_: bytes, status: int) -> None:
    assert served.ask(request_).split()[1] == str(status).encode()


def test_head_has_no_body(served: Served) -> None:
    assert served.ask(b"HEAD /metrics HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")


def test_a_request_in_pieces_is_put_together(served: Served) -> None:
    assert served.ask(b"GET /met", b"rics HTTP/1.1\r\nHost", b": x\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_silent_client_is_let_go_in_time(served: Served) -> None:
    with served.connect() as silent:
        served.turn()
        served.clock.now_s += TIMEOUT_S

        served.turn()

        assert silent.recv(1) == b""


def test_many_silent_clients_do_not_keep_others_out(served: Served) -> None:
    with contextlib.ExitStack() as crowd:
        for _ in range(2 * CLIENTS_MAX):
            crowd.enter_context(served.connect())
            served.clock.now_s += 0.001
            served.turn()

        assert served.get("/metrics")[0] == 200
        assert len(os.listdir("/proc/self/fd")) < 4 * CLIENTS_MAX + 40


def test_a_client_that_does_not_read_is_not_waited_for(served: Served) -> None:
    for number in range(20000):
        served.metrics._repaired[f"network{number}"] = 1  # more than a socket's buffer takes

    with served.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        served.turn()
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
            served.turn()

    assert figures(answer) == figures(served.metrics.page()[1])


def test_nothing_to_do_is_not_readable_and_a_client_is(served: Served) -> None:
    import select

    poll = select.poll()
    poll.register(served.server.fileno(), select.POLLIN)

    assert poll.poll(0) == []
    with served.connect():
        assert poll.poll(1000)


def test_no_descriptor_is_left_open(served: Served) -> None:
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(50):
        served.get("/metrics")

    assert len(os.listdir("/proc/self/fd")) == before


def test_out_of_descriptors_the_loop_does_not_spin_and_recovers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import select

    def refuse(_: socket.socket) -> tuple[socket.socket, str]:
        raise OSError(errno.EMFILE, "Too many open files")

    poll = select.poll()
    poll.register(served.server.fileno(), select.POLLIN)
    with served.connect() as client:
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", refuse)
            served.server.serve()
        assert poll.poll(0) == []

        served.clock.now_s += TIMEOUT_S
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        served.turn()

        assert everything(client).startswith(b"HTTP/1.1 200")


def test_unix_socket_is_for_its_group_and_goes_with_the_server(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o660
    assert stat.S_IMODE(served.path.parent.stat().st_mode) & 0o700 == 0o700

    served.server.close()

    assert not served.path.exists()


def test_socket_of_one_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()

    ServedMetrics(Address(unix=path), quiet_max_s=600).close()

    assert not path.exists()


def test_socket_that_is_in_use_is_left_alone(served: Served) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen at unix:.*Address already in use"):
        MetricsServer(Address(unix=served.path), served.metrics)

    assert served.get("/metrics")[0] == 200


def test_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(ConfigError, match="something else than a socket"):
        MetricsServer(Address(unix=path), Metrics(quiet_max_s=600))

    assert path.read_text() == "data"


def test_tcp_serves_too() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = ServedMetrics(parse_address(f"127.0.0.1:{port}"), quiet_max_s=600)

    with socket.create_connection(("127.0.0.1", port), timeout=patient(5)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        for _ in range(4):
            served.beat()
        assert everything(client).startswith(b"HTTP/1.1 200")
    served.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x.sock", Address(unix=Path("/run/x.sock"))),
        ("127.0.0.1:9199", Address(host="127.0.0.1", port=9199)),
        ("[::1]:9199", Address(host="::1", port=9199)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9199",
        ":9199",
        "unix:x",
        "localhost:9199",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:\u0661",
        "::1:9199",
        "[127.0.0.1]:80",
        "unix:/" + 200 * "x",
        "unix:/a\0b",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected unix:/PATH"):
        parse_address(text)


def test_a_watcher_whose_figures_nobody_wants_does_not_carry_what_renders_them() -> None:
    code = (
        "import sys, reconciler.backends, reconciler.watch.journal, reconciler.watch.loop, reconciler.watch.notify\n"
        "from reconciler.cli.watching import _metrics\n"
        "with _metrics(None): sys.exit('prometheus_client' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
