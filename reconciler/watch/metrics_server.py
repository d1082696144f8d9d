"""Serve /metrics and /healthz on a socket, from the watcher's own loop: a watcher that hangs does not say that it is well."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from reconciler.http.listening import Address
from reconciler.http.listening import Listener as ListeningSocket
from reconciler.http.server import Limits, Server
from reconciler.http.server_protocol import Request, Response
from reconciler.watch.metrics import Metrics
from reconciler.watch.source import CLEAN, Dirty, Source

SETTING: Final = "metrics"
LIMITS: Final = Limits()
_EACH: Final = (("Cache-Control", "no-store"), ("Connection", "close"))


class ServedMetrics(Metrics, Source):
    """Counts, and serves what it counted each time the watcher's loop turns. Raises ConfigError when it cannot listen."""

    def __init__(self, address: Address, quiet_max_s: float) -> None:
        super().__init__(quiet_max_s)
        self._server = Server(ListeningSocket(address, SETTING), lambda request: answer(self, request), LIMITS)

    def fileno(self) -> int:
        return self._server.fileno()

    def drain(self) -> Dirty:
        """Answer who asks."""
        self._server.serve()
        return CLEAN

    def beat(self) -> None:
        self._server.serve()

    def close(self) -> None:
        self._server.close()


def answer(metrics: Metrics, request: Request) -> Response:
    """Answer a scraper or a health probe."""
    if request.path not in ("/metrics", "/healthz"):
        return Response.of(HTTPStatus.NOT_FOUND, *_EACH)
    if request.method not in ("GET", "HEAD"):
        return Response.of(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"), *_EACH)
    if request.path == "/metrics":
        content_type, page = metrics.page(request.headers.get("accept", ""))
        return Response(HTTPStatus.OK, page, content_type, _EACH)
    health = metrics.health()
    status = HTTPStatus.OK if health.is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, f"{health.reason}\n".encode(errors="replace"), headers=_EACH)
