"""Encrypted connections and proofs of identity, with the real servers' own checks switched on."""

from __future__ import annotations

import gc
import json
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.config import Endpoint, Provider, StoreConfig, TlsFiles
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from tests.contracts.conftest import CONTRACTS, missing
from tests.contracts.follower import Follower
from tests.kv_servers import servers
from tests.kv_servers.servers import Server, ServerMissing, Tls, make_tls, running
from tests.waiting import patient, until

pytestmark = [
    *CONTRACTS,
    # kazoo leaves its socket to the garbage collector when a TLS handshake fails
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
]

REFUSED_S = 1.0
"""kazoo tells nothing of TLS: whoever is not let in is not let in until the deadline."""

TOKEN = "5e0a1d3c-0000-4000-8000-c0ffee000001"


@pytest.fixture(autouse=True)
def _leave_no_socket_to_others(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have what kazoo leaves open told here, where it is expected: its threads hold it, and the tracebacks that it logs."""
    yield
    for thread in threading.enumerate():
        if "zk_loop" in thread.name:
            thread.join(patient(10))
    for phase in ("setup", "call"):
        caplog.get_records(phase).clear()
    caplog.clear()
    for each in gc.get_objects():
        if type(each) is ssl.SSLSocket:  # whoever still holds it, as a traceback of a thread that is ending does
            each.close()
    gc.collect()


@pytest.fixture
def opened() -> Iterator[Callable[[StoreConfig], KvStore]]:
    stores: list[KvStore] = []

    def open_one(config: StoreConfig) -> KvStore:
        store = open_store(config)
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Another authority, and what it signed."""
    return make_tls(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module", params=["consul", "etcd", "zk"])
def tls_server(request: pytest.FixtureRequest, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for a client's certificate, on a port of its own."""
    starters = {"consul": servers.consul, "etcd": servers.etcd, "zk": servers.zookeeper}
    ports = {"consul": 18500, "etcd": 12379, "zk": 12281}
    try:
        server = starters[request.param](tmp_path_factory.mktemp("server"), tls=tls, port=ports[request.param])
    except ServerMissing as error:
        missing(str(error))
    with running(server):
        yield server
    gc.collect()  # so that what kazoo left shows here, not in another module


def config_of(server: Server, tls: Tls | None = None, **changes: object) -> StoreConfig:
    files = TlsFiles(ca=tls.ca, certificate=tls.client_certificate, key=tls.client_key) if tls else None
    config = StoreConfig(
        provider=Provider(server.provider),
        endpoints=(Endpoint("127.0.0.1", server.port),),
        prefix="test/",
        tls=files,
        timeout_s=3.0,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def test_store_works_over_tls_with_certificates_on_both_sides(tls_server: Server, tls: Tls, opened) -> None:
    store = opened(config_of(tls_server, tls))

    until(lambda: store.put("a", b"1") is None, 30)

    follower = Follower(store.watch(""))
    until(lambda: follower.follow(1))
    store.put("b", b"x" * 300_000)
    until(lambda: follower.values() == {"a": b"1", "b": b"x" * 300_000} or (follower.follow(1) and False))
    session = store.session(10)
    store.put("c", b"", session)
    session.close()
    assert [entry.key for entry in store.list("")] == ["a", "b"]
    follower.watch.close()


def test_server_signed_by_a_stranger_is_not_talked_to(tls_server: Server, tls: Tls, stranger: Tls, opened) -> None:
    store = opened(config_of(tls_server, replace(tls, ca=stranger.ca), timeout_s=REFUSED_S))

    with pytest.raises(KvUnavailable):
        store.get("a")


def test_server_under_another_name_is_not_talked_to(tls_server: Server, tls: Tls, opened) -> None:
    endpoints = (Endpoint("127.1", tls_server.port),)  # leads to 127.0.0.1, and is not written so in the certificate
    store = opened(config_of(tls_server, tls, endpoints=endpoints, timeout_s=REFUSED_S))

    with pytest.raises(KvUnavailable):
        store.get("a")


def test_server_that_asks_for_a_certificate_is_not_content_without(tls_server: Server, tls: Tls, opened) -> None:
    plain = config_of(tls_server, timeout_s=REFUSED_S)
    with_ca_only = replace(plain, tls=TlsFiles(ca=tls.ca))

    for wanting in (plain, with_ca_only):
        with pytest.raises(KvError):
            opened(wanting).get("a")


@pytest.mark.parametrize("tls_server", ["consul", "etcd"], indirect=True)  # kazoo tells nothing of TLS
def test_refused_certificate_is_told_with_what_to_do(
    tls_server: Server, tls: Tls, stranger: Tls, tmp_path: Path, opened
) -> None:
    expired = tmp_path / "expired.pem"
    ask = ["openssl", "req", "-new", "-key", str(tls.client_key), "-subj", "/CN=client"]
    request = subprocess.run(ask, check=True, capture_output=True).stdout
    sign = ["openssl", "x509", "-req", "-days", "-1"]
    sign += ["-CA", str(tls.ca), "-CAkey", str(tls.ca.with_suffix(".key")), "-out", str(expired)]
    subprocess.run(sign, check=True, capture_output=True, input=request)
    files = TlsFiles(ca=tls.ca, certificate=tls.client_certificate, key=tls.client_key)
    cases = {
        "wants a certificate of ours: give kv.certfile": TlsFiles(ca=tls.ca),
        "expired.pem expired on 20": replace(files, certificate=expired),
        "does not take kv.certfile": replace(files, certificate=stranger.client_certificate, key=stranger.client_key),
        "is not accepted (": replace(files, ca=stranger.ca),
        "give kv.cacertfile": None,
    }
    for told, given in cases.items():
        store = opened(config_of(tls_server, tls=None) if given is None else replace(config_of(tls_server), tls=given))
        with pytest.raises(KvUnavailable) as caught:
            store.get("a")
        assert told in str(caught.value)


@pytest.fixture(scope="module")
def guarded_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        server = servers.consul(tmp_path_factory.mktemp("consul"), port=28500, token=TOKEN)
    except ServerMissing as error:
        missing(str(error))
    with running(server):
        yield server


def test_consul_token_opens_the_store(guarded_consul: Server, opened) -> None:
    store = opened(config_of(guarded_consul, secret=TOKEN))

    until(lambda: is_done(lambda: store.put("a", b"1")), 30)

    assert [entry.value for entry in store.list("")] == [b"1"]
    store.transact([], [])
    session = store.session(10)
    store.put("b", b"", session)
    follower = Follower(store.watch(""))
    assert follower.follow()
    session.close()
    follower.watch.close()


@pytest.mark.parametrize("secret", ["", "5e0a1d3c-0000-4000-8000-c0ffee000002"], ids=["none", "wrong"])
def test_consul_without_the_right_token_says_what_is_wrong(guarded_consul: Server, opened, secret: str) -> None:
    right = opened(config_of(guarded_consul, secret=TOKEN))
    until(lambda: is_done(lambda: right.put("a", b"1")), 30)
    store = opened(config_of(guarded_consul, secret=secret))

    for call in (
        lambda: store.put("a", b"2"),
        lambda: store.compare_and_swap("b", b"2", 0),
        lambda: store.list(""),  # Consul shows those an empty folder who may read nothing
        lambda: store.watch("").poll(1),
    ):
        with pytest.raises(KvError, match="token") as caught:
            call()
        assert not isinstance(caught.value, KvUnavailable)
        assert not secret or secret not in str(caught.value)


@pytest.fixture(scope="module")
def guarded_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        server = servers.etcd(tmp_path_factory.mktemp("etcd"), port=22379)
    except ServerMissing as error:
        missing(str(error))

    def call(method: str, **message: object) -> None:
        url = f"http://127.0.0.1:{server.port}/v3/auth/{method}"
        subprocess.run(["curl", "-sf", url, "-d", json.dumps(message)], check=True, capture_output=True)

    with running(server):
        for user in ("root", "other"):
            call("user/add", name=user, password=f"{user}-pw")
        call("role/add", name="root")
        call("user/grant", user="root", role="root")
        call("enable")
        yield server


def test_etcd_user_signs_in_and_again_when_the_server_forgot(guarded_etcd: Server, opened) -> None:
    store = opened(config_of(guarded_etcd, secret="root:root-pw"))
    until(lambda: store.put("a", b"1") is None, 30)
    follower = Follower(store.watch(""))
    follower.follow()

    guarded_etcd.stop()
    guarded_etcd.start()

    until(lambda: store.put("a", b"2") is None, 30)
    assert [entry.value for entry in store.list("")] == [b"2"]
    until(lambda: follower.values() == {"a": b"2"} or (follower.follow(1) and False), 30)
    follower.watch.close()


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        pytest.param("root:wrong", "authentication failed", id="wrong-password"),
        pytest.param("nobody:x", "authentication failed", id="no-such-user"),
        pytest.param("other:other-pw", "permission denied", id="without-the-right"),
        pytest.param("", "etcd", id="nobody"),
    ],
)
def test_etcd_that_refuses_says_why(guarded_etcd: Server, opened, secret: str, message: str) -> None:
    store = opened(config_of(guarded_etcd, secret=secret))

    with pytest.raises(KvError, match=message) as caught:
        store.put("a", b"2")

    assert not isinstance(caught.value, KvUnavailable)
    assert "other-pw" not in str(caught.value)


@pytest.mark.servers("contracts", "zk")
def test_zookeeper_nodes_are_for_the_user_who_made_them(make_backend, opened) -> None:
    backend = make_backend("zk")
    area = backend.area()
    mine = opened(backend.config(area, secret="me:right"))
    mine.put("net/a", b"1")
    session = mine.session(2)
    mine.put("net/b", b"2", session)

    for secret in ("me:wrong", ""):
        store = opened(backend.config(area, secret=secret))
        for call in (
            lambda: store.get("net/a"),  # noqa: B023
            lambda: store.put("net/a", b"2"),  # noqa: B023
            lambda: store.compare_and_swap("net/c", b"2", 0),  # noqa: B023
        ):
            with pytest.raises(KvError, match="refused access"):
                call()

    assert {entry.key: entry.value for entry in mine.list("")} == {"net/a": b"1", "net/b": b"2"}
    session.close()


CALLS: list[Callable[[KvStore], object]] = [
    lambda store: store.get("a"),
    lambda store: store.list(""),
    lambda store: store.put("a", b""),
    lambda store: store.delete("a"),
    lambda store: store.compare_and_swap("a", b"", 0),
    lambda store: store.compare_and_swap("a", None, 7),
    lambda store: store.session(10),
    lambda store: store.watch("").poll(0.1),
]


@pytest.mark.parametrize("environment", ["", "token-from-the-environment"], ids=["own", "library-finds-another"])
def test_consul_token_goes_into_a_header_and_never_into_a_url_or_log(
    monkeypatch, environment: str, opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if environment:
        monkeypatch.setenv("CONSUL_HTTP_TOKEN", environment)
    heads: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                heads.append(peer.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = Endpoint("127.0.0.1", listening.getsockname()[1])
        store = opened(StoreConfig(provider=Provider.CONSUL, endpoints=(endpoint,), secret=TOKEN, timeout_s=1.0))
        for call in CALLS:
            with pytest.raises(KvUnavailable) as caught:
                call(store)
            assert TOKEN not in str(caught.value)
        assert TOKEN not in caplog.text
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()

    assert len(heads) >= len(CALLS)
    for head in heads:
        request_line, _, rest = head.partition(b"\r\n")
        assert b"token" not in request_line.lower()
        assert TOKEN.encode() not in request_line
        assert b"X-Consul-Token: " + TOKEN.encode() in rest


def is_done(call: Callable[[], None]) -> bool:
    """Try; an access list that the fresh server has not loaded yet counts as not done."""
    try:
        call()
    except KvError:
        return False
    return True
