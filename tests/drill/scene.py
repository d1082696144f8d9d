"""Hosts and store nodes on one switch, and the steps of a history carried out on them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reconciler.kv.address import store_config
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from reconciler.model.objects import IPAddress
from tests.cluster import PREFIX, STORE, ClusterHost, cluster_hosts, cluster_options, short_life
from tests.command_line import Ran, run_command
from tests.drill.history import History, Step
from tests.drill.truth import interface_of, overlays, sandbox_of
from tests.fork_server import Hook
from tests.kv_servers.ensemble import Ensemble, ensemble_of
from tests.machine import Machine
from tests.underlay import SWITCH, UPLINK, hosts_on_switch, port_of, rejoin_switch
from tests.waiting import eventually, until

GRACE_S: Final = 86_400
_UNDERLAY_LENGTH: Final = 24
_TABLE: Final = "table bridge drill"

_AT_REST: Final = frozenset(
    (
        "backup",
        "crash",
        "cut",
        "deafen",
        "empty",
        "freeze",
        "isolate",
        "kill",
        "murder",
        "pause",
        "repair",
        "stop",
        "watch",
    )
)
"""Steps after which all networks and endpoints are what they were, whatever becomes of watchers and store: nothing is declared."""


class DrillFailed(AssertionError):
    """What must hold does not."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What specs say of one. address: declared, "" for any."""

    networks: tuple[str, ...]
    address: str = ""


@dataclass(kw_only=True)
class HostState:
    """What the drill knows of a host. once: attachments that the store may have of it, were it lost. ping: of its own two.

    networks: that it declares. external: that it joins; of these, `available` are those that the cluster has.

    is_missed_when_dead: its record says that it is watched, as far as we can tell; who is not watched is missed by nobody.
    """

    host: ClusterHost
    number: int
    clock: Path
    declared: dict[str, Attachment] = field(default_factory=dict)
    networks: set[str] = field(default_factory=lambda: {"net"})
    external: set[str] = field(default_factory=set)
    available: set[str] = field(default_factory=set)
    once: dict[str, Attachment] = field(default_factory=dict)
    is_lost: bool = False
    is_paused: bool = False
    is_missed_when_dead: bool = False
    shift_s: int = 0
    mac: str = ""
    ping: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def is_watched(self) -> bool:
        return self.host.watcher is not None

    @property
    def present(self) -> set[str]:
        """Give the networks that it should have."""
        return self.networks | (self.external & self.available)

    def is_waiting(self, name: str) -> bool:
        """Say whether an attachment stays as it is, as one of its networks is declared by nobody."""
        return name in self.declared and not (self.external - self.available).isdisjoint(self.declared[name].networks)

    def attachments(self) -> Mapping[str, Attachment]:
        """Give what it should have."""
        return self._attachments(self.present)

    def _attachments(self, networks: set[str]) -> Mapping[str, Attachment]:
        found = {
            name: Attachment(tuple(each for each in one.networks if each in networks), one.address)
            for name, one in self.declared.items()
        }
        return {name: one for name, one in found.items() if one.networks}

    def hooks(self) -> list[Hook]:
        """Give what makes a process one of a host with such a clock."""
        return [Hook("tests.drill.clock:shift_by", (str(self.clock),))]

    def run(self, *arguments: str) -> Ran:
        """Run the command line on it."""
        return run_command([*self.host.reconcile.options(), *self.host.options, *arguments], hooks=self.hooks())

    def write_specs(self) -> None:
        wished = self._attachments(self.networks | self.external)
        self.once |= wished
        self.host.declare(_specs(self.name, self, wished))


def _specs(host: str, state: HostState, attachments: Mapping[str, Attachment]) -> str:
    lines = ["networks:", "  net: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.0.9.0/24}]}}"]
    lines += ["  auto: {driver: overlay, internal: true, enable_ipv6: true}"] if "auto" in state.networks else []
    lines += ["  auto: {external: true}"] if "auto" in state.external else []
    lines += ["attachments:"]
    for name, one in attachments.items():
        address = f", ipv4_address: {one.address}" if one.address else ""
        joined = ", ".join(f"{each}: {{interface_name: {interface_of(each)}{address}}}" for each in one.networks)
        lines.append(f"  {name}: {{sandbox: {{netns: {sandbox_of(host, name)}}}, networks: {{{joined}}}}}")
    return "\n".join((*lines, ""))


