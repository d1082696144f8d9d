"""What an event of a global network costs: one watcher, its store, and hosts that exist in the store only."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.dns.launch import running_server
from reconciler.errors import KvError
from reconciler.kv.address import store_config
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from tests.bench.far_hosts import FarEndpoint, join, publish
from tests.cluster import PREFIX, STORE, Cluster, cluster_of, opened_store
from tests.machine import Machine
from tests.private_namespaces import set_network_namespace
from tests.underlay import SWITCH, UPLINK
from tests.waiting import eventually

NETWORK = "networks: {net: {driver: overlay, ipam: {config: [{subnet: 10.20.0.0/16}]}}}\n"
_HEARTBEATS = 100
_QUIET_S = 0.4
"""Between two events, so that each is served by itself and what it leads to is over."""


_QUIET_SAMPLE_S = 2.0
"""So long it is measured what a watcher takes while nothing happens: it looks whether files changed and the store is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCost:
    """Of one endpoint that comes or goes elsewhere, where `endpoints` are on the network: CPU in ms, bytes from the store.

    come_ms, go_ms: of the watcher, without what it takes in the same time while nothing happens: quiet_ms, a second. names_ms: of
    the name server. store_ms: of the store, with this one watcher.
    """

    endpoints: int
    come_ms: float
    go_ms: float
    quiet_ms: float
    names_ms: float
    read_bytes: float
    store_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCost:
    """CPU in ms: for an endpoint published (its record and its address in one transaction) and taken back, for each further watcher
    that is told of it where `endpoints` are on the network, and for one host's heartbeat.

    disk_bytes: by which the store's folder grows with each endpoint. other_bytes: read by a watcher in all while `endpoints`
    came on a network that it has nothing to do with.
    """

    endpoints: int
    publish_ms: float
    told_ms: float
    heartbeat_ms: float
    disk_bytes: float
    other_bytes: int


