"""A server's side of HTTP/1.1 on one connection, without its socket: bytes in, whole requests out; responses in, bytes out.

h11 speaks the protocol (RFC 9112). Ours are the sizes that a request may have, and that a refusal is a response too.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import h11
from msgspec import Struct, field

from reconciler.http.headers import Headers

_TEXT: Final = "text/plain; charset=utf-8"
_WITHOUT_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class ServedRequest(Struct, frozen=True):
    """What a client wants. target: as sent, path and query. headers: by name in any case, several of one name joined by commas."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class ServedResponse(Struct, frozen=True):
    """An answer. Its length and date are added; `Connection: close` among the headers ends the connection after it."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(status: HTTPStatus, *headers: tuple[str, str]) -> ServedResponse:
        """Return no more than the status does."""
        return ServedResponse(status, f"{status.value} {status.phrase}\n".encode(), headers=headers)


class BadRequest(Exception):
    """The request, or what came in place of one, is none that can be served. Nothing more can be read from the client."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class ServerProtocol:
    """Call `receive` with what came, `next_request` until it gives None, and `answered` once for each request."""

    def __init__(self, head_max: int, body_max: int) -> None:
        self._head_max, self._body_max = head_max, body_max
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=head_max)
        self._head: h11.Request | None = None
        self._body = bytearray()

    @property
    def is_idle(self) -> bool:
        """Return whether nothing of a request was read since the last answer."""
        return self._connection.our_state is h11.IDLE

    @property
    def is_over(self) -> bool:
        """Return whether the last answer was the last one on this connection."""
        return self._connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    def receive(self, data: bytes) -> None:
        self._connection.receive_data(data)

    def next_request(self) -> ServedRequest | None:
        """Return the next request once all of it came. Raises Refused."""
        try:
            return self._read()
        except h11.RemoteProtocolError as error:
            raise BadRequest(HTTPStatus(error.error_status_hint)) from error

    def go_ahead(self) -> bytes:
        """Return what a client waits for before it sends its body; nothing when it does not."""
        if not self._connection.they_are_waiting_for_100_continue:
            return b""
        return self._connection.send(h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[]))

    def answered(self, response: ServedResponse) -> bytes:
        """Return the bytes of an answer to the last request; to HEAD without its body."""
        is_head = self._head is not None and self._head.method == b"HEAD"
        headers = [("Date", formatdate(usegmt=True)), *response.headers]
        if response.status not in _WITHOUT_BODY:
            headers += [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        head = h11.Response(status_code=response.status, headers=headers, reason=response.status.phrase)
        events = [head, *([] if is_head else [h11.Data(data=response.body)]), h11.EndOfMessage()]
        data = b"".join(self._connection.send(event) or b"" for event in events)
        self._head, self._body = None, bytearray()
        if self._connection.our_state is self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()
        return data

    def _read(self) -> ServedRequest | None:
        while True:
            match self._connection.next_event():
                case h11.Request() as head:
                    self._head = head
                    self._check(head)
                case h11.Data(data=data):
                    self._body += data
                    if len(self._body) > self._body_max:
                        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                case h11.EndOfMessage():
                    return self._whole()
                case _:
                    return None

    def _check(self, head: h11.Request) -> None:
        """h11 measures what is incomplete only; what came at once is measured here."""
        size = len(head.target) + sum(len(name) + len(value) + len(": \r\n") for name, value in head.headers)
        if size > self._head_max:
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not head.http_version.startswith(b"1."):
            raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if head.method == b"CONNECT":
            raise BadRequest(HTTPStatus.NOT_IMPLEMENTED)
        length = dict(head.headers).get(b"content-length", b"0")  # h11 lets one such header through, with few digits
        if int(length) > self._body_max:
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _whole(self) -> ServedRequest:
        assert self._head is not None
        headers = Headers(self._head.headers)
        target = self._head.target.decode("latin-1")
        return ServedRequest(self._head.method.decode(), target, headers, bytes(self._body))
