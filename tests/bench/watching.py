"""How quickly the watcher answers: an edit until the new attachment answers ping, a deleted link until its sandbox does again."""

from __future__ import annotations

import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.watch.path_events import PathEvents
from reconciler.watch.source import Dirty
from tests.bench.echo import Echo
from tests.command_line import Reconcile
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine
from tests.waiting import eventually

NETWORKS = 20
ATTACHMENTS = 1000
ROUNDS = 15
TOLD_LIMIT_MS = 35
EDIT_LIMIT_MS = 150
REPAIR_LIMIT_MS = 50
IDLE_LIMIT_PERCENT = 0.5
MEMORY_LIMIT_MB = 150
_IDLE_S = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds, one per round; idle in percent of a core; memory in MB (resident)."""

    told_ms: list[float]
    edit_ms: list[float]
    veth_ms: list[float]
    bridge_ms: list[float]
    idle_percent: float
    memory_mb: float


def measure() -> Figures:
    """Run all of it. For a private machine."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(state_dir=Path(folder) / "state")
        machine.add_namespace("H")
        reconcile = Reconcile(machine=machine, host_ns="H", specs=Path(folder) / "specs")
        _write_specs(reconcile.specs)
        reconcile.ok("-q")
        with _watcher(reconcile) as watcher, Echo(machine, "H") as echo:
            eventually(lambda: reconcile("--dry-run", "--detailed-exitcode").exit_code == 0, 60, 0.5)
            idle = _idle_percent(watcher.pid)
            edits = [_edit(machine, reconcile.specs, echo, number) for number in range(ROUNDS)]
            links = _links_by_address(machine)
            veths = [_delete(machine, links[f"10.{n}.0.2"], echo, f"10.{n}.0.2") for n in range(ROUNDS)]
            bridges = [_delete_bridge(machine, n) for n in range(ROUNDS)]
            memory = _status(watcher.pid, "VmRSS") / 1024
        reconcile.ok("-q", "down", "--allow-prune")
        machine.delete_namespace("H")
        told = _told_ms(Path(folder) / "told")
    return Figures(told, edits, veths, bridges, idle, memory)


def report(figures: Figures) -> bool:
    """Print the figures beside their limits; give whether all are kept."""
    rows = (
        ("save of a spec file -> the loop is told", figures.told_ms, TOLD_LIMIT_MS),
        ("save of a spec file -> new attachment answers ping", figures.edit_ms, EDIT_LIMIT_MS),
        ("veth deleted -> its sandbox answers again", figures.veth_ms, REPAIR_LIMIT_MS),
        ("bridge deleted -> a sandbox on it answers again", figures.bridge_ms, REPAIR_LIMIT_MS),
    )
    print(f"\nwatch, {ATTACHMENTS} attachments on {NETWORKS} networks, {ROUNDS} rounds each")
    for name, values, limit in rows:
        median = statistics.median(values)
        print(f"  {name:52} median {median:6.1f} ms (limit {limit}), {min(values):.1f} to {max(values):.1f}")
    print(f"  {'idle':52} {figures.idle_percent:13.2f} % of a core (limit {IDLE_LIMIT_PERCENT})")
    print(f"  {'memory':52} {figures.memory_mb:13.1f} MB (limit {MEMORY_LIMIT_MB})")
    is_quick = all(statistics.median(values) < limit for _, values, limit in rows)
    return is_quick and figures.idle_percent < IDLE_LIMIT_PERCENT and figures.memory_mb < MEMORY_LIMIT_MB


def _told_ms(specs: Path) -> list[float]:
    """Save as editors do, at any moment between two steps of the notifier."""
    specs.mkdir()
    events, took = PathEvents({specs: Dirty(is_specs=True)}), []
    for number in range(5 * ROUNDS):
        time.sleep(0.1 + number % 10 * 0.002)
        events.drain()
        began = time.perf_counter()
        (specs / ".a.yaml.tmp").write_text("networks: {}\n")
        (specs / ".a.yaml.tmp").rename(specs / "a.yaml")
        while not events.drain():
            select.select([events], [], [])
        took.append((time.perf_counter() - began) * 1000)
    events.close()
    return took


def _write_specs(specs: Path) -> None:
    """One file per network with its attachments, so that an edit touches one small file, as people keep them."""
    specs.mkdir(parents=True)
    for n in range(NETWORKS):
        options = f"driver_opts: {{com.docker.network.bridge.name: br-n{n}}}"
        lines = [f"networks:\n  n{n}: {{ipam: {{config: [{{subnet: 10.{n}.0.0/16}}]}}, {options}}}\nattachments:\n"]
        lines += [f"  box{a}: {{networks: {{n{n}: {{}}}}}}\n" for a in range(n, ATTACHMENTS, NETWORKS)]
        (specs / f"n{n}.yaml").write_text("".join(lines))


@contextmanager
def _watcher(reconcile: Reconcile) -> Iterator[subprocess.Popen[bytes]]:
    process = reconcile.start("-q", "watch")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _timed(echo: Echo, change: Callable[[], object], address: str) -> float:
    echo.settle()
    change()
    began = time.perf_counter()
    echo.wait(address)
    return (time.perf_counter() - began) * 1000


def _edit(machine: Machine, specs: Path, echo: Echo, number: int) -> float:
    """The host knows the neighbour beforehand: a ping that comes too early would make it wait a second before it asks again."""
    address = f"10.{number}.9.9"
    mac = f"02:42:0a:{number:02x}:09:09"
    machine.run("H", "ip", "neigh", "replace", address, "lladdr", mac, "dev", f"br-n{number}", "nud", "permanent")
    text = f"attachments:\n  new{number}: {{networks: {{n{number}: {{ipv4_address: {address}}}}}}}\n"
    draft = specs / f"new{number}.draft"
    draft.write_text(text)
    return _timed(echo, lambda: draft.rename(draft.with_suffix(".yaml")), address)


def _delete(machine: Machine, link: str, echo: Echo, address: str) -> float:
    return _timed(echo, lambda: machine.run("H", "ip", "link", "del", link), address)


def _delete_bridge(machine: Machine, n: int) -> float:
    """Asked from the sandbox, which keeps the bridge's address in its neighbour table; the host forgets all with the bridge."""
    gateway = f"10.{n}.0.1"
    with Echo(machine, f"box{n + NETWORKS}") as echo:
        echo.wait(gateway)
        return _delete(machine, f"br-n{n}", echo, gateway)


def _links_by_address(machine: Machine) -> dict[str, str]:
    """Give the host's end of the pair that leads to the first sandbox of each network: the bridge has learned its MAC."""
    found = {}
    for n in range(ROUNDS):
        address = f"10.{n}.0.2"
        mac = ":".join(["02", "42", *(f"{int(part):02x}" for part in address.split("."))])
        machine.ping("H", address)
        lines = machine.run("H", "bridge", "fdb", "show", "br", f"br-n{n}").stdout.splitlines()
        found[address] = next(line.split()[2] for line in lines if line.startswith(mac))
    return found


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _idle_percent(pid: int) -> float:
    """Give the share of a core that the watcher uses with nothing to do."""
    time.sleep(25)  # the kernel's bridges tell of their ports' timers until then
    before = _cpu_s(pid)
    time.sleep(_IDLE_S)
    return (_cpu_s(pid) - before) / _IDLE_S * 100


def main() -> int:
    enter_private_machine()
    return 0 if report(measure()) else 1


if __name__ == "__main__":
    sys.exit(main())
