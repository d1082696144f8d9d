"""What other hosts see of a host that watches, stops in order, is killed, sleeps, or shares its name."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.cluster.records import info_record, life_value
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import KvStore
from reconciler.model.cluster import ClusterNode
from reconciler.observe.cluster import ClusterStore
from reconciler.watch.presence import Presence
from tests.contracts.conftest import OUTAGES, SESSION_TTL_S, Backend
from tests.fakes.cluster import NOW, node
from tests.waiting import Deadline, exit_code_of, until, within

pytestmark = OUTAGES


def seen_by_another(kv: KvStore) -> ClusterNode | None:
    """Give what beta sees of alpha."""
    store = ClusterStore(kv, host="beta", instance="i-beta", discovery=Discovery())
    return store.look((), NOW).nodes.get("alpha")


def is_alive(kv: KvStore) -> bool:
    found = seen_by_another(kv)
    return found is not None and found.is_alive


def watched(kv: KvStore, instance: str = "i-alpha") -> None:
    """Write what a pass of a watching host writes of it."""
    record = info_record(node("alpha", instance=instance, is_watched=True))
    kv.put(record.path, record.value.encode())


def life(kv: KvStore) -> str | None:
    entry = kv.get("nodes/alpha/life")
    return None if entry is None else entry.value.decode()


@contextmanager
def living(backend: Backend, area: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that gives signs of life of the host alpha."""
    with backend.process("live", area, str(SESSION_TTL_S)) as process:
        try:
            yield process
        finally:
            process.kill()


HEARTBEAT_S = 0.3
DISCOVERY = Discovery(heartbeat_s=HEARTBEAT_S, ttl_s=SESSION_TTL_S)


def test_host_is_alive_while_its_process_runs_and_unwatched_after_an_orderly_end(backend: Backend, area: str) -> None:
    kv = backend.open(area)
    watched(kv)
    assert not is_alive(kv)

    with living(backend, area) as process:
        until(lambda: is_alive(kv))
        time.sleep(SESSION_TTL_S * 1.2)
        assert is_alive(kv), "the sign is renewed"
        deaths: list[ClusterNode | None] = []
        watcher = threading.Thread(target=lambda: deaths.extend(looks(kv, process)))
        watcher.start()
        process.send_signal(signal.SIGTERM)
        assert exit_code_of(process) == 0
        watcher.join()

    assert deaths == [], "at no moment did it look dead"
    until(lambda: life(kv) is None)
    found = seen_by_another(kv)
    assert found is not None
    assert (found.is_alive, found.is_watched, found.instance) == (True, False, "i-alpha")


def looks(kv: KvStore, process: subprocess.Popen[bytes]) -> Iterator[ClusterNode | None]:
    """Give what is seen of the host, whenever it is not alive, until the process has ended and a moment longer."""
    ends = None
    while ends is None or not ends.is_over:
        found = seen_by_another(kv)
        if found is None or not found.is_alive:
            yield found
        time.sleep(0.02)
        if ends is None and process.poll() is not None:
            ends = Deadline(0.5)


def test_host_that_restarts_within_the_ttl_is_never_missed(backend: Backend, area: str) -> None:
    kv = backend.open(area)
    watched(kv)
    with living(backend, area) as first:
        until(lambda: is_alive(kv))
        first.kill()

    with living(backend, area):
        first_ends = Deadline(SESSION_TTL_S * 2 + 1)
        while not first_ends.is_over:
            assert is_alive(kv)
            time.sleep(0.1)


def test_host_that_slept_or_was_killed_is_dead_after_the_ttl_and_alive_when_it_is_back(
    backend: Backend, area: str
) -> None:
    kv = backend.open(area)
    watched(kv)

    with living(backend, area) as process:
        until(lambda: is_alive(kv))
        process.send_signal(signal.SIGSTOP)
        until(lambda: not is_alive(kv), SESSION_TTL_S * 2 + 5)
        process.send_signal(signal.SIGCONT)
        until(lambda: is_alive(kv), 20)
        process.kill()
        killed = time.monotonic()
        until(lambda: not is_alive(kv), SESSION_TTL_S * 2 + 5)
        assert time.monotonic() - killed > SESSION_TTL_S * 0.5
    with living(backend, area):
        until(lambda: is_alive(kv))


