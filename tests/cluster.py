"""A cluster of hosts that run the command line, with a real key-value server on their switch. For tests, demo and bench."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from reconciler.errors import KvError
from reconciler.kv.address import store_config
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from reconciler.model.objects import IPAddress
from tests.command_line import Ran, Reconcile
from tests.kv_servers.servers import STARTERS, Server
from tests.machine import Machine
from tests.underlay import SWITCH, UPLINK, hosts_on_switch
from tests.waiting import eventually

STORE = "198.51.100.250"
"""Where the key-value server listens: an address of the switch itself."""

PREFIX = "demo"
SHORT_LIFE = {"discovery.heartbeat": "1", "discovery.ttl": "3"}
"""For tests of hosts that die. Consul takes 10 s at the least, see `short_life`."""

DEADLINE_S = 20.0


def short_life(provider: str) -> dict[str, str]:
    """Give the options for signs of life that are missed soon."""
    return {"discovery.heartbeat": "2", "discovery.ttl": "10"} if provider == "consul" else SHORT_LIFE


@dataclass(kw_only=True)
class ClusterHost:
    """One host: its command line, its specs, its watcher if there is one."""

    name: str
    address: IPAddress
    reconcile: Reconcile
    options: Sequence[str]
    watcher: subprocess.Popen[bytes] | None = None

    @property
    def status_dir(self) -> Path:
        return self.reconcile.machine.status_dir

    def __call__(self, *arguments: str) -> Ran:
        return self.reconcile(*self.options, *arguments)

    def ok(self, *arguments: str) -> Ran:
        return self.reconcile.ok(*self.options, *arguments)

    def declare(self, text: str) -> None:
        """Replace the specs, as by a rename."""
        self.reconcile.specs.mkdir(parents=True, exist_ok=True)
        draft = self.reconcile.specs / ".draft"
        draft.write_text(text)
        draft.rename(self.reconcile.specs / "specs.yaml")

    def watch(self, **options: Any) -> None:
        """Start the watcher. options: of `start_command`."""
        log = open(self.reconcile.machine.state_dir.parent / f"{self.name}.log", "ab")  # noqa: SIM115  # the child's
        self.watcher = self.reconcile.start(*self.options, "watch", stdout=log, stderr=log, **options)
        log.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the watcher."""
        if self.watcher is not None:
            self.watcher.send_signal(number)
            self.watcher.wait()
            self.watcher = None

    def log_text(self) -> str:
        """Give what its watchers said, "" if there was none."""
        path = self.reconcile.machine.state_dir.parent / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def network(self, name: str) -> dict[str, Any]:
        """Give what inspect shows of a network; empty where there is nothing to show."""
        path = self.status_dir / "networks" / f"{name}.json"
        found: dict[str, Any] = json.loads(path.read_text())[0] if path.exists() else {}
        return found

    def endpoints(self, network: str) -> dict[str, str]:
        """Give the IPv4 addresses by name of all endpoints that inspect shows, other hosts' too."""
        shown = self.network(network).get("Containers", {}).values()
        return {each["Name"]: each["IPv4Address"].partition("/")[0] for each in shown}

    def condition(self, network: str) -> dict[str, Any]:
        """Give the first condition of a network in the summary; empty where there is none."""
        path = self.status_dir / "summary.json"
        entry = json.loads(path.read_text())["networks"].get(network) if path.exists() else None
        found: dict[str, Any] = entry["conditions"][0] if entry else {}
        return found

    def is_ready(self, network: str) -> bool:
        return self.condition(network).get("status") == "True"


@dataclass(kw_only=True)
class Cluster:
    """Hosts by name, and the server that their store is on."""

    machine: Machine
    server: Server
    hosts: dict[str, ClusterHost] = field(default_factory=dict)

    def __getitem__(self, name: str) -> ClusterHost:
        return self.hosts[name]

    def start_server(self) -> None:
        with self.machine.inside(SWITCH):
            self.server.start()

    def declare(self, text: str) -> None:
        """Give all hosts the same specs."""
        for host in self.hosts.values():
            host.declare(text)

    def watch(self) -> None:
        for host in self.hosts.values():
            host.watch()

    def ping(self, sandbox: str, target: str, *, deadline_s: float = DEADLINE_S) -> bool:
        return self.machine.ping(sandbox, target, deadline_s=deadline_s)

    def part(self, name: str) -> None:
        """Cut a host's link to the switch."""
        self._link(name, "down")

    def heal(self, name: str) -> None:
        self._link(name, "up")

    def _link(self, name: str, state: str) -> None:
        port = f"port{list(self.hosts).index(name) + 1}"
        self.machine.run("", "ip", "-n", SWITCH, "link", "set", port, state)


