"""Requests to HTTP servers, where the contract suites cannot see."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import pytest

from reconciler.errors import KvUnavailable
from reconciler.kv.config import Endpoint
from reconciler.kv.fail_over import HttpClient, StoreRequest
from tests.waiting import eventually, patient


def test_connection_that_was_in_use_when_the_client_was_closed_is_closed_after_its_answer() -> None:
    asked, closed = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor() as pool:
        door.settimeout(patient(10))
        client = HttpClient([Endpoint(*door.getsockname())], None, timeout_s=patient(10))

        def serve() -> bytes:
            connection, _ = door.accept()
            with connection:
                connection.settimeout(patient(10))
                connection.recv(1000)
                asked.set()
                closed.wait(patient(10))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                return connection.recv(1000)

        after = pool.submit(serve)
        reply = pool.submit(client.send, StoreRequest(method="GET", target="/", headers={}, is_repeatable=False))
        assert asked.wait(patient(10))
        client.close()
        closed.set()

        assert reply.result().body == b"ok"
        assert after.result() == b"", "the connection was closed"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def answering(*scripts: tuple[bytes, ...]) -> Iterator[tuple[Endpoint, list[bytes]]]:
    """Give each connection's requests these answers, and hang up. Gives what was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        with suppress(OSError):  # nobody came any more
            for script in scripts:
                connection, _ = door.accept()
                with connection:
                    connection.settimeout(patient(10))
                    for message in script:
                        asked.append(connection.recv(1000).split(b" HTTP/")[0])
                        connection.sendall(message)

    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor() as pool:
        door.settimeout(patient(10))
        served = pool.submit(serve)
        yield Endpoint(*door.getsockname()), asked
        with suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        served.result()


@pytest.mark.parametrize("cut", [b"", OK[:-1]], ids=["before the answer", "in its middle"])
@pytest.mark.parametrize("is_repeatable", [True, False])
def test_what_may_have_been_done_over_a_kept_connection_is_asked_again_only_if_that_does_no_harm(
    cut: bytes, *, is_repeatable: bool
) -> None:
    with (
        answering((OK, cut)) as (first, first_asked),
        answering((OK,)) as (second, second_asked),
        closing(HttpClient([first, second], None, timeout_s=patient(10))) as client,
    ):
        client.send(StoreRequest(method="GET", target="/1", is_repeatable=True))
        request = StoreRequest(method="PUT", target="/2", body=b"x", is_repeatable=is_repeatable)
        if is_repeatable:
            assert client.send(request).server == second
        else:
            with pytest.raises(KvUnavailable, match="hung up"):
                client.send(request)

    assert first_asked == [b"GET /1", b"PUT /2"]
    assert second_asked == ([b"PUT /2"] if is_repeatable else [])


def test_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    with answering((OK,), (OK,)) as (server, asked), closing(HttpClient([server], None, patient(10))) as client:
        client.send(StoreRequest(method="GET", target="/1", is_repeatable=True))
        [kept] = client._idle
        assert eventually(lambda: not kept.is_fresh())

        assert client.send(StoreRequest(method="PUT", target="/2", is_repeatable=False)).body == b"ok"

    assert asked == [b"GET /1", b"PUT /2"]
