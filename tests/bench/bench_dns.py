"""`python -m tests.bench.bench_dns`: the embedded DNS server with 1,000 sandboxes, beside Docker's in the same run.

Asked by dnsperf from inside a sandbox; Docker's part is left out where dockerd or a folder for its control groups is missing.
The exit status is 1 when a limit is passed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from typing import Final

from reconciler.dns import launch
from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint
from reconciler.model.identifiers import NsRef
from tests.fakes.zones import Zones, zone_rows
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine
from tests.waiting import eventually

SANDBOXES: Final = 1000
NETWORKS: Final = 20
ROUNDS: Final = 3
SECONDS: Final = 3

RATE_AT_LEAST: Final = 100_000
RATIO_AT_LEAST: Final = 1.5
P99_AT_MOST_MS: Final = 5.0
P99_RATE: Final = 10_000
MEMORY_AT_MOST_MB: Final = 120

Command = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to ask from: a command that enters the namespace, and the names known there."""

    inside: Command
    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """rate: answered queries a second, median of the rounds. p99_ms: of the answers at P99_RATE."""

    rate: float
    p99_ms: float


def measure(places: Sequence[Place], folder: Path, seconds: float = SECONDS) -> list[Figures]:
    """Ask in all places, taking turns, so that a busy machine is busy for all."""
    rates = [[_rate(_ask(place, folder, seconds, "-q", "200")) for place in places] for _ in range(ROUNDS)]
    latencies = [_latencies_ms(_ask(place, folder, seconds, "-Q", str(P99_RATE), "-v")) for place in places]
    return [
        Figures(rate=median(of_place), p99_ms=found[int(len(found) * 0.99)])
        for of_place, found in zip(zip(*rates, strict=True), latencies, strict=True)
    ]


def _ask(place: Place, folder: Path, seconds: float, *options: str) -> str:
    questions = folder / "questions"
    questions.write_text("".join(f"{name} A\n" for name in place.names))
    command = ("dnsperf", "-s", "127.0.0.11", "-d", str(questions), "-l", str(seconds), "-c", "4", *options)
    return _output((*place.inside, *command))


def _output(command: Command) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _rate(text: str) -> float:
    return float(text.split("Queries per second:")[1].split()[0])


def _latencies_ms(text: str) -> list[float]:
    return sorted(float(line.split()[-1]) * 1000 for line in text.splitlines() if line.startswith("> NOERROR"))


def zones(sandboxes: int, networks: int) -> Zones:
    """Give sandboxes spread evenly over networks, each seeing the names of one."""

    def endpoint(number: int) -> ServedEndpoint:
        return ServedEndpoint(
            name=f"c{number}",
            names=(f"c{number}", f"{number:012x}", f"alias{number}"),
            addresses=(ip_address(0x0A4D0000 + number),),
        )

    return Zones(
        networks=tuple(
            NetworkZone(name=f"n{network}", endpoints=tuple(map(endpoint, range(network, sandboxes, networks))))
            for network in range(networks)
        ),
        sandboxes=tuple(
            SandboxZone(name=f"c{number}", ns=NsRef(f"netns:c{number}"), networks=(f"n{number % networks}",))
            for number in range(sandboxes)
        ),
    )


