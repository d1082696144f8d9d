"""The overlay's data plane: TCP through it beside TCP through a VXLAN made by hand, and what an entry costs.

Two hosts on a switch, in one run; both ways take turns, figures are medians. Run as a module: the exit status is 1 when a limit
is passed.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.kernel.overlay_hosts import Cluster, Member, Net, cluster_on
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine

LEAST_RATIO: Final = 0.95
ENTRY_LIMIT_US: Final = 10.0
"""To read one entry back from the kernel and make an object of it; each remote endpoint has two."""

_NET: Final = Net(name="bench", subnets=(("10.9.0.0/16", 300),))
_WEB: Final = Member(name="web", net=_NET, host="A", interfaces=("10.9.0.2/16",))
_DB: Final = Member(name="db", net=_NET, host="B", interfaces=("10.9.0.3/16",))
_BY_HAND: Final = {"A": ("handa", "10.10.0.2", "02:42:0a:0a:00:02"), "B": ("handb", "10.10.0.3", "02:42:0a:0a:00:03")}
_CHUNK: Final = bytes(1 << 18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Throughputs in Gbit/s, medians; microseconds for each entry to program it and to see it."""

    overlay: float
    by_hand: float
    program_us: float
    see_us: float

    @property
    def ratio(self) -> float:
        return self.overlay / self.by_hand

    @property
    def is_good(self) -> bool:
        return self.ratio >= LEAST_RATIO and self.see_us <= ENTRY_LIMIT_US

    def lines(self) -> list[str]:
        return [
            f"TCP over the overlay    {self.overlay:6.2f} Gbit/s",
            f"TCP over VXLAN by hand  {self.by_hand:6.2f} Gbit/s   ratio {self.ratio:.2f}, at least {LEAST_RATIO}",
            f"entry programmed        {self.program_us:6.1f} µs",
            f"entry seen              {self.see_us:6.1f} µs       at most {ENTRY_LIMIT_US:.0f}",
        ]


def throughput(machine: Machine, client: str, server: str, address: str, seconds: float) -> float:
    """Push bytes through one connection; give Gbit/s as the receiver counts them."""
    received = [0]
    with machine.inside(server):
        listener = socket.create_server((address, 5001))
    with listener:
        thread = threading.Thread(target=_drain, args=(listener, received), daemon=True)
        thread.start()
        with machine.inside(client):
            sender = socket.create_connection((address, 5001), timeout=5)
        start = time.perf_counter()
        with sender:
            while time.perf_counter() - start < seconds:
                sender.sendall(_CHUNK)
        thread.join(timeout=10)
    return received[0] * 8 / (time.perf_counter() - start) / 1e9


def _drain(listener: socket.socket, received: list[int]) -> None:
    connection, _ = listener.accept()
    room = bytearray(1 << 20)
    with connection:
        while count := connection.recv_into(room):
            received[0] += count


def make_by_hand(cluster: Cluster) -> None:
    """Build the same with `ip` and `bridge`: namespace, bridge, VXLAN, entries, a veth pair into a sandbox."""
    machine = cluster.machine
    for host, (sandbox, address, mac) in _BY_HAND.items():
        ns = f"hand-{host}"
        machine.add_namespace(ns)
        machine.add_namespace(sandbox)
        vxlan = f"vxlan0 mtu {_NET.mtu} netns {ns} type vxlan id 900 dstport 4789 local {cluster.vteps[host]} nolearning proxy"
        machine.run("", "ip", "-n", host, "link", "add", *vxlan.split())
        for line in (
            f"link add br0 mtu {_NET.mtu} type bridge",
            "link set vxlan0 master br0 up",
            "link set br0 up",
            f"link add near mtu {_NET.mtu} master br0 type veth peer eth0 mtu {_NET.mtu} address {mac} netns {sandbox}",
            "link set near up",
        ):
            machine.run("", "ip", "-n", ns, *line.split())
        machine.run("", "ip", "-n", sandbox, "link", "set", "eth0", "up")
        machine.run("", "ip", "-n", sandbox, "address", "add", f"{address}/16", "dev", "eth0")
    for host, other in (("A", "B"), ("B", "A")):
        _, address, mac = _BY_HAND[other]
        machine.run(
            f"hand-{host}", *f"bridge fdb add {mac} dev vxlan0 dst {cluster.vteps[other]} self permanent".split()
        )
        machine.run(f"hand-{host}", *f"ip neigh add {address} lladdr {mac} dev vxlan0 nud permanent".split())


def entry_costs(cluster: Cluster, remotes: int) -> tuple[float, float]:
    """Add so many endpoints on the other host; give microseconds per entry to program it and to see it."""
    far = [
        Member(name=f"far{n}", net=_NET, host="B", interfaces=(f"10.9.{1 + n // 250}.{1 + n % 250}/16",))
        for n in range(remotes)
    ]
    host, members = cluster.hosts["A"], (_WEB, _DB, *far)
    before = _timed_look(cluster)
    plan = host.plan(members, cluster.vteps)
    start = time.perf_counter()
    failed = [outcome for outcome in host.carry_out(plan) if outcome.error]
    programming = time.perf_counter() - start
    if failed or len(plan.operations) != 2 * remotes:
        raise SystemExit(f"{len(failed)} of {len(plan.operations)} operations failed")
    seeing = _timed_look(cluster) - before
    return programming / len(plan.operations) * 1e6, seeing / len(plan.operations) * 1e6


def _timed_look(cluster: Cluster) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        cluster.hosts["A"].look(["web"])
        times.append(time.perf_counter() - start)
    return min(times)


def bench(folder: Path, *, seconds: float = 1.0, rounds: int = 15, remotes: int = 5000) -> Figures:
    """Measure in the private machine that this process has entered before."""
    machine = Machine(state_dir=folder / "state")
    with cluster_on(machine, ("A", "B")) as cluster:
        cluster.converge(_WEB, _DB)
        make_by_hand(cluster)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(throughput(machine, "web", "db", "10.9.0.3", seconds))
            theirs.append(throughput(machine, "handa", "handb", "10.10.0.3", seconds))
        program_us, see_us = entry_costs(cluster, remotes)
    return Figures(overlay=median(ours), by_hand=median(theirs), program_us=program_us, see_us=see_us)


def main() -> int:
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    enter_private_machine()
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        figures = bench(Path(folder))
    print("\n".join(figures.lines()))
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
