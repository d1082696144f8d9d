"""Whoever asks over HTTP, asked of servers that answer too little, too much, too slowly, or something else: an error, in time."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.container_engine.exchange import ask
from reconciler.errors import ContainerEngineError, KvError, KvUnavailable, PluginError, ReconcilerError
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.etcd import EtcdStore
from reconciler.kv.fail_over import Cancellation, HttpClient, StoreRequest
from reconciler.plugin.client import Interface, Plugins
from reconciler.plugin.messages import PluginReply
from tests.waiting import patient, within

TIMEOUT_S = 0.2
SECRET = "s3cret"
STORES_MAX = 1 << 20
"""Instead of the true limit, to which an answer takes a second."""

Behaviour = Callable[[socket.socket, threading.Event], None]
Caller = Callable[[Path, Endpoint, float], object]
"""Asks the server that is at a Unix socket and a TCP port, and gives the body of its answer. Raises ReconcilerError.

The number is the seconds that it may take.
"""


def ask_store(_: Path, at: Endpoint, timeout_s: float) -> bytes:
    with closing(HttpClient([at], None, timeout_s)) as client:
        return client.send(stores_request()).body


def confirm_store(_: Path, at: Endpoint, timeout_s: float) -> bytes:
    with closing(HttpClient([at], None, timeout_s)) as client:
        return client.confirm(stores_request(), timeout_s).body


def follow_store(_: Path, at: Endpoint, timeout_s: float) -> bytes:
    with closing(HttpClient([at], None, timeout_s)) as client:
        with closing(client.stream(stores_request(), Cancellation())) as stream:
            line = stream.line(timeout_s)
        if line is None:
            raise KvError("127.0.0.1: nothing in time")
        return line


def call_plugin(path: Path, _: Endpoint, timeout_s: float) -> object:
    return Plugins(root=path.parents[3], timeout_s=timeout_s).call(
        "net", Interface.NETWORK, "Join", {"S": SECRET}, PluginReply
    )


def ask_engine(path: Path, _: Endpoint, timeout_s: float) -> bytes:
    [found] = ask(path, ["/"], timeout_s)
    if isinstance(found, ContainerEngineError):
        raise found
    return found.body


def stores_request() -> StoreRequest:
    return StoreRequest(method="GET", target="/v1/kv", headers={"X-Consul-Token": SECRET}, is_repeatable=True)


CALLERS: dict[str, tuple[Caller, type[ReconcilerError]]] = {
    "store": (ask_store, KvError),
    "store confirmed": (confirm_store, KvError),
    "store followed": (follow_store, KvError),
    "plugin": (call_plugin, PluginError),
    "engine": (ask_engine, ContainerEngineError),
}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def saying(message: bytes) -> Behaviour:
    return lambda connection, _: connection.sendall(message)


def saying_and_staying(message: bytes) -> Behaviour:
    def act(connection: socket.socket, is_over: threading.Event) -> None:
        connection.sendall(message)
        is_over.wait(patient(10))

    return act


def dripping(message: bytes) -> Behaviour:
    def act(connection: socket.socket, is_over: threading.Event) -> None:
        for byte in message:
            if is_over.wait(0.02):
                return
            connection.sendall(bytes([byte]))

    return act


def flooding(head: bytes, piece: bytes) -> Behaviour:
    def act(connection: socket.socket, is_over: threading.Event) -> None:
        connection.sendall(head)
        while not is_over.is_set():
            connection.sendall(piece)

    return act


SERVERS: dict[str, Behaviour] = {
    "closes before it answers": saying(b""),
    "says nothing": saying_and_staying(b""),
    "says 3 of 100 bytes": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{} "),
    "says 3 of 100 bytes and waits": saying_and_staying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{} "),
    "cuts a chunk": saying(CHUNKED + b"64\r\n{} "),
    "cuts between chunks": saying(CHUNKED + b"3\r\n{} \r\n"),
    "cuts its head": saying(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "says 100 alone": saying(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "says 100 for ever": flooding(b"", 1000 * b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips its head": dripping(b"HTTP/1.1 200 OK\r\n" + 1000 * b"A: b\r\n"),
    "drips its body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + 9999 * b" "),
    "drips chunks": dripping(CHUNKED + 1000 * b"1\r\n \r\n"),
    "floods the head": flooding(b"HTTP/1.1 200 OK\r\n", 1000 * b"A: b\r\n"),
    "floods the body": flooding(b"HTTP/1.1 200 OK\r\n\r\n", (1 << 16) * b" "),
    "floods chunks": flooding(CHUNKED, b"10000\r\n" + (1 << 16) * b" " + b"\r\n"),
    "floods a chunk's extension": flooding(CHUNKED + b"1;", 65536 * b"x"),
    "floods trailers": flooding(CHUNKED + b"0\r\n", 1000 * b"A: b\r\n"),
    "speaks otherwise": saying_and_staying(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("caller", CALLERS)
def test_answer_that_is_not_whole_in_time_is_an_error(
    caller: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.kv.fail_over.REPLY_BYTES_MAX", STORES_MAX)
    call, kind = CALLERS[caller]

    with serving(SERVERS[server]) as (path, at), within(5), pytest.raises(kind) as told:
        call(path, at, TIMEOUT_S)

    assert SECRET not in str(told.value)
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 300


WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n",
    "length and more": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n{}",
    "chunks": CHUNKED + b"1\r\n{\r\n2\r\n}\n\r\n0\r\n\r\n",
    "end": b"HTTP/1.0 200 OK\r\n\r\n{}\n",
    "folded and interim": b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 3\r\n\r\n{}\n",
}


@pytest.mark.parametrize("message", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("caller", CALLERS)
def test_whole_answer_in_any_form_is_taken(caller: str, message: bytes) -> None:
    call, _ = CALLERS[caller]

    with serving(saying(message)) as (path, at):
        found = call(path, at, patient(10))

    assert found in (b"{}\n", b"{}", PluginReply())


def test_token_that_cannot_be_sent_is_not_taken_from_a_server() -> None:
    body = b'{"token": "s3cret\\r\\nX: y"}'
    message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with serving(saying(message)) as (_, at):
        config = StoreConfig(provider=Provider.ETCD, endpoints=(at,), secret="user:password", timeout_s=patient(5))
        with (
            closing(EtcdStore(config)) as store,
            pytest.raises(KvUnavailable, match="a token that cannot be sent") as told,
        ):
            store.watch("").poll(1)

    assert SECRET not in str(told.value)


def test_answer_nested_without_end_is_no_answer_of_a_store() -> None:
    body = b"[" * 100_000
    message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with serving(saying(message)) as (_, at):
        config = StoreConfig(provider=Provider.ETCD, endpoints=(at,), timeout_s=patient(5))
        with closing(EtcdStore(config)) as store, pytest.raises(KvUnavailable, match="not etcd's"):
            store.get("a")


@contextmanager
def serving(act: Behaviour) -> Iterator[tuple[Path, Endpoint]]:
    """Listen at a socket where plugins are looked for, and a TCP port: who asks for a plugin is told of one, then `act` is done."""
    is_over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if b"/Plugin.Activate" in connection.recv(1 << 16):
                body = b'{"Implements": ["NetworkDriver"]}'
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            else:
                act(connection, is_over)

    def accept(door: socket.socket) -> None:
        with suppress(OSError):  # shut down
            while True:
                connection, _ = door.accept()
                connection.settimeout(patient(10))
                serve(connection)

    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as unix,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        path = Path(folder, "run/docker/plugins/net.sock")
        path.parent.mkdir(parents=True)
        unix.bind(str(path))
        unix.listen()
        threads = [threading.Thread(target=accept, args=(door,), daemon=True) for door in (unix, tcp)]
        for thread in threads:
            thread.start()
        try:
            yield path, Endpoint(*tcp.getsockname())
        finally:
            is_over.set()
            for door in (unix, tcp):
                door.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(patient(5))
                assert not thread.is_alive()
