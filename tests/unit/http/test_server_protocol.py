"""Bytes to requests and responses to bytes, whatever the pieces."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.http.server_protocol import BadRequest, ServedRequest, ServedResponse, ServerProtocol

HEAD_MAX, BODY_MAX = 300, 40
HOST = b"Host: x\r\n"


def talk(*pieces: bytes) -> tuple[list[ServedRequest | HTTPStatus], bytes, bool]:
    """Give what came of `pieces`, what was answered, and whether the connection is over. The answer to each request is its body."""
    protocol, found, sent = ServerProtocol(HEAD_MAX, BODY_MAX), list[ServedRequest | HTTPStatus](), b""
    for piece in pieces:
        protocol.receive(piece)
        try:
            while not protocol.is_over and (request := protocol.next_request()):
                found.append(request)
                sent += protocol.answered(ServedResponse(HTTPStatus.OK, request.body))
        except BadRequest as refusal:
            found.append(refusal.status)
            return found, sent + protocol.answered(ServedResponse.of(refusal.status)), protocol.is_over
    return found, sent, protocol.is_over


REQUESTS = {
    "GET": (b"GET /a?b=c HTTP/1.1\r\n" + HOST + b"\r\n", [("GET", "/a?b=c", b"")], False),
    "HEAD": (b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n", [("HEAD", "/", b"")], False),
    "POST": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\ndata", [("POST", "/", b"data")], False),
    "chunks": (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nda\r\n2;x=y\r\nta\r\n0\r\nT: x\r\n\r\n",
        [("POST", "/", b"data")],
        False,
    ),
    "pipelined": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\naGET /b HTTP/1.1\r\n" + HOST + b"\r\n",
        [("POST", "/", b"a"), ("GET", "/b", b"")],
        False,
    ),
    "the last one": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        [("GET", "/", b"")],
        True,
    ),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/", b"")], True),
    "upgrade": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        [("GET", "/", b"")],
        False,
    ),
    "body as long as may be": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 40\r\n\r\n" + 40 * b"x",
        [("POST", "/", 40 * b"x")],
        False,
    ),
}
"""What is sent, the requests in it, and whether the connection is over then."""


@pytest.mark.parametrize(("sent", "requests", "is_over"), REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("is_split", [False, True], ids=["at once", "byte by byte"])
def test_requests_are_read(sent: bytes, requests: list[tuple[str, str, bytes]], is_over: bool, is_split: bool) -> None:
    found, _, was_over = talk(*([sent[i : i + 1] for i in range(len(sent))] if is_split else [sent]))

    assert [(r.method, r.target, r.body) for r in found if isinstance(r, ServedRequest)] == requests
    assert len(found) == len(requests)
    assert was_over == is_over


REFUSALS = {
    "TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + 2 * HOST + b"\r\n", 400),
    "folded name": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "length of letters": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na", 400),
    "endless length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + 50 * b"9" + b"\r\n\r\n", 400),
    "chunk of letters": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "tunnel": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    "long target": (b"GET /" + 300 * b"x" + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "long header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + 300 * b"x" + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + 50 * b"X: abcd\r\n" + b"\r\n", 431),
    "endless header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + 300 * b"x", 431),
    "body announced": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 41\r\n\r\n", 413),
    "body announced to HEAD": (b"HEAD / HTTP/1.1\r\n" + HOST + b"Content-Length: 41\r\n\r\n", 413),
    "chunks that go on": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + 3 * (b"14\r\n" + 20 * b"x" + b"\r\n"),
        413,
    ),
    "after a good one": (b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\nnonsense\r\n\r\n", 400),
}


@pytest.mark.parametrize(("sent", "status"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("is_split", [False, True], ids=["at once", "byte by byte"])
def test_what_is_no_request_is_refused_and_ends_the_connection(sent: bytes, status: int, is_split: bool) -> None:
    found, answer, is_over = talk(*([sent[i : i + 1] for i in range(len(sent))] if is_split else [sent]))

    assert found[-1] == status
    assert f"HTTP/1.1 {status} ".encode() in answer
    assert is_over


def test_headers_have_lower_case_names_and_several_of_one_name_are_one() -> None:
    [request], _, _ = talk(b"GET / HTTP/1.1\r\nHOST: x\r\nAccept: a\r\nACCEPT: \xe9;q=1\r\n\r\n")

    assert isinstance(request, ServedRequest)
    assert request.headers == {"host": "x", "accept": "a, \xe9;q=1"}


def test_path_is_the_target_without_its_query() -> None:
    assert (ServedRequest("GET", "/a?b?c").path, ServedRequest("GET", "/a").path) == ("/a", "/a")


@pytest.mark.parametrize(
    ("method", "response", "has_length", "body"),
    [
        ("GET", ServedResponse(HTTPStatus.OK, b"data"), True, b"data"),
        ("HEAD", ServedResponse(HTTPStatus.OK, b"data"), True, b""),
        ("POST", ServedResponse(HTTPStatus.NO_CONTENT), False, b""),
        ("GET", ServedResponse(HTTPStatus.NOT_MODIFIED, headers=(("ETag", '"1"'),)), False, b""),
        ("GET", ServedResponse.of(HTTPStatus.NOT_FOUND), True, b"404 Not Found\n"),
    ],
    ids=["GET", "HEAD", "no content", "not modified", "status alone"],
)
def test_body_goes_where_one_may_be(method: str, response: ServedResponse, has_length: bool, body: bytes) -> None:
    protocol = ServerProtocol(HEAD_MAX, BODY_MAX)
    protocol.receive(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    protocol.next_request()

    head, _, found = protocol.answered(response).partition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {response.status} {response.status.phrase}\r\n".encode())
    assert (b"\r\nContent-Length: " in head) == (b"\r\nContent-Type: " in head) == has_length
    assert all(f"{name}: {value}".encode() in head for name, value in response.headers)
    assert found == body
    assert protocol.is_idle
    assert not protocol.is_over


@given(
    sent=st.sampled_from([sent for sent, *_ in (*REQUESTS.values(), *REFUSALS.values())]),
    junk=st.binary(max_size=12),
    at=st.integers(min_value=0, max_value=300),
    cut=st.integers(min_value=0, max_value=300),
)
def test_whatever_comes_is_read_or_refused(sent: bytes, junk: bytes, at: int, cut: int) -> None:
    spoilt = sent[:at] + junk + sent[at:]

    found, answer, is_over = talk(*filter(None, (spoilt[:cut], spoilt[cut:])))

    assert answer.count(b"HTTP/1.1 ") >= len(found)
    assert is_over or not any(isinstance(each, HTTPStatus) for each in found)
