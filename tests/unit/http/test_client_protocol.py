"""What is made of an answer's bytes, however they are cut."""

from __future__ import annotations

import pytest

from reconciler.http.client_protocol import (
    HEAD_MAX,
    AnswerTooLong,
    BadResponse,
    ClientProtocol,
    HungUp,
    Request,
    Response,
)

GET = Request(method="GET", target="/")
BODY_MAX = 5000
SECRET = "s3cret"


def answered(message: bytes, *, method: str = "GET", piece: int = 1 << 16, is_ended: bool = True) -> Response:
    """Give the whole answer that comes in pieces of this size, and then the connection's end."""
    protocol = ClientProtocol("server")
    protocol.asked(Request(method=method, target="/"), body_max=BODY_MAX)
    for at in range(0, len(message), piece):
        protocol.receive(message[at : at + piece])
    if is_ended:
        protocol.receive(b"")
    return protocol.answer()


def lengthy(body: bytes, length: object) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n%b" % (str(length).encode(), body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "length": (lengthy(b"body", 4), 200, b"body"),
    "more than is said": (lengthy(b"body and more", 4), 200, b"body"),
    "length said twice alike": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody", 200, b"body"),
    "nothing": (lengthy(b"", 0), 200, b""),
    "chunks": (CHUNKED + b"2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\nTrailer: t\r\n\r\n", 200, b"body"),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nbody", 200, b"body"),
    "version 1.0": (b"HTTP/1.0 200 OK\r\n\r\nbody", 200, b"body"),
    "without a reason": (b"HTTP/1.1 404\r\nContent-Length: 4\r\n\r\nbody", 404, b"body"),
    "folded": (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 4\r\n\r\nbody", 200, b"body"),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + lengthy(b"body", 4),
        200,
        b"body",
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", 304, b""),
    "largest": (lengthy(b"x" * BODY_MAX, BODY_MAX), 200, b"x" * BODY_MAX),
}
CUT = {
    "length": lengthy(b"bod", 100),
    "length of nothing": lengthy(b"", 1),
    "chunk": CHUNKED + b"64\r\nbod",
    "chunks without the last": CHUNKED + b"3\r\nbod\r\n",
    "last chunk": CHUNKED + b"3\r\nbod\r\n0\r\n",
    "head": b"HTTP/1.1 200 OK\r\nContent-Len",
    "status line": b"HTTP/1.1 200",
    "interim alone": b"HTTP/1.1 100 Continue\r\n\r\n",
}
BROKEN = {
    "other protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "binary": b"\x00\xff" * 500 + b"\r\n\r\n",
    "old": b"<html></html>\r\n\r\n",
    "tls alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!",
    "version 2": lengthy(b"body", 4).replace(b"1.1", b"2.0"),
    "negative length": lengthy(b"", -1),
    "length of hex": lengthy(b"body", "0x4"),
    "length without end": lengthy(b"", "9" * 100),
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunk of no size": CHUNKED + b"x\r\nbody\r\n0\r\n\r\n",
    "chunk over its size": CHUNKED + b"2\r\nbody\r\n0\r\n\r\n",
    "fold before the first": b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    "name with a space": b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nbody",
    "zero in a value": b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
    "another protocol accepted": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "head without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * HEAD_MAX,
    "line without end": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 4 * HEAD_MAX,
    "long head": b"HTTP/1.1 200 OK\r\nA: " + b"b" * (HEAD_MAX + 1) + b"\r\n\r\n",
}
LONG = {
    "said": lengthy(b"", BODY_MAX + 1),
    "chunks": CHUNKED + b"fff\r\n" + b"x" * 0xFFF + b"\r\nfff\r\n" + b"x" * 0xFFF + b"\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (BODY_MAX + 1),
}


@pytest.mark.parametrize("piece", [1 << 20, 7, 1], ids=["at once", "by 7", "by 1"])
@pytest.mark.parametrize(("message", "status", "body"), WHOLE.values(), ids=WHOLE)
def test_whole_answer_is_given(message: bytes, status: int, body: bytes, piece: int) -> None:
    found = answered(message, piece=piece)

    assert (found.status, found.body) == (status, body)


@pytest.mark.parametrize("message", CUT.values(), ids=CUT)
def test_answer_that_was_cut_is_an_error_and_no_short_answer(message: bytes) -> None:
    for length in range(len(message) + 1):
        with pytest.raises(BadResponse, match=r"hung up in the middle|^the server hung up without an answer$") as told:
            answered(message[:length])
        assert isinstance(told.value, HungUp) is (length == 0)


@pytest.mark.parametrize("name", [name for name in WHOLE if name in ("length", "chunks", "interim", "folded")])
def test_whole_answer_is_none_before_its_last_byte(name: str) -> None:
    message, _, _ = WHOLE[name]
    for length in range(1, len(message)):
        with pytest.raises(BadResponse, match="hung up in the middle"):
            answered(message[:length])


