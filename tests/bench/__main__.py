"""`make bench`: a first pass and a pass with nothing to do, beside a shell script that builds or lists the same by hand.

Whole processes, taking turns in one run; figures are medians. Most of the script's time goes into one `ip` process per
sandbox, which no script of `ip` can do without: a batch stays in one namespace. The exit status is 1 when a limit is passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.workload import Workload, building_script, listing_script
from tests.command_line import Reconcile, command_environment
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine
from tests.waiting import eventually

ROUNDS: Final = 3
HOST: Final = "H"
FIRST_PASS_LIMIT: Final = 3.0
IDLE_PASS_LIMIT: Final = 2.0
MEMORY_LIMIT_MB: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process from start to end, its children included. peak_mb: of the process alone."""

    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs of ours beside runs of the script; `limit` is on the quotient of the medians."""

    name: str
    limit: float
    ours: list[Run] = field(default_factory=list)
    scripts: list[Run] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return _seconds(self.ours) / _seconds(self.scripts)

    def line(self) -> str:
        verdict = "ok" if self.ratio <= self.limit else "TOO SLOW"
        figures = f"{_seconds(self.ours):7.2f} s {_seconds(self.scripts):7.2f} s {self.ratio:6.2f}x"
        return f"{self.name:<24}{figures}   at most {self.limit:.0f}x: {verdict}"


def _seconds(runs: Sequence[Run]) -> float:
    return median(run.seconds for run in runs)


def measured(*command: str) -> Run:
    """Run a command to its end; a failure ends the bench with what it printed."""
    with tempfile.TemporaryFile(dir="/run") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=command_environment()
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            raise SystemExit(
                f"{' '.join(command)}: exit {process.returncode}\n{output.read(4000).decode(errors='replace')}"
            )
    return Run(seconds=seconds, peak_mb=usage.ru_maxrss / 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What one run of the bench works on."""

    machine: Machine
    reconcile: Reconcile
    workload: Workload
    scripts: Path

    def compare(self, rounds: int, say: Callable[[str], None]) -> tuple[Comparison, Comparison]:
        """Let both take turns, after a round that is not counted: the script is written from what that one made."""
        first, idle = (
            Comparison(name="first pass", limit=FIRST_PASS_LIMIT),
            Comparison(name="nothing to do", limit=IDLE_PASS_LIMIT),
        )
        self._fresh_host()
        measured(*self.reconcile.command())
        build = building_script(self.machine, HOST, self.workload, self.scripts)
        listing = listing_script(HOST, self.workload, self.scripts)
        wanted = self._objects()
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            self._fresh_host()
            first.scripts.append(measured("sh", str(build)))
            idle.scripts.append(measured("sh", str(listing)))
            self._insist(wanted)
            self._fresh_host()
            first.ours.append(measured(*self.reconcile.command()))
            idle.ours.append(measured(*self.reconcile.command()))
            self._insist(wanted)
        return first, idle

    def _fresh_host(self) -> None:
        """Start over, when the kernel is done with taking down what was there: it does so in the background."""
        self.machine.add_namespace("canary")
        self.machine.run("", "ip", "link", "add", "canary", "type", "veth", "peer", "inside", "netns", "canary")
        self.machine.clean()
        if not eventually(lambda: "canary" not in self.machine.links(""), deadline_s=120):
            raise SystemExit("the kernel does not come to an end with removing namespaces")
        subprocess.run(["rm", "-rf", str(self.machine.state_dir)], check=True)
        self.machine.add_namespace(HOST)

    def _objects(self) -> list[object]:
        """Give what must be the same whoever made it."""
        host = self.machine.ip_json(HOST, "-4", "address", "show")
        last = self.machine.ip_json(self.workload.names[-1], "-4", "address", "show")
        addresses = [
            (link["ifname"], entry["local"], entry["prefixlen"])
            for link in (*host, *last)
            for entry in link["addr_info"]
        ]
        return [sorted(addresses), self.machine.links(HOST), self.machine.run(HOST, "nft", "list", "ruleset").stdout]

    def _insist(self, wanted: list[object]) -> None:
        found = self._objects()
        if found != wanted:
            raise SystemExit("script and reconcile did not make the same objects")


def report(first: Comparison, idle: Comparison, workload: Workload) -> bool:
    """Print the figures; tell whether all limits hold."""
    peak_mb = max(run.peak_mb for run in (*first.ours, *idle.ours))
    print(
        f"{workload.attachments} attachments on {workload.networks} networks, whole processes, median of {len(first.ours)}"
    )
    print(f"{'':<24}{'reconcile':>9} {'script':>9} {'ratio':>7}")
    print(first.line())
    print(idle.line())
    verdict = "ok" if peak_mb < MEMORY_LIMIT_MB else "TOO MUCH"
    print(f"{'peak memory':<24}{peak_mb:6.0f} MB{'':21}under {MEMORY_LIMIT_MB} MB: {verdict}")
    return first.ratio <= first.limit and idle.ratio <= idle.limit and peak_mb < MEMORY_LIMIT_MB


def bench(
    folder: Path, workload: Workload, say: Callable[[str], None], rounds: int = ROUNDS
) -> tuple[Comparison, Comparison]:
    """Measure in the private machine that this process has entered before."""
    machine = Machine(state_dir=folder / "state")
    workload.write_specs(folder / "specs")
    reconcile = Reconcile(machine=machine, host_ns=HOST, specs=folder / "specs")
    try:
        return Bench(machine=machine, reconcile=reconcile, workload=workload, scripts=folder / "scripts").compare(
            rounds, say
        )
    finally:
        machine.clean()  # the name server ends with its folder


def main() -> int:
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    enter_private_machine()
    workload = Workload()
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        first, idle = bench(Path(folder), workload, lambda text: print(text, file=sys.stderr))
        return 0 if report(first, idle, workload) else 1


if __name__ == "__main__":
    sys.exit(main())
