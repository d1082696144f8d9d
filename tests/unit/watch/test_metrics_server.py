"""What a scraper and a health probe get."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reconciler.errors import ConfigError
from reconciler.http.listening import ListenAddress
from reconciler.settings import Settings
from reconciler.watch.metrics_server import LIMITS, ServedMetrics
from tests.fakes.reports import report
from tests.waiting import patient


@dataclass
class Served:
    path: Path
    metrics: ServedMetrics

    def ask(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(patient(5))
            client.connect(str(self.path))
            client.sendall(request)
            for _ in range(4):
                self.metrics.beat()
            return everything(client)

    def get(self, path: str) -> tuple[int, str]:
        head, _, body = self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body


def everything(client: socket.socket) -> bytes:
    found = b""
    while data := client.recv(1 << 16):
        found += data
    return found


def figures(page: bytes) -> list[bytes]:
    """Give the lines with our figures: those of the process are others each time."""
    return [line for line in page.splitlines() if line.startswith(b"reconciler_")]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    path = tmp_path / "run" / "metrics.sock"
    settings = Settings(host="alpha", state_dir=tmp_path, status_dir=tmp_path / "status")
    metrics = ServedMetrics(ListenAddress(unix=path), quiet_max_s=600, settings=settings)
    yield Served(path, metrics)
    metrics.close()


def test_metrics_are_served_with_their_type_and_length(served: Served) -> None:
    answer = served.ask(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert figures(body) == figures(served.metrics.page()[1])


def test_scraper_that_accepts_open_metrics_gets_them(served: Served) -> None:
    accept = b"Accept: application/openmetrics-text;version=1.0.0;q=0.6\r\nAccept: text/plain;version=0.0.4;q=0.3\r\n"

    head, _, body = served.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + accept + b"\r\n").partition(b"\r\n\r\n")

    assert b"Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8" in head
    assert any(family.name == "reconciler_passes" for family in text_string_to_metric_families(body.decode()))


def test_health_is_503_until_the_first_pass_has_ended(served: Served) -> None:
    assert served.get("/healthz") == (503, "starting: no pass has ended yet\n")

    served.metrics.passed(report(), 0.1, is_drift=False)

    assert served.get("/healthz") == (200, "fine\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=1", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + LIMITS.head_max * b"x", 431),
        (b"GET /healthz HTTP/1.0\n\n", 503),
    ],
    ids=[
        "unknown page",
        "another method",
        "with a body",
        "no version",
        "no host",
        "TLS",
        "too long",
        "bare line feeds",
    ],
)
def test_what_is_not_served_is_answered_by_status(served: Served, request_: bytes, status: int) -> None:
    assert served.ask(request_).split()[1] == str(status).encode()


def test_head_has_no_body(served: Served) -> None:
    assert served.ask(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\n")


def test_what_is_told_of_a_socket_names_the_setting(served: Served) -> None:
    with pytest.raises(ConfigError, match=r"^metrics: cannot listen at unix:"):
        ServedMetrics(ListenAddress(unix=served.path), quiet_max_s=600, settings=Settings(host="alpha"))


def test_a_watcher_carries_what_renders_figures_or_the_page_only_for_who_looks(tmp_path: Path) -> None:
    code = f"""
import sys, reconciler.backends, reconciler.watch.journal, reconciler.watch.watcher, reconciler.watch.notify
from reconciler.cli.watching import _metrics
from reconciler.settings import Settings
settings = Settings(host="alpha")
with _metrics(None, settings):
    assert "prometheus_client" not in sys.modules
with _metrics("unix:{tmp_path}/m", settings):
    assert "prometheus_client" in sys.modules
    assert not any(name.startswith(("reconciler.graph", "reconciler.watch.live")) for name in sys.modules)
"""

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
