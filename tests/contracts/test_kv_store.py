"""What every key-value store promises (reconciler.kv.protocol), asked of all four."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from urllib.parse import quote

import pytest
from kazoo.client import KazooClient

from reconciler.errors import KvConflict, KvError
from reconciler.kv.protocol import (
    MUST_NOT_EXIST,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    VALUE_BYTES_MAX,
    Check,
    Delete,
    KvStore,
    Put,
)
from tests.contracts.conftest import CONTRACTS, SESSION_TTL_S, Backend
from tests.contracts.follower import Follower
from tests.contracts.holder import increment
from tests.waiting import exit_code_of, patient, until, within

pytestmark = CONTRACTS

ODD_KEYS = [
    "a",
    "network/frontend",
    "nodes/10.0.0.1:7946",
    "with space/and more",
    "per%cent/%2F",
    "query?a=b&c#fragment",
    ":colon/:again",
    "naïve/übung/日本語/🐋",
    "quote'\"`/\\backslash",
    "x" * 200 + "/" + "y" * 199,
]


def held(store: KvStore, prefix: str = "") -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.list(prefix)}


def version_of(store: KvStore, key: str) -> int:
    entry = store.get(key)
    return entry.version if entry else MUST_NOT_EXIST


def test_absent_key_is_none_and_an_empty_folder_is_empty(store: KvStore) -> None:
    assert store.get("network/absent") is None
    assert store.list("") == ()
    assert store.list("network/") == ()


def test_any_printable_key_keeps_its_value(store: KvStore) -> None:
    for key in ODD_KEYS:
        store.put(key, b"here")

        entry = store.get(key)
        assert entry is not None, key
        assert (entry.key, entry.value) == (key, b"here")
        assert held(store) == {key: b"here"}
        store.delete(key)
        assert store.list("") == (), key


VALUES = {
    "empty": b"",
    "binary": b"\x00\xff\xfe\n\r\x80",
    "json": '{"name": "日本語"}'.encode(),
    "largest": bytes(range(256)) * (VALUE_BYTES_MAX // 256),
}


def test_any_value_comes_back_as_it_was(store: KvStore) -> None:
    for name, value in VALUES.items():
        store.put(f"{name}/put", value)
        store.compare_and_swap(f"{name}/swapped", value, MUST_NOT_EXIST)

        assert held(store, f"{name}/") == {f"{name}/put": value, f"{name}/swapped": value}


def test_value_over_the_limit_is_refused_and_nothing_written(store: KvStore) -> None:
    value = b"x" * (VALUE_BYTES_MAX + 1)

    with pytest.raises(KvError, match="takes 524288"):
        store.put("a", value)
    with pytest.raises(KvError, match="takes 524288"):
        store.compare_and_swap("a", value, MUST_NOT_EXIST)

    assert store.list("") == ()


NO_KEYS = ("", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "a\x00", "\ud800", "x" * 401)


def test_what_is_not_a_key_is_refused_before_it_is_sent(store: KvStore) -> None:
    calls: tuple[Callable[[str], object], ...] = (
        store.get,
        lambda key: store.put(key, b""),
        store.delete,
        lambda key: store.compare_and_swap(key, b"", 0),
        lambda key: store.transact((), [Put(key=key, value=b"")]),
    )
    for key, call in product(NO_KEYS, calls):
        with pytest.raises(ValueError, match="key"):
            call(key)


def test_folder_is_not_the_folder_whose_name_begins_alike(store: KvStore) -> None:
    for key in ("a/b", "a/b/c", "a/b/c/d", "a/bc", "a/bc/d", "b"):
        store.put(key, b"")

    assert [entry.key for entry in store.list("a/b/")] == ["a/b/c", "a/b/c/d"]
    assert [entry.key for entry in store.list("a/")] == ["a/b", "a/b/c", "a/b/c/d", "a/bc", "a/bc/d"]
    with pytest.raises(ValueError, match="'a/b/'"):
        store.list("a/b")


def test_deleting_what_is_not_there_is_success(store: KvStore) -> None:
    store.delete("a")
    store.put("a", b"")
    store.delete("a")
    store.delete("a")

    assert store.get("a") is None


def test_version_never_comes_twice_not_even_when_a_key_is_made_anew(store: KvStore) -> None:
    versions = []
    for number in range(4):
        store.put("a", b"%d" % number)
        versions.append(version_of(store, "a"))
        store.put("a", b"again %d" % number)
        versions.append(version_of(store, "a"))
        store.delete("a")

    assert versions == sorted(set(versions))
    assert versions[0] > MUST_NOT_EXIST


def test_list_and_get_agree(store: KvStore) -> None:
    store.put("a/b", b"1")
    store.put("a/c", b"2")

    assert store.list("a/") == (store.get("a/b"), store.get("a/c"))


def test_swap_makes_a_key_only_where_there_is_none(store: KvStore) -> None:
    store.compare_and_swap("a", b"first", MUST_NOT_EXIST)

    with pytest.raises(KvConflict):
        store.compare_and_swap("a", b"second", MUST_NOT_EXIST)

    assert held(store) == {"a": b"first"}


def test_swap_writes_and_deletes_only_at_the_expected_version(store: KvStore) -> None:
    store.put("a", b"1")
    first = version_of(store, "a")
    store.compare_and_swap("a", b"2", first)

    for value in (b"3", None):
        with pytest.raises(KvConflict):
            store.compare_and_swap("a", value, first)
    assert held(store) == {"a": b"2"}

    store.compare_and_swap("a", None, version_of(store, "a"))
    assert store.get("a") is None
    for value in (b"3", None):
        with pytest.raises(KvConflict):
            store.compare_and_swap("a", value, first)
    assert store.list("") == ()


def test_swap_is_lost_when_the_key_was_deleted_and_made_anew(store: KvStore) -> None:
    store.put("a", b"same")
    seen = version_of(store, "a")
    store.delete("a")
    store.put("a", b"same")

    with pytest.raises(KvConflict):
        store.compare_and_swap("a", b"mine", seen)

    assert held(store) == {"a": b"same"}


def test_transaction_writes_everything_when_all_checks_hold(store: KvStore) -> None:
    store.put("pool/1", b"free")
    store.put("stale", b"")
    checks = [Check(key="pool/1", version=version_of(store, "pool/1")), Check(key="net/a", version=MUST_NOT_EXIST)]

    store.transact(checks, [Put(key="pool/1", value=b"a"), Put(key="net/a", value=b"1"), Delete(key="stale")])

    assert held(store) == {"pool/1": b"a", "net/a": b"1"}


def test_transaction_writes_nothing_when_one_check_fails(store: KvStore) -> None:
    for broken, is_checked_key_written in product(("changed", "gone", "appeared"), (True, False)):
        store.put("a", b"1")
        seen = version_of(store, "a")
        if broken == "changed":
            store.put("a", b"2")
        elif broken == "gone":
            store.delete("a")
        else:
            seen = MUST_NOT_EXIST
        before = held(store)
        writes: list[Put | Delete] = [Put(key="b", value=b"new"), Delete(key="c")]
        writes += [Put(key="a", value=b"mine")] if is_checked_key_written else []

        with pytest.raises(KvConflict):
            store.transact([Check(key="a", version=seen), Check(key="d", version=MUST_NOT_EXIST)], writes)

        assert held(store) == before, (broken, is_checked_key_written)


def test_transaction_may_only_check(store: KvStore) -> None:
    store.put("a", b"1")

    store.transact([Check(key="a", version=version_of(store, "a")), Check(key="no/folder", version=MUST_NOT_EXIST)], [])
    with pytest.raises(KvConflict):
        store.transact([Check(key="a", version=MUST_NOT_EXIST)], [])

    store.transact([], [])
    assert held(store) == {"a": b"1"}


def test_transaction_takes_as_many_keys_and_bytes_as_it_says_and_no_more(store: KvStore) -> None:
    value = b"x" * (TRANSACTION_BYTES_MAX // TRANSACTION_KEYS_MAX)
    keys = [f"a/{number:02}" for number in range(TRANSACTION_KEYS_MAX)]
    checks = [Check(key=key, version=MUST_NOT_EXIST) for key in keys]

    store.transact(checks, [Put(key=key, value=value) for key in keys])
    assert held(store) == dict.fromkeys(keys, value)

    with pytest.raises(KvError, match="33 keys"):
        store.transact(checks, [Put(key="b", value=b"")])
    with pytest.raises(KvError, match="bytes"):
        store.transact([], [Put(key=key, value=value + b"x") for key in keys])
    assert held(store) == dict.fromkeys(keys, value)


def test_transaction_with_a_key_twice_is_a_bug(store: KvStore) -> None:
    with pytest.raises(ValueError, match="twice"):
        store.transact([], [Put(key="a", value=b""), Delete(key="a")])


def test_threads_that_swap_one_counter_lose_no_step(backend: Backend, area: str) -> None:
    shared, own = backend.open(area), backend.open(area)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda number: increment((shared, own)[number % 2], "counter"), range(36)))

    assert held(shared) == {"counter": b"36"}


def test_processes_that_swap_one_counter_lose_no_step(backend: Backend, area: str) -> None:
    racers = [backend.process("increment", area, "10") for _ in range(3)]
    assert [exit_code_of(racer, 60) for racer in racers] == [0, 0, 0]

    assert held(backend.open(area)) == {"counter": b"30"}


def test_one_of_many_who_claim_the_same_key_gets_it(backend: Backend, area: str) -> None:
    stores = [backend.open(area) for _ in range(4)]
    barrier = threading.Barrier(4)

    def claim(number: int) -> bool:
        barrier.wait(patient(10))
        try:
            stores[number].compare_and_swap("address/172.21.0.2", b"%d" % number, MUST_NOT_EXIST)
        except KvConflict:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = list(threads.map(claim, range(4)))

    assert sum(won) == 1
    assert held(stores[0]) == {"address/172.21.0.2": b"%d" % won.index(True)}


def test_transactions_of_two_keys_never_mix(backend: Backend, area: str) -> None:
    stores = [backend.open(area) for _ in range(3)]
    stores[0].transact([], [Put(key="left/a", value=b"50"), Put(key="right/b", value=b"50")])

    def move(number: int) -> None:
        store = stores[number % 3]
        while True:
            left, right = store.get("left/a"), store.get("right/b")
            assert left is not None
            assert right is not None
            checks = [Check(key=left.key, version=left.version), Check(key=right.key, version=right.version)]
            values = b"%d" % (int(left.value) - 1), b"%d" % (int(right.value) + 1)
            try:
                store.transact(checks, [Put(key=left.key, value=values[0]), Put(key=right.key, value=values[1])])
            except KvConflict:
                continue
            return

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(move, range(30)))

    assert held(stores[0]) == {"left/a": b"20", "right/b": b"80"}


FOREIGN_KEYS = {
    "consul": [b"net/", b"net/x/", b"net/" + b"x" * 450],  # it refuses what cannot be printed itself
    "etcd": [b"net/", b"net//a", b"net/../a", b"net/line\nbreak", b"net/\xff\xfe", b"net/" + b"x" * 450],
}


def plant(backend: Backend, area: str, name: bytes) -> None:
    """Write below the area what no store of ours would."""
    assert backend.server is not None
    whole = f"test/{area}".encode() + name
    if backend.name == "consul":
        url = f"http://127.0.0.1:{backend.server.port}/v1/kv/{quote(whole)}"
        command = ["curl", "-sf", "--path-as-is", "-X", "PUT", url, "-d", "x"]
    else:
        message = {"key": base64.b64encode(whole).decode(), "value": "eA=="}
        url = f"http://127.0.0.1:{backend.server.port}/v3/kv/put"
        command = ["curl", "-sf", url, "-d", json.dumps(message)]
    subprocess.run(command, check=True, capture_output=True)


def test_what_others_wrote_under_impossible_names_is_passed_over(over_http: Backend, area: str) -> None:
    store = over_http.open(area)
    store.put("net/a", b"1")
    follower = Follower(over_http.open(area).watch("net/"))
    follower.follow()

    for name in FOREIGN_KEYS[over_http.name]:
        plant(over_http, area, name)

    assert held(store) == {"net/a": b"1"}
    store.put("net/b", b"2")
    until(lambda: follower.values() == {"net/a": b"1", "net/b": b"2"} or (follower.follow(0.5) and False))
    follower.watch.close()


@pytest.mark.servers("contracts", "zk")
def test_zookeeper_nodes_of_others_are_passed_over(make_backend) -> None:
    backend = make_backend("zk")
    area = backend.area()
    store = backend.open(area)
    store.put("net/a", b"1")
    other = KazooClient(f"127.0.0.1:{backend.server.port}")
    other.start()
    for name in ("plain", ":a%2Fb", ":%61", ":a\uff0fb c", ":", ":%0A", ":%FF", "%2E%2E/:a"):
        other.create(f"/test/{area}net/{name}", b"foreign", makepath=True)
    other.stop()
    other.close()

    assert held(store) == {"net/a": b"1"}
    backend.close_all()


def test_folder_of_many_megabytes_is_listed_whole(store: KvStore) -> None:
    value = b"x" * 20_000
    for start in range(0, 300, 10):
        store.transact([], [Put(key=f"endpoint/{number:05}", value=value) for number in range(start, start + 10)])

    entries = store.list("endpoint/")

    assert len(entries) == 300
    assert {entry.value for entry in entries} == {value}


def test_watch_begins_with_all_there_is(store: KvStore) -> None:
    store.put("net/a", b"1")
    store.put("other/b", b"2")
    watch = store.watch("net/")

    batch = watch.poll(5)

    assert batch is not None
    assert (batch.is_resync, batch.entries, batch.deleted) == (True, store.list("net/"), ())
    watch.close()


def test_watch_of_an_empty_store_begins_too(store: KvStore) -> None:
    follower = Follower(store.watch(""))
    assert follower.follow()
    store.put("net/a", b"1")

    until(lambda: follower.follow() and follower.values() == {"net/a": b"1"})
    assert follower.resyncs == 1
    follower.watch.close()


def test_watch_wakes_at_once_for_changes_by_another_and_only_below_its_folder(backend: Backend, area: str) -> None:
    store, writer = backend.open(area), backend.open(area)
    writer.put("net/a", b"1")
    follower = Follower(store.watch("net/"))
    follower.follow()
    assert not follower.follow(0.3)

    for change, expected in (
        (lambda: writer.put("net/b", b"2"), {"net/a": b"1", "net/b": b"2"}),
        (lambda: writer.put("net/a", b"3"), {"net/a": b"3", "net/b": b"2"}),
        (lambda: writer.delete("net/b"), {"net/a": b"3"}),
        (lambda: writer.put("net/deep/er/c", b"4"), {"net/a": b"3", "net/deep/er/c": b"4"}),
        (lambda: writer.compare_and_swap("net/deep/er/c", None, version_of(writer, "net/deep/er/c")), {"net/a": b"3"}),
    ):
        timer = threading.Timer(0.2, change)
        timer.start()
        with within(5):
            assert follower.follow(20)
        timer.join()
        until(lambda: follower.values() == expected or (follower.follow(0.5) and False))  # noqa: B023

    writer.put("nets", b"")
    writer.put("other/a", b"")
    assert not follower.follow(0.5)
    assert follower.resyncs == 1
    follower.watch.close()


def test_watch_polled_without_patience_gives_what_is_there(store: KvStore) -> None:
    store.put("a", b"1")
    watch = store.watch("")

    first = watch.poll(0)
    assert first is not None
    assert watch.poll(0) is None
    store.put("a", b"2")
    until(lambda: watch.poll(0))
    watch.close()


def test_watch_loses_nothing_while_others_write(backend: Backend, area: str) -> None:
    store, writer = backend.open(area), backend.open(area)
    follower = Follower(store.watch("e/"))

    def write() -> None:
        for number in range(90):
            writer.put(f"e/{number % 40:02}/x", b"%d" % number)
            if number % 3 == 0:
                writer.delete(f"e/{(number + 7) % 40:02}/x")
        writer.put("e/last", b"end")

    thread = threading.Thread(target=write)
    thread.start()
    until(lambda: follower.follow(0.5) and "e/last" in follower.entries, 30)
    thread.join()
    until(lambda: follower.values() == held(store, "e/") or (follower.follow(0.2) and False))

    assert tuple(sorted(follower.entries.values(), key=lambda entry: entry.key)) == store.list("e/")
    follower.watch.close()


def test_closing_a_watch_ends_the_poll_of_another_thread(store: KvStore) -> None:
    watch = store.watch("")
    watch.poll(5)
    threading.Timer(0.3, watch.close).start()

    with within(10):
        assert watch.poll(20) is None
        assert watch.poll(20) is None
    watch.close()


def test_keys_of_a_session_vanish_when_it_is_closed_and_others_stay(backend: Backend, area: str) -> None:
    store = backend.open(area)
    session = store.session(10)
    store.put("nodes/a", b"alive", session)
    store.transact([Check(key="nodes/b", version=MUST_NOT_EXIST)], [Put(key="nodes/b", value=b"x", session=session)])
    store.put("nodes/b", b"y", session)
    store.put("kept", b"")
    session.renew()
    assert held(store) == {"nodes/a": b"alive", "nodes/b": b"y", "kept": b""}
    follower = Follower(backend.open(area).watch("nodes/"))
    follower.follow()

    session.close()

    assert held(store) == {"kept": b""}
    until(lambda: follower.values() == {} or (follower.follow(0.5) and False))
    for call in (session.renew, lambda: store.put("nodes/a", b"", session)):
        with pytest.raises(KvConflict, match="session"):
            call()
    session.close()
    follower.watch.close()


def test_key_goes_over_to_the_session_that_writes_it_last(backend: Backend, area: str) -> None:
    store = backend.open(area)
    old, new = store.session(10), store.session(10)
    store.put("nodes/a", b"plain")
    store.put("nodes/a", b"old", old)

    store.put("nodes/a", b"new", new)
    old.close()
    assert held(store) == {"nodes/a": b"new"}
    store.compare_and_swap("other", b"", MUST_NOT_EXIST)
    new.close()

    assert held(store) == {"other": b""}


def test_keys_of_a_killed_process_vanish_after_the_ttl_and_not_before(backend: Backend, area: str) -> None:
    ttl_s = SESSION_TTL_S
    with backend.process("hold", area, str(ttl_s), stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        follower = Follower(backend.open(area).watch("nodes/"))
        follower.follow()
        assert not follower.follow(ttl_s * 1.2), "the session was renewed, so its key stays"
        holder.kill()
    killed = time.monotonic()

    until(lambda: follower.values() == {} or (follower.follow(1) and False), ttl_s * 2 + 5)

    assert time.monotonic() - killed > ttl_s * 0.5
    assert held(backend.open(area)) == {}
    follower.watch.close()


@pytest.mark.servers("contracts", "consul")
@pytest.mark.parametrize("ttl_s", [0.1, 9, 100_000])
def test_consul_says_which_session_ttl_it_takes(make_backend, monkeypatch: pytest.MonkeyPatch, ttl_s: float) -> None:
    monkeypatch.undo()
    backend = make_backend("consul")

    with pytest.raises(KvError, match=r"10 to 86400 s; choose another discovery\.ttl"):
        backend.open(backend.area()).session(ttl_s)