@pytest.mark.parametrize("piece", [1 << 20, 4096], ids=["at once", "by 4096"])
@pytest.mark.parametrize("message", BROKEN.values(), ids=BROKEN)
def test_answer_against_the_rules_is_an_error_in_our_words(message: bytes, piece: int) -> None:
    ours = r"^(that is no HTTP|.* is of another version of HTTP|.* breaks the rules of HTTP|the head .* is over 65536 bytes)$"
    with pytest.raises(BadResponse, match=ours):
        answered(message, piece=piece, is_ended=False)


@pytest.mark.parametrize("message", LONG.values(), ids=LONG)
def test_answer_over_the_limit_is_refused_before_it_is_held(message: bytes) -> None:
    with pytest.raises(AnswerTooLong, match=f"an answer over {BODY_MAX} bytes"):
        answered(message, is_ended=False)


def test_answer_to_head_has_no_body() -> None:
    found = answered(lengthy(b"", 4), method="HEAD", is_ended=False)

    assert (found.body, found.headers["content-length"]) == (b"", "4")


def test_headers_are_found_in_any_case_and_folds_and_repetitions_read() -> None:
    headers = answered(b"HTTP/1.0 200 OK\r\nX-Index: 7\r\nA: 1\r\na:  2\r\nFolded: b\r\n\t c\r\n\r\n").headers

    assert (headers["x-index"], headers["X-INDEX"], headers["A"], headers["folded"]) == ("7", "7", "1, 2", "b c")
    assert "X-Index" in headers
    assert headers.get("other") is None
    assert dict(headers) == {"x-index": "7", "a": "1, 2", "folded": "b c"}


@pytest.mark.parametrize(
    ("message", "is_reusable"),
    [
        (lengthy(b"body", 4), True),
        (CHUNKED + b"0\r\n\r\n", True),
        (lengthy(b"body", 4) + lengthy(b"not asked for", 13), False),
        (lengthy(b"body", 3), False),
        (lengthy(b"", 0).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (lengthy(b"", 0).replace(b"HTTP/1.1", b"HTTP/1.0"), False),
    ],
    ids=["length", "chunks", "second answer", "a byte too much", "close", "version 1.0"],
)
def test_connection_is_used_again_where_both_sides_agree_what_was_said(message: bytes, is_reusable: bool) -> None:
    protocol = ClientProtocol("server")
    protocol.asked(GET)
    protocol.receive(message)

    assert protocol.is_over
    assert protocol.is_reusable is is_reusable
    if is_reusable:
        protocol.asked(GET)
        assert not protocol.is_reusable
        protocol.receive(lengthy(b"second", 6))
        assert protocol.answer().body == b"second"


def test_request_is_written_as_it_is_meant() -> None:
    protocol = ClientProtocol("server:80")
    put = Request(method="PUT", target="/v1/kv/a?cas=1", headers={"X-Token": " t "}, body=b"value")

    assert protocol.asked(put, is_last=True) == (
        b"PUT /v1/kv/a?cas=1 HTTP/1.1\r\nHost: server:80\r\nX-Token: t\r\nContent-Length: 5\r\nConnection: close\r\n\r\nvalue"
    )
    assert ClientProtocol("server").asked(GET) == b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"


@pytest.mark.parametrize("bad", [f"{SECRET}\r\nX: y", f"{SECRET}\n", f"\0{SECRET}", f"é{SECRET}"])
def test_secret_that_cannot_be_sent_is_not_shown(bad: str) -> None:
    for request in (
        Request(method="GET", target="/", headers={"Authorization": f"x{bad}x"}),
        Request(method="GET", target=f"/{bad}"),
    ):
        with pytest.raises(ValueError, match="in a request's target or headers") as told:
            ClientProtocol("server").asked(request)

        assert told.value.__context__ is None, "a logged traceback would show it"


def test_request_that_is_shown_hides_what_may_be_secret() -> None:
    request = Request(method="POST", target="/", headers={"Authorization": SECRET}, body=SECRET.encode())

    assert SECRET not in repr(request)


def test_server_that_gives_a_request_back_does_not_bring_its_secret_into_an_error() -> None:
    protocol = ClientProtocol("server")
    sent = protocol.asked(Request(method="GET", target="/", headers={"Authorization": SECRET}))

    for echo in (sent, b"HTTP/1.1 200 OK\r\n" + sent):
        protocol = ClientProtocol("server")
        protocol.asked(GET)
        with pytest.raises(BadResponse) as told:
            protocol.receive(echo)
        assert SECRET not in str(told.value)
        assert told.value.__suppress_context__