@dataclass(kw_only=True)
class Scene:
    """One drill under way. done: steps that were carried out, by kind.

    is_strict: nothing has happened since the last settling after which two may have one address for a while: a store with older
    data or none, or clocks further apart than dead hosts are kept for. is_at_rest: nothing has happened after which a network or an
    endpoint may be another one. shape: what each was when all had settled last.
    """

    machine: Machine
    history: History
    folder: Path
    ensemble: Ensemble
    hosts: dict[str, HostState]
    store: KvStore
    is_strict: bool = True
    is_at_rest: bool = False
    shape: str = ""
    has_backup: bool = False
    done: Counter[str] = field(default_factory=Counter)
    cuts: set[tuple[str, str]] = field(default_factory=set)

    @property
    def up(self) -> list[HostState]:
        return [state for state in self.hosts.values() if not state.is_lost]

    @property
    def lost(self) -> list[HostState]:
        return [state for state in self.hosts.values() if state.is_lost]

    def stored(self) -> dict[str, str]:
        """Give all that the store has. Raises KvError."""
        with self.machine.inside(SWITCH):
            return {entry.key: entry.value.decode(errors="replace") for entry in self.store.list("")}

    def do(self, step: Step) -> None:
        """Carry out a step, unless it makes no sense here."""
        acts: dict[str, Callable[..., bool]] = {
            "attach": self._attach,
            "detach": self._detach,
            "declare": self._declare,
            "join": self._join,
            "undeclare": self._undeclare,
            "cut": lambda a, b: self._cut((a, b), (b, a)),
            "deafen": lambda a, b: self._cut((a, b)),
            "isolate": self._isolate,
            "freeze": self._freeze,
            "kill": self._kill,
            "crash": self._crash,
            "repair": self._repair,
            "backup": self._backup,
            "restore": self._restore,
            "empty": self._empty,
            "clock": self._clock,
            "murder": lambda name: self._end_watcher(name, signal.SIGKILL),
            "stop": lambda name: self._end_watcher(name, signal.SIGTERM),
            "pause": self._pause,
            "watch": self._watch,
            "lose": self._lose,
            "return": lambda name: self._return(name, keeps_disk=True),
            "reborn": lambda name: self._return(name, keeps_disk=False),
            "forget": self._forget,
        }
        self.is_at_rest &= step.kind in _AT_REST
        if acts[step.kind](*step.arguments):
            self.done[step.kind] += 1

    # ---- specs

    def _attach(self, host: str, name: str, networks: str, address: str = "") -> bool:
        return self._edit(
            host, lambda state: state.declared.update({name: Attachment(tuple(networks.split(",")), address)})
        )

    def _detach(self, host: str, name: str) -> bool:
        return self._edit(host, lambda state: state.declared.pop(name, None))

    def _declare(self, host: str, network: str) -> bool:
        return self._edit(host, lambda state: (state.external.discard(network), state.networks.add(network)))

    def _join(self, host: str, network: str) -> bool:
        return self._edit(host, lambda state: (state.networks.discard(network), state.external.add(network)))

    def _undeclare(self, host: str, network: str) -> bool:
        return self._edit(host, lambda state: (state.networks.discard(network), state.external.discard(network)))

    def _edit(self, host: str, edit: Callable[[HostState], object]) -> bool:
        state = self.hosts[host]
        if state.is_lost:
            return False
        edit(state)
        state.write_specs()
        return True

    # ---- the network between them

    def _cut(self, *ways: tuple[str, str]) -> bool:
        self.cuts.update(ways)
        self._apply_cuts()
        return True

    def _isolate(self, name: str) -> bool:
        others = {*self.hosts, *self.ensemble.servers} - {name}
        return self._cut(*((name, other) for other in others), *((other, name) for other in others))

    def _apply_cuts(self) -> None:
        """Drop, on the switch, what goes from one to another."""
        numbers = {name: number for number, name in enumerate((*self.hosts, *self.ensemble.servers), 1)}
        rules = "; ".join(
            f'iifname "{port_of(numbers[source])}" oifname "{port_of(numbers[to])}" drop'
            for source, to in sorted(self.cuts)
            if source in numbers and to in numbers
        )
        chain = f"chain cut {{ type filter hook forward priority 0; {rules}; }};" if rules else ""
        self.machine.run("", "ip", "netns", "exec", SWITCH, "nft", f"{_TABLE}; delete {_TABLE}; {_TABLE} {{ {chain} }}")

    def _repair(self) -> bool:
        self.cuts.clear()
        self._apply_cuts()
        self.ensemble.thaw()
        self.ensemble.start()
        return True

    # ---- the store

    def _freeze(self, node: str) -> bool:
        if node not in self.ensemble.servers or self.ensemble.servers[node].process is None:
            return False
        self.ensemble.freeze(node)
        return True

    def _kill(self, node: str) -> bool:
        if node not in self.ensemble.servers:
            return False
        self.ensemble.kill(node)
        return True

    def _crash(self) -> bool:
        self.ensemble.kill()
        self.ensemble.start()
        return True

    def _backup(self) -> bool:
        """Keep what all have on disk: they are killed for it, so that all is of one moment."""
        self.ensemble.kill()
        self.ensemble.back_up(self.folder / "backup")
        self.ensemble.start()
        self.has_backup = True
        return True

    def _restore(self) -> bool:
        if not self.has_backup:
            return False
        return self._replace(lambda: self.ensemble.restore(self.folder / "backup"))

    def _empty(self) -> bool:
        return self._replace(self.ensemble.empty)

    def _replace(self, replace: Callable[[], None]) -> bool:
        self.ensemble.kill()
        replace()
        self.ensemble.start()
        if not self.is_at_rest:
            self._weaken()
        for state in self.hosts.values():
            state.is_missed_when_dead = False
        return True

    def _weaken(self) -> None:
        self.is_strict = False
        for state in self.hosts.values():
            end_ping(state)

    # ---- hosts

    def _clock(self, host: str, seconds: str) -> bool:
        state = self.hosts[host]
        state.shift_s += int(seconds)
        draft = state.clock.with_suffix(".new")
        draft.write_text(str(state.shift_s))
        draft.rename(state.clock)
        if max(abs(a.shift_s - b.shift_s) for a in self.hosts.values() for b in self.hosts.values()) > GRACE_S / 2:
            self._weaken()
        return True

    def _end_watcher(self, host: str, number: signal.Signals) -> bool:
        state = self.hosts[host]
        if not state.is_watched or (state.is_paused and number != signal.SIGKILL):
            return False
        state.host.stop(number)
        state.is_paused = state.is_missed_when_dead = False
        return True

    def _pause(self, host: str) -> bool:
        state = self.hosts[host]
        if state.host.watcher is None:
            return False
        state.host.watcher.send_signal(signal.SIGSTOP)
        state.is_paused = True
        state.is_missed_when_dead = False
        return True

    def _watch(self, host: str) -> bool:
        state = self.hosts[host]
        if state.is_lost:
            return False
        if state.host.watcher is None:
            state.host.watch(hooks=state.hooks())
        elif state.is_paused:
            state.host.watcher.send_signal(signal.SIGCONT)
        state.is_paused = False
        return True

    def _lose(self, host: str) -> bool:
        """Have nothing of it be there any more but its disk. One that nobody would miss is not lost: it would be kept."""
        state = self.hosts[host]
        if state.is_lost or not state.is_missed_when_dead or len(self.up) == 1:
            return False
        state.mac = str(self.machine.ip_json(host, "link", "show", UPLINK)[0]["address"])
        end_ping(state)
        state.host.stop(signal.SIGKILL)
        self.machine.run("", "ip", "-n", SWITCH, "link", "delete", port_of(state.number))
        own = [ns for ns in self.machine.namespaces() if ns.startswith(sandbox_of(host, ""))]
        for ns in (*own, *overlays(self.machine, state.host).values(), host):
            for pid in map(int, self.machine.run("", "ip", "netns", "pids", ns).stdout.split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.machine.delete_namespace(ns)
        shutil.rmtree(state.host.reconcile.machine.run_dir, ignore_errors=True)
        state.is_lost, state.is_paused = True, False
        return True

    def _return(self, host: str, *, keeps_disk: bool) -> bool:
        state = self.hosts[host]
        if not state.is_lost:
            return False
        if not keeps_disk:
            shutil.rmtree(state.host.reconcile.machine.state_dir)
        self.machine.add_namespace(host)
        rejoin_switch(self.machine, host, state.number, f"{state.host.address}/{_UNDERLAY_LENGTH}", state.mac)
        state.is_lost = state.is_missed_when_dead = False
        return self._watch(host)

    def _forget(self, host: str) -> bool:
        """Take a lost host out, from one that reaches the store; not done where none does."""
        state = self.hosts[host]
        if not state.is_lost:
            return False
        is_done = any(each.run("node", "rm", host).exit_code == 0 for each in self.up)
        if is_done:
            state.once = {}
        return is_done

    def begin(self) -> None:
        """Have all hosts be watched, once each store node answers."""
        with self.machine.inside(SWITCH):
            for address in self.ensemble.addresses:
                with closing(
                    open_store(store_config(f"{self.history.provider}://{address}/{PREFIX}", {}, {}))
                ) as store:
                    until(lambda: not store.list(""), 60)  # called at once
        for state in self.hosts.values():
            state.declared = {f"{state.name}-{number}": Attachment(("net",)) for number in (0, 1)}
            state.write_specs()
            self._watch(state.name)

    def mend(self) -> None:
        """Have all be there that is not lost."""
        self._repair()
        for state in self.up:
            self._watch(state.name)

    def take_down(self) -> None:
        """Have all hosts leave, the lost ones taken out first, unless the others have done so."""
        remover = self.up[0]
        for state in self.lost:
            until(lambda: _is_out(remover.run("node", "rm", state.name)), 60)  # noqa: B023  # called at once
            state.once = {}
        for state in self.up:
            end_ping(state)
            state.host.stop()
            done = state.run("down")
            assert done.exit_code == 0, done.text


def _is_out(removal: Ran) -> bool:
    return removal.exit_code == 0 or "No such node" in removal.stderr


def end_ping(state: HostState) -> tuple[int, int]:
    """End the ping between a host's own two sandboxes, if it runs; give how many were sent, and how many of them answered."""
    ping, state.ping = state.ping, None
    if ping is None:
        return 0, 0
    assert ping.stdout is not None

    def has_ended() -> bool:
        """One that has only begun may not heed the first signal."""
        ping.send_signal(signal.SIGINT)
        return ping.poll() is not None

    assert eventually(has_ended, every_s=0.05)
    said = ping.stdout.read().decode()
    ping.stdout.close()
    if ping.returncode == -signal.SIGINT:
        return 0, 0  # it had not even begun
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found is not None, said
    return int(found[1]), int(found[2])


def start_ping(machine: Machine, state: HostState, address: str) -> None:
    """Have one of a host's own two sandboxes ping the other from now on, five times a second."""
    command = ("setpriv", "--pdeathsig", "KILL", "--", "ping", "-n", "-q", "-i", "0.2", "-W", "30", address)
    with machine.inside(sandbox_of(state.name, f"{state.name}-0")):
        state.ping = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@contextmanager
def scene_of(machine: Machine, folder: Path, history: History) -> Iterator[Scene]:
    """Give hosts with nothing on them, and a store that may take a while yet; in the end none of it runs."""
    addresses = hosts_on_switch(machine, (*history.hosts, *history.nodes))
    machine.run("", "ip", "-n", SWITCH, "address", "add", f"{STORE}/{_UNDERLAY_LENGTH}", "dev", "sw0")
    hosts: dict[str, IPAddress] = {name: addresses[name] for name in history.hosts}
    with ExitStack() as ending:
        ensemble = ending.enter_context(ensemble_of(machine, folder, history.provider, addresses, history.nodes))
        options = cluster_options(history.provider, ensemble.addresses, short_life(history.provider))
        made = ending.enter_context(cluster_hosts(machine, folder, hosts, options))
        states = {
            name: HostState(host=host, number=number, clock=folder / name / "clock")
            for number, (name, host) in enumerate(made.items(), 1)
        }
        for state in states.values():
            ending.callback(end_ping, state)
        config = store_config(f"{history.provider}://{','.join(ensemble.addresses)}/{PREFIX}", {}, {})
        with closing(open_store(config)) as store:
            yield Scene(machine=machine, history=history, folder=folder, ensemble=ensemble, hosts=states, store=store)
