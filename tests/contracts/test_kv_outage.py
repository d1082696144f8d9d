"""What becomes of a store's callers when its server is stopped, paused, replaced, or was never there."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.errors import KvConflict, KvUnavailable
from reconciler.kv.config import Endpoint
from reconciler.kv.protocol import MUST_NOT_EXIST, Check, KvStore, Put
from reconciler.kv.registry import open_store
from tests.contracts.conftest import OUTAGES, Backend
from tests.contracts.follower import Follower
from tests.waiting import PATIENCE, Deadline, patient, until, within

pytestmark = OUTAGES

TIMEOUT_S = 0.8
ENDED_S = 5.0
"""A call is over well before, though a client may try twice; one that hangs goes on for ten seconds and more."""

CALLS: dict[str, Callable[[KvStore], object]] = {
    "get": lambda store: store.get("a"),
    "list": lambda store: store.list(""),
    "put": lambda store: store.put("a", b""),
    "delete": lambda store: store.delete("a"),
    "swap": lambda store: store.compare_and_swap("a", b"", MUST_NOT_EXIST),
    "transact": lambda store: store.transact([Check(key="a", version=0)], [Put(key="b", value=b"")]),
    "session": lambda store: store.session(10),
    "poll": lambda store: store.watch("").poll(0.5),
}


def expect_unavailable(call: Callable[[], object]) -> None:
    with within(ENDED_S), pytest.raises(KvUnavailable, match=r"127\.0\.0\.1"):
        call()


def is_unavailable(call: Callable[[], object]) -> bool:
    try:
        call()
    except KvUnavailable:
        return True
    return False


@pytest.mark.parametrize("state", ["stopped", "paused"])
def test_every_call_ends_within_its_deadline_when_no_server_answers(clustered: Backend, area: str, state: str) -> None:
    store = clustered.open(area, TIMEOUT_S)
    store.put("kept", b"1")
    clustered.server.stop() if state == "stopped" else clustered.server.pause()

    for call in CALLS.values():
        expect_unavailable(lambda: call(store))  # noqa: B023

    clustered.server.start() if state == "stopped" else clustered.server.resume()
    until(lambda: store.get("kept"), 30)
    until(lambda: store.put("after", b"2") is None, 30)
    assert {entry.key: entry.value for entry in store.list("")}["kept"] == b"1"


def test_new_store_finds_no_server_within_its_deadline(clustered: Backend, area: str) -> None:
    clustered.server.stop()
    for call in (CALLS["get"], CALLS["session"], CALLS["poll"]):
        store = clustered.open(area, TIMEOUT_S)
        expect_unavailable(lambda: call(store))  # noqa: B023


def test_watch_goes_on_after_a_restart_without_loss(clustered: Backend, area: str) -> None:
    store, writer = clustered.open(area, 2), clustered.open(area, 2)
    writer.put("net/a", b"1")
    writer.put("net/b", b"1")
    follower = Follower(store.watch("net/"))
    follower.follow()

    clustered.server.stop()
    with pytest.raises(KvUnavailable):
        until_raised(lambda: follower.follow(1))
    clustered.server.start()
    until(lambda: writer.delete("net/a") is None, 30)
    writer.put("net/c", b"2")

    expected = {"net/b": b"1", "net/c": b"2"}
    until(lambda: follower.values() == expected or (follower.follow(0.5) and False), 30)
    writer.put("net/d", b"3")
    until(lambda: follower.values() == expected | {"net/d": b"3"} or (follower.follow(0.5) and False), 30)
    follower.watch.close()


def test_watch_goes_on_after_a_pause_without_loss(clustered: Backend, area: str) -> None:
    store, writer = clustered.open(area, 1), clustered.open(area, 1)
    writer.put("net/a", b"1")
    follower = Follower(store.watch("net/"))
    follower.follow()

    clustered.server.pause()
    threading.Timer(1.5, clustered.server.resume).start()
    until(lambda: writer.put("net/b", b"2") is None, 30)

    until(lambda: follower.values() == {"net/a": b"1", "net/b": b"2"} or (follower.follow(0.5) and False), 30)
    follower.watch.close()


def test_polling_in_a_loop_during_an_outage_does_not_spin(clustered: Backend, area: str) -> None:
    watch = clustered.open(area, 0.5).watch("")
    until(lambda: watch.poll(1))
    clustered.server.stop()
    failures = 0
    deadline = Deadline(1.5)

    while not deadline.is_over:
        try:
            watch.poll(5)
        except KvUnavailable:
            failures += 1

    assert 1 <= failures < 10 * PATIENCE
    watch.close()


def test_session_outlives_a_short_outage(clustered: Backend, area: str) -> None:
    store = clustered.open(area, 1)
    session = store.session(30)  # a busy machine may take ten to have a server back
    store.put("nodes/a", b"", session)

    clustered.server.stop()
    until(lambda: is_unavailable(session.renew), 5)  # a client may learn of it a moment later
    clustered.server.start()

    until(lambda: session.renew() is None, 30)
    assert store.get("nodes/a") is not None
    session.close()


def test_closing_a_session_without_a_server_does_not_raise_or_hang(clustered: Backend, area: str) -> None:
    session = clustered.open(area, 1).session(10)
    clustered.server.pause()

    with within(5):
        session.close()


@pytest.mark.parametrize("first", ["refuses", "is-silent"])
def test_second_server_answers_when_the_first_does_not(clustered: Backend, area: str, first: str) -> None:
    with listener(lambda _: None) as silent:
        port = silent if first == "is-silent" else 1
        endpoints = (Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", clustered.server.port))
        store = open_store(clustered.config(area, endpoints=endpoints, timeout_s=6.0))
        clustered.opened.append(store)

        assert store.get("a") is None
        until(lambda: store.put("a", b"1") is None)
        assert [entry.value for entry in store.list("")] == [b"1"]
        follower = Follower(store.watch(""))
        until(lambda: follower.follow(1) and follower.values() == {"a": b"1"})
        follower.watch.close()


def test_write_that_may_have_arrived_is_not_sent_to_another_server(over_http: Backend, area: str) -> None:
    """A swap that won at the first server would be reported as lost by the second."""

    def swallow(peer: socket.socket) -> None:
        peer.recv(65536)

    with listener(swallow) as port:
        endpoints = (Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", over_http.server.port))
        store = open_store(over_http.config(area, endpoints=endpoints, timeout_s=1.0))
        over_http.opened.append(store)

        with pytest.raises(KvUnavailable):
            store.compare_and_swap("a", b"1", MUST_NOT_EXIST)

        assert store.get("a") is None
        store.compare_and_swap("a", b"2", MUST_NOT_EXIST)
        with pytest.raises(KvConflict):
            store.compare_and_swap("a", b"3", MUST_NOT_EXIST)


ANSWERS = {
    "closes-at-once": b"",
    "garbage": b"\x00\xff" * 500 + b"\r\n\r\n",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
    "json-of-another-kind": b'HTTP/1.1 200 OK\r\nX-Consul-Index: x\r\nContent-Length: 7\r\n\r\n[1,"a"]',
    "cut-short": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
    "server-error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 17\r\n\r\nNo cluster leader",
}


@pytest.mark.parametrize("call", ["get", "list", "transact", "session", "poll"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_answer_that_makes_no_sense_is_unavailability(over_http: Backend, area: str, answer: str, call: str) -> None:
    def reply(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(ANSWERS[answer])

    with listener(reply) as port:
        config = over_http.config(area, endpoints=(Endpoint("127.0.0.1", port),), timeout_s=1.0)
        store = open_store(config)
        over_http.opened.append(store)
        with pytest.raises(KvUnavailable):
            CALLS[call](store)


@pytest.mark.servers("outages", "etcd")
def test_answer_that_is_not_the_stores_is_told_in_the_servers_words(make_backend: Callable[[str], Backend]) -> None:
    consul, etcd = make_backend("consul"), make_backend("etcd")
    assert consul.server is not None
    assert etcd.server is not None
    refusal = b"CommonName of client sending a request against gateway will be ignored and not used as expected"

    def refuse(peer: socket.socket) -> None:
        peer.recv(65536)
        head = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(refusal)
        peer.sendall(head + refusal)
        while peer.recv(65536):
            pass

    with listener(refuse) as port:
        for backend, at, told in (
            (consul, etcd.server.port, "is not Consul's (404 '404 page not found')"),
            (etcd, consul.server.port, "is not etcd's (404 '')"),
            (etcd, port, "(400 'CommonName of client sending a request against gateway"),
        ):
            store = open_store(backend.config("x/", endpoints=(Endpoint("127.0.0.1", at),)))
            for call in ("get", "list", "put", "transact", "session", "poll"):
                with pytest.raises(KvUnavailable) as caught:
                    CALLS[call](store)
                assert told in str(caught.value)
            store.close()


def test_server_that_drips_its_answer_gets_no_more_time(over_http: Backend, area: str) -> None:
    def drip(peer: socket.socket) -> None:
        peer.recv(65536)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b" " * 5000:
            peer.sendall(bytes([byte]))
            time.sleep(0.05)

    with listener(drip) as port:
        store = open_store(over_http.config(area, endpoints=(Endpoint("127.0.0.1", port),), timeout_s=TIMEOUT_S))
        expect_unavailable(lambda: store.list(""))
        store.close()


def test_watch_at_a_server_that_stands_still_goes_on_at_another(over_http: Backend, area: str) -> None:
    server = over_http.server
    assert server is not None
    is_cut = threading.Event()

    def forward(peer: socket.socket) -> None:
        """Be the server until it is cut off; then take whatever comes and answer nothing."""
        with socket.create_connection(("127.0.0.1", server.port)) as real:
            while True:
                ready, _, _ = select.select([peer, real], [], [], 0.05)
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    if not is_cut.is_set():
                        (real if end is peer else peer).sendall(data)

    with listener(forward) as port:
        endpoints = (Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", server.port))
        store = open_store(over_http.config(area, endpoints=endpoints))
        over_http.opened.append(store)
        follower = Follower(store.watch(""))
        assert follower.follow()
        store.confirm(3.0)
        polled: list[bool] = []
        polling = threading.Thread(target=lambda: polled.append(follower.follow(60)))
        polling.start()
        is_cut.set()
        over_http.open(area).put("after", b"1")

        store.confirm(3.0)

        polling.join(patient(20))
        assert polled == [True]
        assert follower.values() == {"after": b"1"}
        assert follower.resyncs == 2
        follower.watch.close()


def test_confirmation_fails_where_no_server_answers(clustered: Backend, area: str) -> None:
    store = clustered.open(area, TIMEOUT_S)
    until(lambda: store.confirm(3.0) is None, 30)
    clustered.server.pause()

    with pytest.raises(KvUnavailable):
        store.confirm(0.5)

    clustered.server.resume()
    until(lambda: store.confirm(3.0) is None, 30)


@pytest.mark.servers("outages", "etcd")
def test_etcd_watch_lists_again_when_its_past_was_compacted(make_backend, tmp_path: Path) -> None:
    backend = make_backend("etcd")
    area = backend.area()
    store, writer = backend.open(area), backend.open(area)
    writer.put("net/a", b"1")
    follower = Follower(store.watch("net/"))
    follower.follow()
    follower.follow(0.2)
    follower.watch._hang_up()  # as after a break of the connection
    for number in range(5):
        writer.put("net/a", b"%d" % number)
    writer.delete("net/a")
    writer.put("net/b", b"new")
    compact_everything(backend.server.port)

    until(lambda: follower.values() == {"net/b": b"new"} or (follower.follow(1) and False))

    assert follower.resyncs == 2
    follower.watch.close()
    backend.close_all()


@pytest.mark.servers("outages", "etcd")
def test_etcd_watch_that_went_silent_is_opened_anew(make_backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.kv.etcd.SILENCE_MAX_S", 0.3)
    backend = make_backend("etcd")
    area = backend.area()
    writer = backend.open(area)
    follower = Follower(backend.open(area).watch(""))
    follower.follow()
    before = follower.watch._stream

    assert not follower.follow(1)
    assert follower.watch._stream is not before
    writer.put("a", b"1")

    until(lambda: follower.values() == {"a": b"1"} or (follower.follow(0.2) and False))
    assert follower.resyncs == 1
    follower.watch.close()
    backend.close_all()


def compact_everything(port: int) -> None:
    def call(method: str, message: dict[str, object]) -> dict[str, dict[str, str]]:
        command = ["curl", "-sf", f"http://127.0.0.1:{port}/v3/kv/{method}", "-d", json.dumps(message)]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    revision = call("range", {"key": "AA=="})["header"]["revision"]
    call("compaction", {"revision": revision, "physical": True})


def until_raised(call: Callable[[], object], deadline_s: float = 20) -> None:
    deadline = Deadline(deadline_s)
    while not deadline.is_over:
        call()


@contextmanager
def listener(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Accept connections on some port and hand each to `serve`; silence if that returns without closing."""
    peers: list[socket.socket] = []

    def answer(peer: socket.socket) -> None:
        try:
            serve(peer)
            if serve.__name__ != "<lambda>":
                peer.close()
        except OSError:
            peer.close()

    def accept() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            peers.append(peer)
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(patient(5))
    for peer in peers:
        peer.close()
