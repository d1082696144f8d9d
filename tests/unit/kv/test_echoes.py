"""Servers that give requests back, as wrong ones, proxies and pages for debugging do: no secret comes into an error by that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

import pytest

from reconciler.errors import KvError
from reconciler.http.client_protocol import Head, Request, Response
from reconciler.http.headers import Headers
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.fail_over import LineStream, StoreRequest, _Connection, without_secrets
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store

TOKEN: Final = 'of-etcd-"quoted"'
HEADERS: Final = Headers([(b"x-consul-index", b"7")])
PARTS: Final[Mapping[str, Callable[[Request], str]]] = {
    "all": lambda request: f"{request.method} {request.target}\n{dict(request.headers)}\n\n{request.body.decode()}",
    "body": lambda request: request.body.decode(),
    "token": lambda request: (
        '{"token": "of-etcd-\\"quoted\\""}'
        if request.target.endswith("auth/authenticate")
        else request.headers.get("Authorization", "")
    ),
}


def calls(store: KvStore) -> tuple[Callable[[], object], ...]:
    return (
        lambda: store.list("nodes/"),
        lambda: store.get("a"),
        lambda: store.compare_and_swap("a", b"x", 5),
        lambda: store.confirm(1.0),
        lambda: store.session(10).renew(),
        lambda: store.watch("nodes/").poll(0.01),
    )


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 500, 503])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("provider", "secret"), [(Provider.CONSUL, "sesame-1"), (Provider.ETCD, 'me:sesame-"1"')])
def test_no_secret_comes_back_into_an_error(
    provider: Provider, secret: str, part: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []

    def exchange(_: object, request: Request, **__: object) -> Response:
        seen.append(request)
        is_login = part == "token" and request.target.endswith("auth/authenticate")
        return Response(200 if is_login else status, HEADERS, bytearray(PARTS[part](request).encode()))

    monkeypatch.setattr(_Connection, "connect", lambda _: None)
    monkeypatch.setattr(_Connection, "exchange", exchange)
    monkeypatch.setattr(_Connection, "begin", lambda *_: Head(status, HEADERS))

    config = StoreConfig(provider=provider, endpoints=(Endpoint("192.0.2.1", 1),), secret=secret, timeout_s=1.0)
    told = ""

    with contextlib.closing(open_store(config)) as store:
        for call in calls(store):
            try:
                call()
            except KvError as error:
                told += f"{error}\n{error.__cause__}\n"

    assert seen
    assert "sesame-" not in told
    assert "quoted" not in told
    assert all("sesame" not in repr(request) and "quoted" not in repr(request) for request in seen)


def test_what_is_removed_is_the_secret_however_json_writes_it() -> None:
    assert without_secrets(b'{"a": "x\\"yz", "b": "x"yz"}', ('x"yz',)) == b'{"a": "[removed]", "b": "[removed]"}'
    assert without_secrets(b"abc", ("abc", "")) == b"abc"


def test_a_request_that_is_shown_hides_its_secrets() -> None:
    request = StoreRequest(method="GET", target="/", is_repeatable=True, secrets=("sesame",))

    assert "sesame" not in repr(request)


def test_a_line_of_a_stream_has_no_secret_either() -> None:
    connection: Any = SimpleNamespace(more=lambda: b'{"error": "of sesame"}\n', deadline=0.0)
    stream = LineStream(connection, Head(200, HEADERS), lambda _: None, ("sesame",))

    assert stream.line(1.0) == b'{"error": "of [removed]"}'