def _make_namespaces(machine: Machine, names: Sequence[str], folder: Path) -> None:
    batch = folder / "namespaces"
    batch.write_text("".join(f"netns add {name}\n" for name in names))
    machine.run("", "ip", "-batch", str(batch), timeout_s=300)
    for name in names:
        machine.run("", "ip", "-n", name, "link", "set", "lo", "up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """publish_s, again_s: for all sandboxes, the first time and with a network less."""

    place: Place
    publish_s: float
    again_s: float


@contextlib.contextmanager
def serving(machine: Machine, folder: Path, sandboxes: int = SANDBOXES, networks: int = NETWORKS) -> Iterator[Ours]:
    """Have our server run for that many sandboxes."""
    served = zones(sandboxes, networks)
    _make_namespaces(machine, [sandbox.name for sandbox in served.sandboxes], folder)
    launch.ensure_server(machine.run_dir, machine.netns_dir)
    try:
        publish_s = _publish_s(machine, served)
        again_s = _publish_s(machine, Zones(networks=served.networks[:-1], sandboxes=served.sandboxes))
        names = [endpoint.name for endpoint in served.networks[0].endpoints]
        yield Ours(place=Place(inside=("ip", "netns", "exec", "c0"), names=names), publish_s=publish_s, again_s=again_s)
    finally:
        launch.stop_server(machine.run_dir)


def _publish_s(machine: Machine, served: Zones) -> float:
    started = time.perf_counter()
    server = launch.publish_zones(machine.run_dir, zone_rows(served).text())
    assert not server.failures, server.failures
    return time.perf_counter() - started


def _memory_mb(machine: Machine) -> float:
    server = launch.running_server(machine.run_dir)
    assert server is not None
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


DOCKER_NAMES: Final = [f"web{number}" for number in range(5)]


@contextlib.contextmanager
def serving_by_docker(folder: Path) -> Iterator[Place | None]:
    """Have Docker's server run for a few containers; None where it cannot run here."""
    if shutil.which("dockerd") is None or shutil.which("busybox") is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        docker = stack.enter_context(_dockerd(folder))
        yield _start_containers(docker, folder, stack) if docker else None


def _start_containers(docker: Command, folder: Path, stack: contextlib.ExitStack) -> Place:
    image = folder / "image" / "bin"
    image.mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", image)
    archive = subprocess.run(("tar", "-C", str(image.parent), "-c", "."), capture_output=True, check=True).stdout
    subprocess.run((*docker, "import", "-", "bench"), input=archive, capture_output=True, check=True)
    _output((*docker, "network", "create", "front"))
    for name in DOCKER_NAMES:
        stack.callback(_output, (*docker, "rm", "-f", name))
        _output((*docker, "run", "-d", "--name", name, "--network", "front", "bench", "/bin/busybox", "sleep", "1000"))
    pid = _output((*docker, "inspect", "-f", "{{.State.Pid}}", DOCKER_NAMES[0])).strip()
    return Place(inside=("nsenter", "-t", pid, "-n"), names=DOCKER_NAMES)


@contextlib.contextmanager
def _dockerd(folder: Path) -> Iterator[Command | None]:
    """Run the daemon on its own folders; give the command that talks to it, None if it does not come up."""
    groups = Path("/sys/fs/cgroup")
    if (
        subprocess.run(("mount", "-t", "cgroup2", "none", str(groups)), capture_output=True, check=False).returncode
        != 0
    ):
        yield None
        return
    address = "unix:///run/bench-docker.sock"
    options = (
        "--iptables=false",
        "--ip6tables=false",
        "--bridge",
        "none",
        "--storage-driver",
        "vfs",
        "-p",
        "/run/bench-docker.pid",
    )
    folders = ("--data-root", str(folder / "docker"), "--exec-root", "/run/bench-docker")
    daemon = subprocess.Popen(
        ("dockerd", *options, *folders, "-H", address), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    docker = ("docker", "-H", address)

    def is_up() -> bool:
        return subprocess.run((*docker, "version"), capture_output=True, check=False).returncode == 0

    try:
        yield docker if eventually(is_up, deadline_s=20, every_s=0.2) else None
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)
        with contextlib.suppress(OSError):
            (groups / "docker").rmdir()
        subprocess.run(("umount", "-l", str(groups)), check=False)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    figure: str
    limit: str = ""
    is_kept: bool = True

    def line(self) -> str:
        return f"{self.name:<28}{self.figure:>12}   {self.limit}{'' if self.is_kept else '   MISSED'}"


def report(ours: Ours, memory_mb: float, figures: Sequence[Figures]) -> bool:
    """Print the figures, ours and perhaps Docker's, beside their limits; True when all are kept."""
    own, *others = figures
    p99 = f"p99 at {P99_RATE:,} a second"
    rows = [
        Row("hits a second", f"{own.rate:,.0f}", f"at least {RATE_AT_LEAST:,}", own.rate >= RATE_AT_LEAST),
        Row(p99, f"{own.p99_ms:.2f} ms", f"at most {P99_AT_MOST_MS} ms", own.p99_ms <= P99_AT_MOST_MS),
        Row("memory", f"{memory_mb:.0f} MB", f"at most {MEMORY_AT_MOST_MB} MB", memory_mb <= MEMORY_AT_MOST_MB),
        Row("first publishing", f"{ours.publish_s * 1000:.0f} ms"),
        Row("publishing again", f"{ours.again_s * 1000:.0f} ms"),
    ]
    for other in others:
        ratio = own.rate / other.rate
        rows.append(Row("Docker's hits a second", f"{other.rate:,.0f}", f"p99 {other.p99_ms:.2f} ms"))
        rows.append(Row("times Docker's rate", f"{ratio:.2f}", f"at least {RATIO_AT_LEAST}", ratio >= RATIO_AT_LEAST))
    print("\n".join(row.line() for row in rows))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return all(row.is_kept for row in rows)


def bench(machine: Machine, folder: Path) -> bool:
    with serving(machine, folder) as ours, serving_by_docker(folder) as docker:
        figures = measure([ours.place, *([docker] if docker else [])], folder)
        return report(ours, _memory_mb(machine), figures)


def main() -> int:
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    enter_private_machine()
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as name:
        return 0 if bench(Machine(state_dir=Path(name) / "state"), Path(name)) else 1


if __name__ == "__main__":
    sys.exit(main())
