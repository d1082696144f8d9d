"""Requests to HTTP servers, where the contract suites cannot see."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from reconciler.kv.config import Endpoint
from reconciler.kv.fail_over import HttpClient, Request
from tests.waiting import patient


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
        reply = pool.submit(client.send, Request(method="GET", target="/", headers={}, is_repeatable=False))
        assert asked.wait(patient(10))
        client.close()
        closed.set()

        assert reply.result().body == b"ok"
        assert after.result() == b"", "the connection was closed"
