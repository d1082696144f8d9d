"""Random edits, random drift and random kill -9 against one watcher; in the end the host must be as the last specs say.

Everything is drawn from one seed, so that a run that failed can be repeated (up to the timing of the kernel's events).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.command_line import Reconcile
from tests.machine import Machine
from tests.waiting import eventually, exit_code_of

NETWORKS = ("amber", "beryl", "coral", "topaz")
ATTACHMENTS = tuple(f"box{number}" for number in range(8))
CONVERGE_S = 30.0
MEMORY_GROWTH_MAX_KB = 20_000
FD_GROWTH_MAX = 8


class SoakFailed(AssertionError):
    """The host or the watcher is not as it should be in the end."""


@dataclass(slots=True)
class Specs:
    """What is declared now: networks with their MTU, attachments with the networks they are on."""

    networks: dict[str, int] = field(default_factory=dict)
    attachments: dict[str, list[str]] = field(default_factory=dict)

    def text(self) -> str:
        networks = "".join(
            f'  {name}: {{driver_opts: {{com.docker.network.driver.mtu: "{mtu}"}}}}\n'
            for name, mtu in self.networks.items()
        )
        attachments = "".join(
            f"  {name}: {{networks: {{{', '.join(f'{network}: {{}}' for network in joined)}}}}}\n"
            for name, joined in self.attachments.items()
        )
        return f"networks:\n{networks}attachments:\n{attachments}"


@dataclass(slots=True)
class Soak:
    """One run. `log` gets a line per action."""

    machine: Machine
    reconcile: Reconcile
    seed: int
    log: Callable[[str], None]
    specs: Specs = field(default_factory=Specs)
    watcher: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def run(self, seconds: float) -> None:
        """Play for so long, then see that all is well. Raises SoakFailed."""
        dice = random.Random(self.seed)
        before = self._host()
        self._first_specs()
        self._start()
        self._await_convergence()
        first = self._resources()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            action = dice.choices(self._actions(), weights=[6, 8, 1, 1, 1])[0]
            self.log(action(dice))
            time.sleep(dice.random() * 0.5)
        self._save()
        self._await_convergence()
        self._check_traffic()
        self._check_resources(first)
        self._stop()
        self.reconcile.ok("down", "--allow-prune")
        if self._host() != before:
            raise SoakFailed(f"left behind: {self._host()}, before: {before}")

    def close(self) -> None:
        if self.watcher is not None:
            self.watcher.kill()
            self.watcher.wait()

    def _actions(self) -> tuple[Callable[[random.Random], str], ...]:
        return (self._edit, self._drift, self._kill, self._bad_edit, self._another_pass)

    def _first_specs(self) -> None:
        self.specs.networks = dict.fromkeys(NETWORKS[:3], 1500)
        self.specs.attachments = {name: [NETWORKS[i % 3]] for i, name in enumerate(ATTACHMENTS[:6])}
        self._save()

    def _save(self) -> None:
        path = self.reconcile.specs / "all.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(self.specs.text())
        draft.rename(path)

    def _edit(self, dice: random.Random) -> str:
        """Change one thing and save; never so much at once that the prune guard steps in."""
        match dice.randrange(4):
            case 0:
                name = dice.choice(ATTACHMENTS)
                self.specs.attachments[name] = dice.sample(list(self.specs.networks), dice.randint(1, 2))
            case 1 if len(self.specs.attachments) > 3:
                self.specs.attachments.pop(dice.choice(list(self.specs.attachments)))
            case 2:
                self.specs.networks[dice.choice(NETWORKS)] = dice.choice((1400, 1450, 1500))
            case _:
                unused = set(self.specs.networks) - {n for joined in self.specs.attachments.values() for n in joined}
                if len(self.specs.networks) > 2 and unused:
                    self.specs.networks.pop(dice.choice(sorted(unused)))
        self._save()
        return f"edit: {len(self.specs.networks)} networks, {len(self.specs.attachments)} attachments"

    def _bad_edit(self, dice: random.Random) -> str:
        (self.reconcile.specs / "all.yaml").write_text(
            self.specs.text() + dice.choice(("  bad: [", "wrong: 1\n", "\t"))
        )
        return "bad YAML saved"

    def _drift(self, dice: random.Random) -> str:
        """Change something of ours behind the watcher's back. What is not there just now cannot be changed: fine."""
        host = self.reconcile.host_ns
        links = [name for name in self.machine.links(host) if name.startswith(("br-", "rcv", "docker0"))]
        boxes = [name for name in self.machine.namespaces() if name.startswith("box")]
        if not links or not boxes:
            return "drift: nothing there"
        link, box = dice.choice(links), dice.choice(boxes)
        ns, command = dice.choice(
            (
                (host, ("ip", "link", "del", link)),
                (host, ("ip", "link", "set", link, "down")),
                (host, ("ip", "link", "set", link, "mtu", "1300")),
                (host, ("ip", "addr", "flush", "dev", link)),
                (host, ("nft", "flush", "ruleset")),
                (host, ("nft", "flush", "set", "inet", "reconciler", "bridges")),
                (box, ("ip", "link", "del", "eth0")),
                (box, ("ip", "link", "set", "eth0", "down")),
                (box, ("ip", "addr", "flush", "dev", "eth0")),
                (box, ("ip", "route", "flush", "default")),
                (host, ("ip", "netns", "del", box)),
            )
        )
        self.machine.run(ns, *command, check=False)
        return f"drift in {ns}: {' '.join(command)}"

    def _kill(self, dice: random.Random) -> str:
        self.kills += 1
        self.close()
        self._start()
        return "watcher killed and started again"

    def _another_pass(self, dice: random.Random) -> str:
        return f"one-shot pass beside the watcher: exit {self.reconcile().exit_code}"

    def _start(self) -> None:
        nothing = subprocess.DEVNULL
        self.watcher = self.reconcile.start("-q", "watch", stdin=nothing, stdout=nothing, stderr=nothing)

    def _stop(self) -> None:
        assert self.watcher is not None
        self.watcher.send_signal(signal.SIGTERM)
        if exit_code_of(self.watcher) != 0:
            raise SoakFailed(f"the watcher ended with {self.watcher.returncode}")

    def _await_convergence(self) -> None:
        """Wait until a dry run has nothing to do. The watcher must get there by itself."""

        def is_converged() -> bool:
            return self.reconcile("--dry-run", "--detailed-exitcode").exit_code == 0

        if not eventually(is_converged, deadline_s=CONVERGE_S, every_s=0.2):
            raise SoakFailed(f"not converged (seed {self.seed}):\n{self.reconcile('--dry-run').text}")
        assert self.watcher is not None
        if self.watcher.poll() is not None:
            raise SoakFailed(f"the watcher ended by itself with {self.watcher.returncode}")

    def _check_traffic(self) -> None:
        for name in self.specs.attachments:
            gateway = self.machine.default_gateway(name)
            if gateway is None or not self.machine.ping(name, gateway):
                raise SoakFailed(f"{name} does not reach its gateway {gateway} (seed {self.seed})")

    def _resources(self) -> tuple[int, int, int]:
        """Give the watcher's open descriptors and memory in KiB, and the number of named namespaces."""
        assert self.watcher is not None
        process = Path(f"/proc/{self.watcher.pid}")
        memory = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
        return len(os.listdir(process / "fd")), int(memory.split()[1]), len(self.machine.namespaces())

    def _check_resources(self, first: tuple[int, int, int]) -> None:
        fds, memory_kb, namespaces = self._resources()
        expected = first[2] + len(self.specs.attachments) - 6
        if namespaces != expected:
            raise SoakFailed(f"{namespaces} namespaces, expected {expected}: {self.machine.namespaces()}")
        per_sandbox = 3 * abs(len(self.specs.attachments) - 6)
        if fds > first[0] + per_sandbox + FD_GROWTH_MAX:
            raise SoakFailed(f"{fds} descriptors, {first[0]} in the beginning")
        if memory_kb > first[1] + MEMORY_GROWTH_MAX_KB:
            raise SoakFailed(f"{memory_kb} KiB of memory, {first[1]} in the beginning")

    def _host(self) -> tuple[list[str], list[str], str]:
        host = self.reconcile.host_ns
        rules = self.machine.run(host, "nft", "list", "ruleset").stdout
        return sorted(self.machine.links(host)), sorted(self.machine.namespaces()), rules