@contextmanager
def opened_store(cluster: Cluster) -> Iterator[KvStore]:
    """Give the cluster's store, as any client sees it."""
    config = store_config(f"{cluster.server.provider}://{STORE}/{PREFIX}", {}, {})
    with cluster.machine.inside(SWITCH), closing(open_store(config)) as store:
        yield store


def put_raw(cluster: Cluster, key: str, value: str) -> None:
    """Write into the store as somebody who means no good would."""
    with opened_store(cluster) as store:
        store.put(key, value.encode())


def are_watched(cluster: Cluster) -> bool:
    """Wait until all hosts give signs of life, and say so: one that is killed before is taken for one that nobody watches."""

    def is_watched() -> bool:
        found = {entry.key: entry.value for entry in store.list("nodes/")}
        infos = [json.loads(found.get(f"nodes/{name}/info", b"{}")) for name in cluster.hosts]
        return all(info.get("watched") for info in infos) and all(
            f"nodes/{name}/life" in found for name in cluster.hosts
        )

    with opened_store(cluster) as store:
        return eventually(is_watched, DEADLINE_S)


def are_stored(cluster: Cluster, *keys: str) -> bool:
    """Wait until the store has all these keys."""

    def is_there() -> bool:
        try:
            return all(store.get(key) is not None for key in keys)
        except KvError:
            return False

    with opened_store(cluster) as store:
        return eventually(is_there, 60)


def _takes_writes(cluster: Cluster) -> bool:
    """A Consul that listens has yet to elect itself."""
    try:
        put_raw(cluster, "ready", "")
    except KvError:
        return False
    return True


def cluster_options(provider: str, servers_: Sequence[str], store_options: Mapping[str, str]) -> list[str]:
    """Give the options by which a host is in a cluster. servers_: addresses of the store's."""
    options = ["--cluster-store", f"{provider}://{','.join(servers_)}/{PREFIX}", "--cluster-advertise", UPLINK]
    for name, value in store_options.items():
        options += ["--cluster-store-opt", f"{name}={value}"]
    return options


@contextmanager
def cluster_of(
    machine: Machine, folder: Path, names: Sequence[str], provider: str, store_options: dict[str, str] | None = None
) -> Iterator[Cluster]:
    """Give hosts without specs, and a running server; in the end nothing of either runs."""
    addresses = hosts_on_switch(machine, names)
    machine.run("", "ip", "-n", SWITCH, "address", "add", f"{STORE}/24", "dev", "sw0")
    assert ip_address(STORE) not in addresses.values()
    server = STARTERS[provider](folder / "server", address=STORE)
    options = cluster_options(provider, [STORE], store_options or {})
    cluster = Cluster(machine=machine, server=server)
    with ExitStack() as ending:
        ending.callback(server.stop)
        cluster.start_server()
        cluster.hosts = ending.enter_context(cluster_hosts(machine, folder, addresses, options))
        assert eventually(lambda: _takes_writes(cluster), 60)
        yield cluster


@contextmanager
def cluster_hosts(
    machine: Machine, folder: Path, addresses: Mapping[str, IPAddress], options: Sequence[str]
) -> Iterator[dict[str, ClusterHost]]:
    """Give hosts on a switch without specs, by name; in the end none has a watcher. options: of the cluster's store."""
    hosts = {}
    with ExitStack() as ending:
        for name, address in addresses.items():
            (folder / name).mkdir()
            shutil.rmtree(machine.state_dir / name, ignore_errors=True)  # of another cluster, by a drill
            (machine.state_dir / name).mkdir(parents=True)
            own = replace(machine, state_dir=machine.state_dir / name / "state", run_dir=machine.run_dir / name)
            made = Reconcile(machine=own, host_ns=name, specs=folder / name / "specs")
            host = ClusterHost(name=name, address=address, reconcile=made, options=("--host", name, *options))
            ending.callback(host.stop, signal.SIGKILL)
            hosts[name] = host
        yield hosts
