"""The page of a watcher: what `reconcile graph --format html` shows, as it is now. Read only; made when somebody looks."""

from __future__ import annotations

import logging
import os
import threading
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from reconciler.graph.html import live_html, live_policy
from reconciler.http.server_protocol import ServedRequest, ServedResponse
from reconciler.model.ip import address_or_none
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.watch.live_state import state_json

if TYPE_CHECKING:
    from reconciler.watch.metrics import Health

log = logging.getLogger(__name__)

PATHS: Final = ("/", "/drawing.json", "/state.json")
_JSON: Final = "application/json"
_SAFE: Final = (
    ("Connection", "close"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


class LivePage:
    """Answers those who look. A drawing takes seconds where there are thousands of attachments: it is made beside the passes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._page = live_html(f"{settings.host}: networks").encode(errors="replace")
        self._drawn: Report | None = None
        self._drawing, self._tag = b"", ""
        self._thread: threading.Thread | None = None
        self._stamp: object = None
        self._state = b""

    def answer(self, request: ServedRequest, report: Report | None, health: Health) -> ServedResponse:
        """Answer a request for one of `PATHS`."""
        if request.path == "/":
            policy = ("Content-Security-Policy", live_policy())
            return ServedResponse(
                HTTPStatus.OK, self._page, "text/html; charset=utf-8", (("Cache-Control", "no-cache"), policy, *_SAFE)
            )
        if report is not None:
            self._draw(report)
        if request.path == "/drawing.json":
            if not self._drawing or self._thread is not None:
                return ServedResponse(HTTPStatus.ACCEPTED, b"null", _JSON, (("Cache-Control", "no-store"), *_SAFE))
            return self._tagged(request, self._drawing)
        return self._tagged(request, self._state_now(health))

    def _tagged(self, request: ServedRequest, body: bytes) -> ServedResponse:
        tag = _tag(body)
        headers = (("ETag", tag), ("Cache-Control", "no-cache"), *_SAFE)
        if request.headers.get("if-none-match") == tag:
            return ServedResponse(HTTPStatus.NOT_MODIFIED, headers=headers)
        return ServedResponse(HTTPStatus.OK, body, _JSON, headers)

    # --- states

    def _state_now(self, health: Health) -> bytes:
        """Return the states; the files are read again when they are others."""
        files = self._settings.status_dir / "summary.json", self._settings.state_dir / "events.ndjson"
        stamp = (*map(_stamp, files), health, self._tag)
        if stamp != self._stamp:
            self._stamp = stamp
            self._state = state_json(
                self._settings.status_dir,
                self._settings.state_dir,
                is_well=health.is_well,
                reason=health.reason,
                drawing=self._tag,
            )
        return self._state

    # --- the drawing

    def _draw(self, report: Report) -> None:
        """Have it drawn what a pass left, unless that is done or under way."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is not None or self._drawn is report:
            return
        is_other = self._drawn is None or _differs(self._drawn, report)
        self._drawn = report
        if is_other:
            self._thread = threading.Thread(target=self._make, args=(report,), name="drawing", daemon=True)
            self._thread.start()

    def _make(self, report: Report) -> None:
        from reconciler.graph.document import document
        from reconciler.graph.elsewhere import with_hosts_elsewhere
        from reconciler.graph.make_topology import Subject, make_topology
        from reconciler.graph.reaching import reaching
        from reconciler.reach.stand_ins import walk_of

        try:
            subjects = [Subject(after=report.desired, sources=report.sources)]
            walk = walk_of(with_hosts_elsewhere(report.desired))
            self._drawing = document(make_topology(subjects), reaching(walk), subjects)
            self._tag = _tag(self._drawing)
        except Exception:  # a drawing that fails must not end what else the process does
            log.exception("the page cannot be drawn")


def _differs(one: Report, two: Report) -> bool:
    """Return whether something is drawn otherwise; with other specs it may be lines."""

    def drawn(report: Report) -> tuple[object, ...]:
        desired = report.desired
        return desired.networks, desired.attachments, desired.held, desired.held_networks

    return one.digest != two.digest or drawn(one) != drawn(two)


def _tag(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


def _stamp(path: os.PathLike[str]) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_asked_for_itself(host: str, own_name: str) -> bool:
    """Return whether a Host header is of somebody who means this machine, not of a page that calls it its own (DNS rebinding)."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    return address_or_none(name.strip("[]")) is not None or name.lower() in ("localhost", own_name.lower())