def cpu_s(pid: int) -> float:
    """Give the CPU time of a process with all its threads (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def event_cost(machine: Machine, folder: Path, provider: str, endpoints: int, events: int) -> EventCost:
    """Let endpoints come one by one and go again, each when the one before has been served."""
    far = [FarEndpoint(network="net", number=number) for number in range(endpoints + events)]
    with _watched(machine, folder, provider) as cluster, opened_store(cluster) as store:
        join(store, "net")
        publish(store, far[:endpoints])
        _await(cluster, endpoints)
        own, names, server = _pids(cluster)
        quiet = _spent(own, lambda: time.sleep(_QUIET_SAMPLE_S)) / (_QUIET_SAMPLE_S + _QUIET_S)
        began, before = time.monotonic(), (cpu_s(own), cpu_s(names), cpu_s(server), _read_bytes(cluster))
        for count, endpoint in enumerate(far[endpoints:], endpoints + 1):
            store.transact((), endpoint.come())
            _await(cluster, count)
        turned, middle = time.monotonic(), cpu_s(own)
        for count, endpoint in reversed(tuple(enumerate(far[endpoints:], endpoints))):
            store.transact((), endpoint.go())
            _await(cluster, count)
        after, ended = (cpu_s(own), cpu_s(names), cpu_s(server), _read_bytes(cluster)), time.monotonic()
    return EventCost(
        endpoints=endpoints,
        come_ms=(middle - before[0] - quiet * (turned - began)) / events * 1e3,
        go_ms=(after[0] - middle - quiet * (ended - turned)) / events * 1e3,
        quiet_ms=quiet * 1e3,
        names_ms=(after[1] - before[1]) / events / 2 * 1e3,
        read_bytes=(after[3] - before[3]) / events / 2,
        store_ms=(after[2] - before[2]) / events / 2 * 1e3,
    )


def store_cost(
    machine: Machine, folder: Path, provider: str, *, endpoints: int, events: int, watchers: int
) -> StoreCost:
    """Measure what the store has to do, without and with many who watch; a watcher of another network looks on."""
    far = [FarEndpoint(network="other", number=number) for number in range(endpoints + events)]
    with _watched(machine, folder, provider) as cluster, opened_store(cluster) as store:
        join(store, "other")
        time.sleep(_QUIET_S)
        server = _pids(cluster)[2]
        read, size = _read_bytes(cluster), _size(cluster)
        publish(store, far[:endpoints])
        time.sleep(_QUIET_S)
        read, size = _read_bytes(cluster) - read, _size(cluster) - size
        published = _spent(server, lambda: _come_and_go(store, far[endpoints:], 0.0)) / events
        alone = _spent(server, lambda: _come_and_go(store, far[endpoints:], _QUIET_S)) / events
        with _watching(cluster, "network/other/", watchers):
            told = _spent(server, lambda: _come_and_go(store, far[endpoints:], _QUIET_S)) / events
        beat = _spent(server, lambda: _heartbeats(store)) / _HEARTBEATS
    return StoreCost(
        endpoints=endpoints,
        publish_ms=published * 1e3,
        told_ms=max(0.0, told - alone) / 2 / watchers * 1e3,
        heartbeat_ms=beat * 1e3,
        disk_bytes=size / endpoints,
        other_bytes=read,
    )


@contextmanager
def _watched(machine: Machine, folder: Path, provider: str) -> Iterator[Cluster]:
    """Give one host with one endpoint on `net`, and its watcher."""
    folder.mkdir()
    with cluster_of(machine, folder, ["alpha"], provider) as cluster:
        host = cluster["alpha"]
        host.declare(f"{NETWORK}attachments: {{here: {{networks: [net]}}}}\n")
        host.watch()
        _await(cluster, 0)
        yield cluster
        host.stop(signal.SIGKILL)
    machine.clean()


def _await(cluster: Cluster, elsewhere: int) -> None:
    """Wait until so many endpoints on other hosts are shown, and for what that leads to."""
    if not eventually(lambda: len(cluster["alpha"].endpoints("net")) == elsewhere + 1, 60):
        raise SystemExit(f"{elsewhere} endpoints elsewhere are not shown:\n{cluster['alpha'].log_text()[-2000:]}")
    time.sleep(_QUIET_S)


def _pids(cluster: Cluster) -> tuple[int, int, int]:
    """Give the processes of the watcher, its name server, and the store."""
    host, server = cluster["alpha"], cluster.server.process
    names = running_server(host.reconcile.machine.run_dir)
    assert host.watcher
    assert names
    assert server
    return host.watcher.pid, names.pid, server.pid


def _read_bytes(cluster: Cluster) -> int:
    """Give what the host has received from its switch: all of it comes from the store."""
    link = cluster.machine.ip_json("alpha", "-statistics", "link", "show", UPLINK)[0]
    return int(link["stats64"]["rx"]["bytes"])


def _size(cluster: Cluster) -> int:
    """Give what the store's files hold; logs that are laid out beforehand (etcd's) do not count."""
    files = (path for path in cluster.server.folder.rglob("*") if path.is_file() and path.suffix != ".wal")
    return sum(path.stat().st_size for path in files)


def _spent(pid: int, work: Callable[[], None]) -> float:
    before = cpu_s(pid)
    work()
    time.sleep(_QUIET_S)
    return cpu_s(pid) - before


def _come_and_go(store: KvStore, endpoints: Sequence[FarEndpoint], pause_s: float) -> None:
    """pause_s: after each, as a watch that is busy with one change is told of the next along with it."""
    for endpoint in endpoints:
        for writes in (endpoint.come(), endpoint.go()):
            store.transact((), writes)
            time.sleep(pause_s)


def _heartbeats(store: KvStore) -> None:
    session = store.session(30)
    for _ in range(_HEARTBEATS):
        session.renew()
        store.get("nodes/far0/life")
    session.close()


@contextmanager
def _watching(cluster: Cluster, prefix: str, count: int) -> Iterator[None]:
    """Let so many others watch a folder, each with a connection of its own."""
    config = store_config(f"{cluster.server.provider}://{STORE}/{PREFIX}", {}, {})
    store = open_store(config)
    watches = [store.watch(prefix) for _ in range(count)]
    ready = threading.Semaphore(0)
    closing_down = threading.Event()

    def follow(number: int) -> None:
        with open(cluster.machine.path(SWITCH)) as namespace:
            set_network_namespace(namespace.fileno())
        with suppress(KvError):
            while not closing_down.is_set():
                watches[number].poll(1.0)
                ready.release()

    threads = [threading.Thread(target=follow, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for _ in threads:
        ready.acquire(timeout=60)
    yield
    closing_down.set()
    for thread in threads:
        thread.join()
    for watch in watches:
        watch.close()
    store.close()
