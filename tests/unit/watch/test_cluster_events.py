"""What happens between a look at the cluster's store and the watch of it is told."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.cluster.records import network_folder, network_record
from reconciler.errors import KvUnavailable
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import Batch, KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.objects import ClusterRecord
from reconciler.observe.cluster import ClusterStore
from reconciler.watch.cluster_events import ClusterEvents
from reconciler.watch.source import Watched
from tests.fakes.cluster import NOW, overlay, placed


@pytest.fixture
def kv(tmp_path: Path) -> Iterator[KvStore]:
    with closing(open_sqlite(tmp_path / "cluster.db")) as made:
        yield made


@pytest.fixture
def store(kv: KvStore) -> ClusterStore:
    return ClusterStore(kv, host="alpha", instance="i-alpha", discovery=Discovery())


def is_told(events: ClusterEvents, timeout_s: float = 20.0) -> bool:
    ready, _, _ = select.select([events], [], [], timeout_s)
    events.drain()
    return bool(ready)


def test_what_others_wrote_before_it_was_watched_is_told(kv: KvStore, store: ClusterStore) -> None:
    assert "over" not in store.look(("over",), NOW).networks
    record = network_record(overlay("over"))
    kv.put(record.path, record.value.encode())

    with closing(ClusterEvents(store, kv)) as events:
        events.arm(Watched(networks=frozenset(("over",))))

        while "over" not in store.look(("over",), NOW).networks:
            assert is_told(events)


def test_what_nobody_watches_is_read_again_when_the_store_may_have_lost_it(kv: KvStore, store: ClusterStore) -> None:
    """A host's own revision was never put back into a store that had lost its data: a drill found that."""
    path = "revisions/alpha"
    key = (ClusterRecord.kind, path)
    kv.put(path, b"{}")
    for folder in store.folders(()):
        store.follow(folder, Batch(is_resync=True, entries=()))
    assert key in store.look((), NOW).seen

    kv.delete(path)
    assert key in store.look((), NOW).seen, "nobody but us writes it"

    assert store.follow("nodes/", Batch(is_resync=True, entries=())), "that a store was lost shows nowhere else"
    assert key not in store.look((), NOW).seen
    kv.put(path, b"{}")
    store.doubt()
    assert key in store.look((), NOW).seen


class Unreachable:
    """A watch that fails until it is closed."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def poll(self, timeout_s: float) -> Batch | None:
        if self._closed.wait(0.01):
            return None
        raise KvUnavailable("nobody answers")

    def close(self) -> None:
        self._closed.set()


def test_an_outage_that_ends_with_its_watch_is_told(
    kv: KvStore, store: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = placed("db", "10.0.9.3/24", host="beta")
    kv.put(record.path, record.value.encode())
    watch = kv.watch
    lost = network_folder("over")
    monkeypatch.setattr(kv, "watch", lambda folder: Unreachable() if folder == lost else watch(folder))
    with closing(ClusterEvents(store, kv)) as events:
        events.arm(Watched(networks=frozenset(("over",))))
        while store.outage is None:
            assert is_told(events)
        store.look(("over",), NOW)
        while is_told(events, 0.3):
            pass

        events.arm(Watched(networks=frozenset(())))

        assert is_told(events)
        assert store.look((), NOW).outage is None


def test_an_outage_that_no_watch_hears_of_is_told_and_so_is_its_end(
    kv: KvStore, store: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble: list[Exception] = []

    def confirm(timeout_s: float) -> None:
        for error in trouble:
            raise error

    monkeypatch.setattr(kv, "confirm", confirm)
    monkeypatch.setattr("reconciler.watch.cluster_events._PULSE_S", 0.05)
    with closing(ClusterEvents(store, kv)) as events:
        events.arm(Watched(networks=frozenset(("over",))))
        while store.look(("over",), NOW).outage is not None or not store.look(("over",), NOW).is_known:
            is_told(events, 0.1)
        trouble.append(KvUnavailable("no leader"))

        while store.look(("over",), NOW).outage is None:
            assert is_told(events)
        assert str(store.look(("over",), NOW).outage) == "no leader"
        trouble.clear()
        while store.look(("over",), NOW).outage is not None:
            assert is_told(events)
