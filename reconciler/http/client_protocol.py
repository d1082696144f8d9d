"""A client's side of HTTP/1.1 on one connection, without its socket: requests in, bytes out; bytes in, answers out.

h11 speaks the protocol (RFC 9112). Ours are the sizes that an answer may have, and the words for one that is none: h11's quote
what was sent and what came, and a request's headers and body may hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import h11
from msgspec import Struct, field

from reconciler.http.headers import Headers
from reconciler.model.values import Value

HEAD_MAX: Final = 1 << 16
"""Bytes of an answer's head."""


class Request(Value, frozen=True, kw_only=True):
    """What is asked for. headers: but for Host, Content-Length and Connection, which are added."""

    unshown: ClassVar[frozenset[str]] = frozenset({"headers", "body"})
    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Head(Struct, frozen=True):
    status: int
    headers: Headers


class Response(Struct, frozen=True):
    """All of one: none is ever shorter than its server said."""

    status: int
    headers: Headers
    body: bytes | bytearray


class BadResponse(Exception):
    """What came is no whole HTTP answer. Nothing more can be read from the server."""


class HungUp(BadResponse):
    """The connection ended before the answer began."""


class AnswerTooLong(Exception):
    def __init__(self, body_max: int) -> None:
        super().__init__(f"an answer over {body_max} bytes")


class ClientProtocol:
    """One exchange after the other: `asked` begins one, then `receive` what comes until `is_over`.

    head: of the answer, None before it came. body: what came of it and nobody took yet. body_max: bytes of it.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._is_silent = True
        self._body_max: int | None = None
        self.head: Head | None = None
        self.body = bytearray()
        self.is_over = False

    @property
    def is_reusable(self) -> bool:
        """Return whether another exchange may follow: both sides agree, and nothing came that nobody asked for."""
        states = (self._connection.our_state, self._connection.their_state)
        return states in ((h11.DONE, h11.DONE), (h11.IDLE, h11.IDLE)) and self._connection.trailing_data == (b"", False)

    def asked(self, request: Request, *, is_last: bool = False, body_max: int | None = None) -> bytes:
        """Return the bytes of a request. body_max None: no matter how much, as it is taken while it comes.

        Raises ValueError, which names what has no place in a request, never its value.
        """
        if self._connection.our_state is h11.DONE:
            self._connection.start_next_cycle()
        self.head, self.body, self.is_over = None, bytearray(), False
        self._is_silent, self._body_max = True, body_max
        head = self._head(request, is_last=is_last)
        events = (head, *((h11.Data(data=request.body),) if request.body else ()), h11.EndOfMessage())
        return b"".join(self._connection.send(event) or b"" for event in events)

    def receive(self, data: bytes) -> None:
        """Take what came; nothing is the end of the connection. Raises BadResponse, AnswerTooLong."""
        self._is_silent = self._is_silent and not data
        try:
            self._connection.receive_data(data)
            while not self.is_over:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            raise self._bad_answer(is_cut=not data, status_hint=error.error_status_hint) from None

    def take(self) -> bytes:
        """Return what came of the body since it was asked for the last time."""
        taken = bytes(self.body)
        self.body.clear()
        return taken

    def answer(self) -> Response:
        """Return the whole answer once it is over."""
        assert self.is_over
        assert self.head is not None
        body, self.body = self.body, bytearray()
        return Response(self.head.status, self.head.headers, body)

    def _head(self, request: Request, *, is_last: bool) -> h11.Request:
        headers = [("Host", self._host), *((name, value.strip(" \t")) for name, value in request.headers.items())]
        if request.body or request.method != "GET":
            headers.append(("Content-Length", str(len(request.body))))
        if is_last:
            headers.append(("Connection", "close"))
        try:
            return h11.Request(method=request.method, target=request.target, headers=headers)
        except (h11.LocalProtocolError, UnicodeEncodeError):  # their texts, and what they come from, show the value
            pass
        raise ValueError("a line break or another sign that HTTP does not allow in a request's target or headers")

    def _take(self, event: object) -> None:
        match event:
            case h11.Response(status_code=status, headers=raw, http_version=version):
                if not version.startswith(b"1."):
                    raise BadResponse("the answer is of another version of HTTP")
                headers = Headers(raw)
                if headers.size > HEAD_MAX:
                    raise BadResponse(f"the head of the answer is over {HEAD_MAX} bytes")
                self.head = Head(status, headers)
                self._check_length(_announced(headers))
            case h11.Data(data=data):
                self.body += data
                self._check_length(len(self.body))
            case h11.EndOfMessage():
                self.is_over = True

    def _check_length(self, length: int) -> None:
        if self._body_max is not None and length > self._body_max:
            raise AnswerTooLong(self._body_max)

    def _bad_answer(self, *, is_cut: bool, status_hint: int) -> BadResponse:
        if is_cut and self._is_silent:
            return HungUp("the server hung up without an answer")
        if is_cut:
            return BadResponse("the server hung up in the middle of its answer")
        if status_hint == 431:
            return BadResponse(f"the head of the answer is over {HEAD_MAX} bytes")
        return BadResponse("that is no HTTP" if self.head is None else "the answer breaks the rules of HTTP")


def _announced(headers: Headers) -> int:
    """Return the length that is said of the body: h11 lets one such header through, with few digits."""
    return 0 if "transfer-encoding" in headers else int(headers.get("content-length", "0"))