def test_sign_that_somebody_deleted_comes_back(backend: Backend, area: str) -> None:
    kv = backend.open(area)
    presence = Presence(backend.open(area), "alpha", "i-alpha", DISCOVERY)
    until(lambda: life(kv))

    kv.delete("nodes/alpha/life")

    until(lambda: life(kv))
    assert presence.is_established
    presence.close()
    until(lambda: life(kv) is None)


def test_sign_of_another_host_under_our_name_is_not_taken_over(
    backend: Backend, area: str, caplog: pytest.LogCaptureFixture
) -> None:
    kv = backend.open(area)
    watched(kv, "i-other")
    other = Presence(backend.open(area), "alpha", "i-other", DISCOVERY)
    until(lambda: life(kv))

    mine = Presence(backend.open(area), "alpha", "i-alpha", DISCOVERY)
    until(lambda: caplog.records)
    time.sleep(HEARTBEAT_S * 3)

    assert life(kv) == life_value("i-other")
    assert not mine.is_established
    assert ["give one of them another --host" in record.message for record in caplog.records] == [True], "said once"
    other.close()
    until(lambda: life(kv) == life_value("i-alpha"))
    until(lambda: mine.is_established)
    mine.close()
    found = seen_by_another(kv)
    assert found is not None
    assert (found.instance, found.is_watched) == ("i-other", False), "the other's record is not ours to change"


@pytest.mark.parametrize("text", ["", "{", '{"instance":7}'], ids=["empty", "broken", "number"])
def test_sign_that_says_nothing_is_taken_over(backend: Backend, area: str, text: str) -> None:
    kv = backend.open(area)
    kv.put("nodes/alpha/life", text.encode())

    presence = Presence(backend.open(area), "alpha", "i-alpha", DISCOVERY)

    until(lambda: life(kv) == life_value("i-alpha"))
    presence.close()


def test_sign_is_given_again_when_a_store_is_back_that_was_paused(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    kv = clustered.open(area, 1.0)
    presence = Presence(clustered.open(area, 1.0), "alpha", "i-alpha", DISCOVERY)
    until(lambda: life(kv))

    clustered.server.pause()
    time.sleep(SESSION_TTL_S * 1.5)
    clustered.server.resume()

    until(lambda: life(kv), 30)
    a_while = Deadline(HEARTBEAT_S * 5)
    while not a_while.is_over:
        until(lambda: life(kv), 5)
        time.sleep(0.1)
    presence.close()
    until(lambda: life(kv) is None)


def test_sign_is_given_again_when_a_store_is_back_that_was_killed(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    kv = clustered.open(area, 1.0)
    presence = Presence(clustered.open(area, 1.0), "alpha", "i-alpha", DISCOVERY)
    until(lambda: life(kv))

    clustered.server.stop()
    time.sleep(0.5)
    clustered.server.start()
    clustered.await_ready()

    until(lambda: life(kv), 30)
    presence.close()


def test_end_does_not_wait_for_a_store_that_hangs(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    kv = clustered.open(area, 1.0)
    presence = Presence(clustered.open(area, 1.0), "alpha", "i-alpha", DISCOVERY)
    until(lambda: life(kv))
    clustered.server.pause()

    with within(10):
        presence.close()


@pytest.mark.servers("outages", "consul")
def test_what_cannot_be_given_is_said_once(make_backend, caplog: pytest.LogCaptureFixture) -> None:
    backend = make_backend("consul")

    presence = Presence(
        backend.open(backend.area()), "alpha", "i-alpha", Discovery(heartbeat_s=HEARTBEAT_S, ttl_s=100_000)
    )

    until(lambda: caplog.records)
    time.sleep(HEARTBEAT_S * 3)
    assert len(caplog.records) == 1
    assert "choose another discovery.ttl" in caplog.text
    presence.close()
    assert json.loads(life_value("i-alpha")) == {"instance": "i-alpha"}


def test_sign_that_the_store_lost_is_given_again_without_waiting_for_a_heartbeat(backend: Backend, area: str) -> None:
    kv = backend.open(area)
    presence = Presence(kv, "alpha", "i-alpha", Discovery(heartbeat_s=600, ttl_s=1800))
    try:
        until(lambda: presence.is_established)
        kv.delete("nodes/alpha/life")
        presence.wake()
        until(lambda: life(kv) is not None)
    finally:
        presence.close()
