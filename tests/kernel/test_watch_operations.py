"""A watcher in the hands of those who run it: service manager, scraper, event log."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.command_line import Reconcile
from tests.waiting import eventually, exit_code_of, patient

pytestmark = pytest.mark.kernel

SPECS = "networks: {front: {}}\nattachments: {web: {networks: [front]}}\n"


def page(metrics: Path, path: str) -> tuple[int, str]:
    """Give status and body of what a watcher serves at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(patient(10))
        client.connect(str(metrics))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


@dataclass
class Watched:
    reconcile: Reconcile
    process: subprocess.Popen[bytes]
    manager: socket.socket
    metrics: Path
    told: list[dict[str, str]] = field(default_factory=list)

    def was_told(self, *keys: str) -> bool:
        """Say whether some message had all of `keys`."""
        with contextlib.suppress(BlockingIOError):
            while text := self.manager.recv(1 << 16).decode():
                self.told.append(dict(line.split("=", 1) for line in text.splitlines()))
        return any(message.keys() >= set(keys) for message in self.told)

    def count(self, key: str) -> int:
        return sum(key in message for message in self.told)

    def page(self, path: str) -> tuple[int, str]:
        return page(self.metrics, path)

    def events(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.reconcile.ok("events").stdout.splitlines()]


@pytest.fixture
def watched(reconcile: Reconcile, tmp_path: Path) -> Iterator[Watched]:
    reconcile.write(web=SPECS)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    manager.bind(str(tmp_path / "notify"))
    metrics = tmp_path / "metrics.sock"
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    process = reconcile.start("watch", "--metrics", f"unix:{metrics}", env=environment)
    try:
        yield Watched(reconcile, process, manager, metrics)
    finally:
        process.kill()
        process.wait()
        manager.close()
        reconcile("down")


def test_watcher_tells_manager_scraper_and_log(watched: Watched) -> None:
    machine = watched.reconcile.machine

    assert eventually(lambda: watched.was_told("READY"), deadline_s=20)
    assert machine.links("web") == ["eth0", "lo"]  # ready means that the pass is over

    assert watched.page("/healthz") == (200, "fine\n")
    machine.run("web", "ip", "link", "delete", "eth0")
    assert eventually(lambda: any(event["event"] == "repaired" for event in watched.events()), deadline_s=10)
    assert eventually(lambda: 'drift_repaired_total{network="front"}' in watched.page("/metrics")[1], deadline_s=10)

    watched.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: watched.was_told("RELOADING", "MONOTONIC_USEC"), deadline_s=10)
    assert eventually(lambda: watched.was_told() and watched.count("READY") == 2, deadline_s=10)
    assert watched.was_told("WATCHDOG")

    watched.process.terminate()
    assert exit_code_of(watched.process) == 0
    assert watched.was_told("STOPPING")
    assert not watched.metrics.exists()
    assert machine.links("web") == ["eth0", "lo"]


def test_one_shot_passes_write_events_and_one_with_nothing_to_do_does_not(reconcile: Reconcile) -> None:
    reconcile.write(web=SPECS)
    log = reconcile.machine.state_dir / "events.ndjson"

    reconcile.ok()
    before = log.stat()
    reconcile.ok()

    assert {"Bridge", "VethPair"} <= {json.loads(line)["kind"] for line in log.read_text().splitlines()}
    assert (log.stat().st_mtime_ns, log.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert reconcile.ok("status").stdout.startswith("watcher: none runs")
    reconcile.ok("down")
    assert json.loads(log.read_text().splitlines()[-1])["action"] == "delete"
