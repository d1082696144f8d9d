"""What wakes a watcher: changes that others make in the folders it follows, an outage, and its end."""

from __future__ import annotations

import select
import threading
import time

import pytest

from reconciler.cluster.records import network_record
from reconciler.errors import KvUnavailable
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import KvStore
from reconciler.model.cluster import ClusterState
from reconciler.observe.cluster import ClusterStore
from reconciler.watch.cluster_events import ClusterEvents
from tests.contracts.conftest import Backend
from tests.contracts.waiting import until
from tests.fakes.cluster import NOW, overlay, placed

pytestmark = pytest.mark.kernel

_FOLLOWED = ("over",)


class Watching:
    """A host that follows networks."""

    def __init__(self, kv: KvStore) -> None:
        self.store = ClusterStore(kv, host="alpha", instance="i-alpha", discovery=Discovery())
        self.events = ClusterEvents(self.store, kv)

    def look(self) -> ClusterState:
        return self.store.look(_FOLLOWED, NOW)

    def is_woken(self, timeout_s: float = 10.0) -> bool:
        ready, _, _ = select.select([self.events], [], [], timeout_s)
        self.events.drain()
        return bool(ready)

    def settle(self) -> None:
        """Wait until all that there is has been told."""
        until(lambda: not self.is_woken(0.7), 30)


def write(kv: KvStore, network: str = "over") -> None:
    for record in (network_record(overlay(network)), placed("db", "10.0.9.3/24", host="beta", network=network)):
        kv.put(record.path, record.value.encode())


def test_what_others_write_wakes_and_is_seen_without_asking(backend: Backend, area: str) -> None:
    writer, host = backend.open(area), Watching(backend.open(area))
    host.events.follow(_FOLLOWED)
    host.settle()

    write(writer)

    assert host.is_woken()
    until(lambda: host.look().networks)
    until(lambda: [one.name for one in host.look().networks["over"].endpoints] == ["db"])
    writer.delete("network/over/endpoints/db")
    until(lambda: host.look().networks["over"].endpoints == ())
    host.events.close()


def test_networks_that_are_not_followed_wake_nobody(backend: Backend, area: str) -> None:
    writer, host = backend.open(area), Watching(backend.open(area))
    host.events.follow(_FOLLOWED)
    host.settle()

    record = placed("db", network="elsewhere", host="beta")
    writer.put(record.path, record.value.encode())
    writer.put("addresses/over/10.0.9.2", b"x")
    writer.put("revisions/beta", b"{}")

    assert not host.is_woken(1.0)
    host.events.close()


def test_networks_come_and_go(backend: Backend, area: str) -> None:
    writer, host = backend.open(area), Watching(backend.open(area))
    host.events.follow(())
    host.settle()
    assert watched_folders() == {"nodes/", "networks/"}

    host.events.follow(_FOLLOWED)
    host.settle()
    write(writer)
    assert host.is_woken()
    until(lambda: host.look().networks["over"].endpoints if host.look().networks else ())
    host.events.follow(())
    until(lambda: watched_folders() == {"nodes/", "networks/"})
    host.settle()
    writer.delete("network/over/endpoints/db")

    assert not host.is_woken(1.0)
    assert host.look().networks["over"].endpoints == (), "what is not watched is listed"
    host.events.close()
    assert watched_folders() == set()


def watched_folders() -> set[str]:
    return {
        name.removeprefix("watch ") for thread in threading.enumerate() if (name := thread.name).startswith("watch ")
    }


def test_own_write_that_was_looked_at_wakes_nobody_twice(backend: Backend, area: str) -> None:
    kv = backend.open(area)
    host = Watching(kv)
    host.events.follow(_FOLLOWED)
    host.settle()
    write(kv)
    host.store.forget(["networks/over", "network/over/endpoints/db"])
    first = host.look()
    host.settle()

    assert host.look() == first
    assert not host.is_woken(0.5)
    host.events.close()


def test_outage_wakes_and_its_end_too_though_nothing_changed(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    write(clustered.open(area))
    host = Watching(clustered.open(area, 1.0))
    host.events.follow(_FOLLOWED)
    host.settle()
    before = host.look()

    clustered.server.stop()
    assert host.is_woken(40)
    started = time.monotonic()
    state = until(lambda: state_in_outage(host), 40)
    assert time.monotonic() - started < 40
    assert isinstance(state.outage, KvUnavailable)
    assert state.networks == before.networks
    host.settle()
    started = time.monotonic()
    host.look()
    assert time.monotonic() - started < 0.5, "a pass does not wait for a store that is known to be away"
    clustered.server.start()
    clustered.await_ready()

    assert host.is_woken(30)
    until(lambda: host.look().outage is None, 30)
    host.events.close()


def state_in_outage(host: Watching) -> ClusterState | None:
    state = host.look()
    return state if state.outage else None


def test_end_does_not_wait_for_a_store_that_hangs(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    host = Watching(clustered.open(area))
    host.events.follow(_FOLLOWED)
    host.settle()
    clustered.server.pause()

    started = time.monotonic()
    host.events.close()

    assert time.monotonic() - started < 3
