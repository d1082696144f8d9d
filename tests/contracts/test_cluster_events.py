"""What wakes a watcher: changes that others make in the folders it follows, an outage, and its end."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from reconciler.cluster.records import network_record
from reconciler.errors import KvUnavailable
from reconciler.kinds.cluster_record import apply_cluster_records
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import KvStore
from reconciler.model.cluster import ClusterState
from reconciler.model.objects import ClusterRecord
from reconciler.model.plan import Outcome
from reconciler.observe.cluster import ClusterStore
from reconciler.watch.cluster_events import ClusterEvents
from reconciler.watch.source import Watched
from tests.contracts.conftest import OUTAGES, Backend
from tests.contracts.test_cluster_store import fine, operation
from tests.fakes.cluster import NOW, overlay, placed
from tests.waiting import is_readable, until, within

pytestmark = OUTAGES

_FOLLOWED = Watched(networks=frozenset({"over"}))


class Watching:
    """A host that follows networks."""

    def __init__(self, kv: KvStore) -> None:
        self.store = ClusterStore(kv, host="alpha", instance="i-alpha", discovery=Discovery())
        self.events = ClusterEvents(self.store, kv)

    def look(self) -> ClusterState:
        return self.store.look(tuple(_FOLLOWED.networks), NOW)

    def addresses(self) -> dict[str, str]:
        """Give what is known of the network `over`: addresses by attachment."""
        state = self.look()
        found = state.networks["over"].endpoints if "over" in state.networks else ()
        return {each.name: str(each.ipv4.ip) for each in found if each.ipv4 is not None}

    def write(self, *records: ClusterRecord) -> list[Outcome]:
        seen = {key[1]: found.object for key, found in self.look().seen.items()}
        return apply_cluster_records([operation(seen.get(each.path), each) for each in records], self.store)

    def is_woken(self, deadline_s: float = 10.0) -> bool:
        found = is_readable(self.events, deadline_s)
        self.events.drain()
        return found

    def settle(self) -> None:
        """Wait until all that there is has been told: quiet alone may be a watch that has yet to begin."""
        until(lambda: self.store.outage is not None or self._is_all_watched(), 30)
        until(lambda: not self.is_woken(0.7), 30)

    def _is_all_watched(self) -> bool:
        folders = self.events._followers.keys() - {"pulse"}
        return all(folder in self.store._mirrors and self.store._mirrors[folder].is_watched for folder in folders)


def write(kv: KvStore, network: str = "over") -> None:
    for record in (network_record(overlay(network)), placed("db", "10.0.9.3/24", host="beta", network=network)):
        kv.put(record.path, record.value.encode())


def test_what_others_write_wakes_and_is_seen_without_asking(backend: Backend, area: str) -> None:
    writer, host = backend.open(area), Watching(backend.open(area))
    host.events.arm(_FOLLOWED)
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
    host.events.arm(_FOLLOWED)
    host.settle()

    record = placed("db", network="elsewhere", host="beta")
    writer.put(record.path, record.value.encode())
    writer.put("addresses/over/10.0.9.2", b"x")
    writer.put("revisions/beta", b"{}")

    assert not host.is_woken(1.0)
    host.events.close()


def test_networks_come_and_go(backend: Backend, area: str) -> None:
    writer, host = backend.open(area), Watching(backend.open(area))
    host.events.arm(Watched())
    host.settle()
    assert watched_folders() == {"nodes/", "networks/", "pulse"}

    host.events.arm(_FOLLOWED)
    host.settle()
    write(writer)
    assert host.is_woken()
    until(lambda: host.look().networks["over"].endpoints if host.look().networks else ())
    host.events.arm(Watched())
    until(lambda: watched_folders() == {"nodes/", "networks/", "pulse"})
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
    host.events.arm(_FOLLOWED)
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
    host = Watching(clustered.open(area, 3.0))
    host.events.arm(_FOLLOWED)
    host.settle()
    before = host.look()

    clustered.server.stop()
    assert host.is_woken(40)
    state = until(lambda: state_in_outage(host), 40)
    assert isinstance(state.outage, KvUnavailable)
    assert state.networks == before.networks
    host.settle()
    with within(2.5):  # less than the store's deadline: a pass does not wait for a store that is known to be away
        host.look()
    clustered.server.start()
    clustered.await_ready()

    assert host.is_woken(30)
    until(lambda: host.look().outage is None, 30)
    host.events.close()


def test_store_restored_from_an_old_backup_is_believed_and_what_was_lost_is_claimed_again(
    clustered: Backend, area: str, tmp_path: Path
) -> None:
    assert clustered.server is not None
    host, beta = Watching(clustered.open(area, 2.0)), Watching(clustered.open(area, 2.0))
    assert fine(host.write(network_record(overlay()), placed("old", "10.0.9.9/24")))
    stopped(clustered, lambda data: shutil.copytree(data, tmp_path / "backup"))
    host.events.arm(_FOLLOWED)
    host.settle()
    until(lambda: fine(host.write(placed("web", "10.0.9.2/24"), placed("old", "10.0.9.10/24"))), 30)
    until(lambda: host.addresses() == {"old": "10.0.9.10", "web": "10.0.9.2"})
    host.settle()

    stopped(clustered, lambda data: restore(tmp_path / "backup", data))
    until(lambda: fine(beta.write(placed("db", "10.0.9.2/24", host="beta"))), 30)

    until(lambda: host.addresses() == {"old": "10.0.9.9", "db": "10.0.9.2"}, 30)
    until(lambda: host.look().outage is None, 30)
    (lost,) = host.write(placed("web", "10.0.9.2/24"))
    assert str(lost.error) == "address 10.0.9.2 on network over was taken by attachment db of host beta"
    until(lambda: fine(host.write(placed("web", "10.0.9.3/24"), placed("old", "10.0.9.10/24"))), 30)
    until(lambda: beta.addresses() == {"old": "10.0.9.10", "db": "10.0.9.2", "web": "10.0.9.3"}, 30)
    until(lambda: host.addresses() == {"old": "10.0.9.10", "db": "10.0.9.2", "web": "10.0.9.3"}, 30)
    beta.store.kv.delete("network/over/endpoints/db")
    until(lambda: host.addresses() == {"old": "10.0.9.10", "web": "10.0.9.3"}, 30)
    host.events.close()
    beta.events.close()


def stopped(backend: Backend, work: Callable[[Path], object]) -> None:
    """Do something to a server's files while it does not run."""
    assert backend.server is not None
    backend.server.stop()
    work(backend.server.folder / "data")
    backend.server.start()
    backend.await_ready()


def restore(backup: Path, data: Path) -> None:
    shutil.rmtree(data)
    shutil.copytree(backup, data)


def state_in_outage(host: Watching) -> ClusterState | None:
    state = host.look()
    return state if state.outage else None


def test_end_does_not_wait_for_a_store_that_hangs(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    host = Watching(clustered.open(area))
    host.events.arm(_FOLLOWED)
    host.settle()
    clustered.server.pause()

    with within(5):
        host.events.close()
