"""Serve /metrics, /healthz and the page, from the watcher's own loop: a watcher that hangs does not say that it is well."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from reconciler.http.listening import ListenAddress, ListeningSocket
from reconciler.http.server import ClientLimits, HttpServer
from reconciler.http.server_protocol import ServedRequest, ServedResponse
from reconciler.settings import Settings
from reconciler.watch.metrics import Metrics
from reconciler.watch.source import CLEAN, Dirty, EventSource

if TYPE_CHECKING:
    from reconciler.watch.live_page import LivePage

SETTING: Final = "metrics"
LIMITS: Final = ClientLimits()
_FORGET_S: Final = 60.0
"""How long the page is kept after somebody looked at it."""

_EACH: Final = (("Cache-Control", "no-store"), ("Connection", "close"))


class ServedMetrics(Metrics, EventSource):
    """Counts, and serves what it counted each time the watcher's loop turns. Raises ConfigError when it cannot listen."""

    def __init__(
        self,
        address: ListenAddress,
        quiet_max_s: float,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(quiet_max_s, clock)
        self._settings, self._looked_s = settings, 0.0
        self._page: LivePage | None = None
        self._is_local = bool(address.host) and ip_address(address.host).is_loopback
        self._server = HttpServer(ListeningSocket(address, SETTING), self.answer, LIMITS)

    def fileno(self) -> int:
        return self._server.fileno()

    def drain(self) -> Dirty:
        """Answer who asks."""
        self._server.serve()
        return CLEAN

    def beat(self) -> None:
        self._server.serve()
        if self._page is not None and self._clock() - self._looked_s > _FORGET_S:
            self._page = None

    def answer(self, request: ServedRequest) -> ServedResponse:
        """Answer who asks for figures, health or the page."""
        return _told(self, request) if request.path in ("/metrics", "/healthz") else self._show(request)

    def _show(self, request: ServedRequest) -> ServedResponse:
        """Answer who looks at the page. What makes it is imported, and kept, as long as somebody does."""
        from reconciler.watch.live_page import PATHS, LivePage, is_asked_for_itself

        if request.path not in PATHS:
            return ServedResponse.of(HTTPStatus.NOT_FOUND, *_EACH)
        if request.method not in ("GET", "HEAD"):
            return ServedResponse.of(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"), *_EACH)
        if self._is_local and not is_asked_for_itself(request.headers.get("host", ""), self._settings.host):
            return ServedResponse.of(HTTPStatus.MISDIRECTED_REQUEST, *_EACH)
        self._looked_s = self._clock()
        if self._page is None:
            self._page = LivePage(self._settings)
        return self._page.answer(request, self._report, self.health())

    def close(self) -> None:
        self._server.close()


def _told(metrics: Metrics, request: ServedRequest) -> ServedResponse:
    """Return the answer to a scraper or a health probe."""
    if request.method not in ("GET", "HEAD"):
        return ServedResponse.of(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"), *_EACH)
    if request.path == "/metrics":
        content_type, page = metrics.page(request.headers.get("accept", ""))
        return ServedResponse(HTTPStatus.OK, page, content_type, _EACH)
    health = metrics.health()
    status = HTTPStatus.OK if health.is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return ServedResponse(status, f"{health.reason}\n".encode(errors="replace"), headers=_EACH)
