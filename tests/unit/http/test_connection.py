"""A connection's sockets: deadlines, several addresses, TLS, and being ended by another thread."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

import pytest

from reconciler.http.client_protocol import Request
from reconciler.http.connection import Connection, Origin
from tests.waiting import eventually, patient, within

GET = Request(method="GET", target="/")
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def served(act: Callable[[socket.socket], object]) -> Iterator[int]:
    """Do `act` with the first connection to this port."""

    def serve() -> None:
        with suppress(OSError):
            connection, _ = door.accept()
            with connection:
                connection.settimeout(patient(10))
                act(connection)

    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor() as pool:
        door.settimeout(patient(10))
        done = pool.submit(serve)
        yield door.getsockname()[1]
        with suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        done.result()


@contextmanager
def connection_to(
    port: int, timeout_s: float = 10, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Connection]:
    connection = Connection(Origin(name="server", host=host, port=port, tls=tls))
    connection.deadline = time.monotonic() + patient(timeout_s)
    yield connection
    connection.discard()


def test_server_that_takes_nothing_gets_no_more_time_than_one_that_says_nothing() -> None:
    is_over = threading.Event()
    request = Request(method="PUT", target="/", body=bytes(64 << 20))

    with served(lambda _: is_over.wait(patient(10))) as port, connection_to(port, 0.3) as connection:
        with within(5), pytest.raises(TimeoutError):
            connection.exchange(request, body_max=10)
        is_over.set()


def test_deadline_that_has_passed_needs_no_server() -> None:
    connection = Connection(Origin(name="x", host="127.0.0.1", port=1))

    with pytest.raises(TimeoutError, match="no answer in time"):
        connection.connect()


@contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """Whoever connects here gets no answer at all: the queue is full from the second on."""
    with socket.socket() as silent, ExitStack() as full:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(4):
            each = full.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(silent.getsockname())
        yield silent.getsockname()


def test_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_address() as silent, served(lambda peer: (peer.recv(1000), peer.sendall(WHOLE))) as port:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", at) for at in (silent, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

        with connection_to(port, 1.0, host="name.example") as connection:
            assert connection.exchange(GET, body_max=10).body == b"ok"


def is_waiting(thread: int) -> bool:
    """Say whether this thread of ours is in poll(2)."""
    return "poll" in Path(f"/proc/self/task/{thread}/wchan").read_text()


def interrupt_while_it_waits(connection: Connection, request: Request = GET) -> None:
    """Asked from another thread; ended when that one sleeps in the kernel."""
    number: SimpleQueue[int] = SimpleQueue()

    def ask() -> None:
        number.put(threading.get_native_id())
        connection.exchange(request, body_max=10)

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask)
        thread = number.get(timeout=patient(10))
        assert eventually(lambda: is_waiting(thread))
        connection.interrupt()
        with within(5), pytest.raises(OSError, match=r"^closed$"):
            asked.result()


def test_wait_for_the_answer_is_ended_by_another_thread() -> None:
    is_over = threading.Event()

    with served(lambda _: is_over.wait(patient(10))) as port, connection_to(port) as connection:
        interrupt_while_it_waits(connection)
        is_over.set()


def test_request_that_is_not_taken_is_ended_by_another_thread() -> None:
    is_over = threading.Event()

    with served(lambda _: is_over.wait(patient(10))) as port, connection_to(port) as connection:
        interrupt_while_it_waits(connection, Request(method="PUT", target="/", body=bytes(64 << 20)))
        is_over.set()


def test_dial_is_ended_by_another_thread() -> None:
    with silent_address() as (_, port), connection_to(port) as connection:
        interrupt_while_it_waits(connection)


def test_handshake_is_ended_by_another_thread() -> None:
    is_over = threading.Event()

    with (
        served(lambda _: is_over.wait(patient(10))) as port,
        connection_to(port, tls=ssl.create_default_context()) as connection,
    ):
        interrupt_while_it_waits(connection)
        is_over.set()


def test_interrupted_at_any_moment_an_exchange_ends_alike() -> None:
    """A server that answers at once: whole, or closed. Never a broken pipe, a reset or an end too early."""
    for _ in range(100):
        with (
            served(lambda peer: (peer.recv(1000), peer.sendall(WHOLE))) as port,
            connection_to(port) as connection,
            ThreadPoolExecutor() as pool,
        ):
            ended = pool.submit(connection.interrupt)
            with suppress(Interrupted):
                assert answered(connection) == b"ok"
            ended.result()


class Interrupted(Exception):
    pass


def answered(connection: Connection) -> bytes:
    try:
        return connection.exchange(GET, body_max=10).body
    except OSError as error:
        if str(error) == "closed":
            raise Interrupted from error
        raise


def test_idle_connection_on_which_anything_came_is_not_fresh() -> None:
    step = threading.Barrier(2, timeout=patient(10))

    def act(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(WHOLE)
        step.wait()
        peer.sendall(WHOLE)
        peer.recv(1000)

    with served(act) as port, connection_to(port) as connection:
        connection.exchange(GET, body_max=10)
        assert connection.is_reusable
        assert connection.is_fresh()
        step.wait()
        assert eventually(lambda: not connection.is_fresh())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1, signed by itself; with its key."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", f"{file}.cert"],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.cert").read_text())
    return file


@pytest.mark.parametrize("is_told", [True, False], ids=["with a word of TLS", "without"])
def test_end_of_a_tls_connection_ends_an_answer_only_if_the_server_said_so(certificate: Path, is_told: bool) -> None:
    """Else whoever can cut a connection can shorten an answer whose length nobody said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def act(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as peer:
            peer.recv(1000)
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nok")
            if is_told:
                peer.unwrap()

    tls = ssl.create_default_context(cafile=str(certificate))
    with served(act) as port, connection_to(port, tls=tls) as connection:
        if is_told:
            assert connection.exchange(GET, body_max=10).body == b"ok"
        else:
            with pytest.raises(ssl.SSLEOFError):
                connection.exchange(GET, body_max=10)


def test_wait_that_timed_out_loses_no_part_of_a_chunk() -> None:
    step = threading.Barrier(2, timeout=patient(10))

    def act(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na")
        step.wait()
        peer.sendall(b"b\r\n1\r\nc\r\n0\r\n\r\n")

    with served(act) as port, connection_to(port) as connection:
        assert connection.begin(GET).status == 200
        taken = connection.more()
        assert taken == b"a"
        connection.deadline = time.monotonic() + 0.05
        with pytest.raises(TimeoutError):
            connection.more()
        connection.deadline = time.monotonic() + patient(10)
        step.wait()
        while piece := connection.more():
            taken += piece
        assert taken == b"abc"
