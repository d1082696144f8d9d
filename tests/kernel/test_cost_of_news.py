"""What a pass does for an endpoint that comes or goes on another host is the same however many there are: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.backends import Backends, open_backends
from reconciler.kv.address import discovery
from reconciler.kv.protocol import TRANSACTION_KEYS_MAX, Batch, Delete, KvStore, Put
from reconciler.kv.sqlite import open_sqlite
from reconciler.observe.cluster import ClusterStore
from reconciler.pipeline import tear_down
from reconciler.settings import Settings
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.loop import Passed
from reconciler.watch.passes import Passes
from reconciler.watch.source import Dirty
from tests.bench.far_hosts import FarEndpoint, join
from tests.machine import Machine
from tests.underlay import UPLINK, hosts_on_switch

pytestmark = pytest.mark.kernel

FEW, MANY = 40, 640
SPECS = "networks: {net: {driver: overlay, ipam: {config: [{subnet: 10.20.0.0/16}]}}}\nattachments: {here: {networks: [net]}}\n"
NEWS = Dirty(is_cluster=True)


class Host:
    """A watcher without its loop, and the cluster's store, which tells it of far endpoints as watches would."""

    def __init__(self, settings: Settings, backends: Backends, kv: KvStore, store: ClusterStore) -> None:
        self._kv, self._store = kv, store
        self._kernel, self._memory = KernelEvents(backends.namespaces), backends.memory
        here: Any = SimpleNamespace(needs_polling=False, forget_askers=lambda: None)
        self._passes = Passes(settings, backends, here, self._kernel, None, here, None)
        self._followed: set[str] = set()

    def close(self) -> None:
        self._memory.news = None
        self._kernel.close()

    def settle(self) -> Passed:
        """Make passes until there is nothing left to look at."""
        dirty = NEWS
        for _ in range(50):
            passed = self._passes.run(dirty)
            assert not passed.report.drift.operations
            for folder in self._store.folders(passed.watched.networks):
                if folder not in self._followed:
                    self._followed.add(folder)
                    self._store.follow(folder, Batch(is_resync=True, entries=tuple(self._kv.list(folder))))
            dirty = self._kernel.arm(passed.watched) | self._kernel.drain()
            if not dirty and not passed.report.outcomes:
                return passed
            dirty |= NEWS
        raise AssertionError("it goes on and on")

    def hear(self, endpoints: Sequence[FarEndpoint], *, have_come: bool = True) -> Passed:
        """Let endpoints come or go, be told of them, and make one pass."""
        writes = [write for each in endpoints for write in (each.come() if have_come else each.go())]
        for start in range(0, len(writes), TRANSACTION_KEYS_MAX):
            self._kv.transact((), writes[start : start + TRANSACTION_KEYS_MAX])
        written = (self._kv.get(write.key) for write in writes if isinstance(write, Put))
        entries = tuple(each for each in written if each is not None and each.key.startswith("network/net/"))
        gone = tuple(w.key for w in writes if isinstance(w, Delete) and w.key.startswith("network/net/"))
        self._store.follow("network/net/", Batch(is_resync=False, entries=entries, deleted=gone))
        passed = self._passes.run(NEWS)
        self._kernel.arm(passed.watched)
        assert not passed.report.drift.operations
        return passed


@pytest.fixture
def host(machine: Machine, tmp_path: Path) -> Iterator[Host]:
    hosts_on_switch(machine, ["alpha"])
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "all.yaml").write_text(SPECS)
    settings = Settings(
        host="alpha",
        specs_dir=folder,
        state_dir=tmp_path / "own",
        status_dir=tmp_path / "own" / "status",
        run_dir=tmp_path / "run",
        cluster_store="consul://192.0.2.9/demo",
        cluster_advertise=UPLINK,
    )
    with machine.inside("alpha"), closing(open_sqlite(tmp_path / "cluster.db")) as kv:
        store = ClusterStore(kv, host="alpha", instance="i", discovery=discovery({}))
        with open_backends(replace(settings, cluster_store="", cluster_advertise="")) as opened:
            backends = replace(opened, cluster=store)
            made = Host(settings, backends, kv, store)
            join(kv, "net")
            made.settle()
            with closing(made):
                yield made
            tear_down(settings, replace(opened, cluster=None))


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the calls of functions, Python's and C's: of what opens files, asks the kernel or looks at a value each is one."""
    count = [0]

    def note(frame: FrameType, event: str, what: object) -> None:
        count[0] += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)


def calls_of(host: Host, endpoint: FarEndpoint) -> int:
    """Give the calls of the passes for an endpoint that comes and goes again: the fewest of a few."""
    found = []
    for _ in range(3):
        with counted() as count:
            come, go = host.hear([endpoint]), host.hear([endpoint], have_come=False)
        assert [len(each.report.outcomes) for each in (come, go)] == [3, 3]
        found.append(count[0])
    return min(found)


def test_a_far_endpoint_costs_as_much_among_many_as_among_few(host: Host) -> None:
    far = [FarEndpoint(network="net", number=number) for number in range(MANY + 1)]
    host.hear(far[:FEW])
    host.settle()
    few = calls_of(host, far[-1])

    host.hear(far[FEW:MANY])
    host.settle()
    many = calls_of(host, far[-1])

    assert many <= few + 60
