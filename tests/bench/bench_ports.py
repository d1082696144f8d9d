"""`python -m tests.bench.bench_ports`: new TCP connections a second through a published port, with one and with 1,000 published.

Two hosts' worth of namespaces, taking turns so that a busy machine is busy for both. The exit status is 1 when the limit is passed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from tests.command_line import Reconcile
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine

PORTS: Final = 1000
ROUNDS: Final = 7
CONNECTIONS: Final = 2000
RATIO_AT_LEAST: Final = 0.9

_HOST_IP: Final = "192.0.2.1"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER without time: no connection of one round waits in TIME_WAIT during the next."""


def bench(
    folder: Path, ports: int = PORTS, connections: int = CONNECTIONS, rounds: int = ROUNDS
) -> tuple[float, float]:
    """Give connections a second with one and with `ports` ports published, in the private machine entered before."""
    machine = Machine(state_dir=folder / "state")
    reconcile = _host_with_outside(machine, folder)
    rates: dict[int, list[float]] = {1: [], ports: []}
    for _ in range(rounds):
        for count, found in rates.items():
            last = 8000 + count - 1
            reconcile.write(web=f"attachments: {{web: {{ports: ['8000-{last}:8000-{last}']}}}}")
            reconcile.ok()
            with _server(machine, "web", last):
                found.append(_rate(machine, last, connections))
    return median(rates[1]), median(rates[ports])


def _host_with_outside(machine: Machine, folder: Path) -> Reconcile:
    for ns in ("H", "outside"):
        machine.add_namespace(ns)
    machine.add_veth("H", "uplink0", "outside", "downlink0")
    for ns, ifname, number in (("H", "uplink0", 1), ("outside", "downlink0", 2)):
        machine.run("", "ip", "-n", ns, "address", "add", f"192.0.2.{number}/24", "dev", ifname)
    return Reconcile(machine=machine, host_ns="H", specs=folder / "specs")


@contextlib.contextmanager
def _server(machine: Machine, ns: str, port: int) -> Iterator[None]:
    with machine.inside(ns):
        listener = socket.create_server(("0.0.0.0", port), backlog=1024)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)
        listener.close()


def _rate(machine: Machine, port: int, connections: int) -> float:
    with machine.inside("outside"):
        started = time.perf_counter()
        for _ in range(connections):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                client.connect((_HOST_IP, port))
        return connections / (time.perf_counter() - started)


def report(one: float, many: float, ports: int = PORTS) -> bool:
    """Print the figures; tell whether the limit holds."""
    ratio = many / one
    verdict = "ok" if ratio >= RATIO_AT_LEAST else "TOO SLOW"
    print(f"new TCP connections a second through a published port, median of {ROUNDS}")
    print(f"{'1 port published':<24}{one:9.0f}")
    print(f"{f'{ports} ports published':<24}{many:9.0f} {ratio:6.2f}x   at least {RATIO_AT_LEAST}x: {verdict}")
    return ratio >= RATIO_AT_LEAST


def main() -> int:
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    enter_private_machine()
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        return 0 if report(*bench(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
