"""What the page of a watcher asks for: the drawing, each network's state, the last events; and who gets nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from reconciler.errors import NameConflict
from reconciler.http.listening import ListenAddress
from reconciler.http.server_protocol import ServedRequest, ServedResponse
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.status.tell import Status
from reconciler.watch.journal import Journal
from reconciler.watch.journal_reader import CURRENT, latest_events
from reconciler.watch.live_page import is_asked_for_itself
from reconciler.watch.live_state import state_json, told_events
from reconciler.watch.metrics_server import ServedMetrics
from tests.fakes.clock import Clock
from tests.fakes.reports import FRONT, made, report
from tests.waiting import until


class Looked:
    """A watcher that passes are told to, and who looks at its page."""

    def __init__(self, folder: Path, address: ListenAddress) -> None:
        self.clock = Clock()
        self.settings = Settings(host="alpha", state_dir=folder / "state", status_dir=folder / "state" / "status")
        self.metrics = ServedMetrics(address, 600, self.settings, self.clock)

    def passed(self, found: Report) -> None:
        Status(self.settings).told(found)
        Journal(self.settings.state_dir).record(found)
        self.metrics.passed(found, 0.1, is_drift=False)

    def get(self, path: str, *, method: str = "GET", **headers: str) -> ServedResponse:
        return self.metrics.answer(ServedRequest(method, path, {"host": "localhost:1", **headers}))

    def drawn(self) -> ServedResponse:
        """Give the drawing when nobody draws any more: its tag is told a moment before."""
        found = until(lambda: answer if (answer := self.get("/drawing.json")).status is HTTPStatus.OK else None)
        assert found is not None
        return found

    def state(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.get("/state.json").body)
        return found


@pytest.fixture
def looked(tmp_path: Path) -> Iterator[Looked]:
    found = Looked(tmp_path, ListenAddress(unix=tmp_path / "m"))
    yield found
    found.metrics.close()


def test_the_drawing_comes_when_it_is_made_and_again_when_something_is_other(looked: Looked) -> None:
    assert looked.get("/drawing.json").status is HTTPStatus.ACCEPTED, "no pass has ended"
    looked.passed(report(made()))
    drawn = looked.drawn()
    told = json.loads(drawn.body)
    assert [one["name"] for one in told["attachments"]] == ["web"]
    first = looked.state()["drawing"]

    tag = dict(drawn.headers)["ETag"]
    assert first == tag
    looked.passed(report())
    assert looked.get("/drawing.json", **{"if-none-match": tag}).status is HTTPStatus.NOT_MODIFIED
    looked.passed(report(networks=("front", "back")))
    until(lambda: looked.state()["drawing"] not in (first, ""))
    assert [one["name"] for one in json.loads(looked.drawn().body)["networks"]] == ["back", "front"]


def test_states_say_what_is_ready_what_is_not_and_what_happened(looked: Looked) -> None:
    looked.passed(report(made()))
    state = looked.state()
    assert (state["isWell"], state["health"]) == (True, "fine")
    assert [(name, one["state"]) for name, one in state["networks"].items()] == [("front", "ready")]
    assert state["attachments"] == {}
    assert [(event["event"], event["units"], event["count"]) for event in state["events"]] == [("applied", "front", 1)]

    looked.passed(report(problems=((FRONT, NameConflict("br-front is not ours")),)))
    state = looked.state()
    front = state["networks"]["front"]
    assert (front["state"], front["reason"], front["message"]) == (
        "stalled",
        "OwnershipConflict",
        "br-front is not ours",
    )
    assert state["attachments"]["web"]["state"] == "stalled", "it needs the network"
    assert state["events"][0]["event"] == "failed"
    looked.drawn()  # the drawing's tag is one of the states
    tag = dict(looked.get("/state.json").headers)["ETag"]
    assert looked.get("/state.json", **{"if-none-match": tag}).status is HTTPStatus.NOT_MODIFIED


def test_the_page_is_kept_for_a_minute_after_a_look(looked: Looked) -> None:
    page = looked.get("/")
    headers = dict(page.headers)
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    looked.clock.now_s += 30
    looked.metrics.beat()
    assert looked.metrics._page is not None
    looked.clock.now_s += 40
    looked.metrics.beat()
    assert looked.metrics._page is None


def test_it_is_read_only_and_for_who_means_this_machine(tmp_path: Path) -> None:
    found = Looked(tmp_path, ListenAddress(host="127.0.0.1", port=0))
    try:
        assert found.get("/", method="POST").status is HTTPStatus.METHOD_NOT_ALLOWED
        assert found.get("/", host="evil.example:9199").status is HTTPStatus.MISDIRECTED_REQUEST
        assert found.get("/state.json", host="evil.example").status is HTTPStatus.MISDIRECTED_REQUEST
        assert found.get("/", host="alpha:9199").status is HTTPStatus.OK
        assert found.get("/metrics", host="evil.example").status is HTTPStatus.OK, "figures are for whoever scrapes"
    finally:
        found.metrics.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9199", "[::1]", "[::1]:9199", "LocalHost:1", "alpha", "10.0.0.1:80"]
)
def test_addresses_and_own_names_mean_this_machine(host: str) -> None:
    assert is_asked_for_itself(host, "alpha")


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "[evil]"]
)
def test_other_names_do_not(host: str) -> None:
    assert not is_asked_for_itself(host, "alpha")


def test_the_last_events_are_whole_ones(tmp_path: Path) -> None:
    assert latest_events(tmp_path, 100) == []
    lines = [
        json.dumps({"time": f"t{number // 4}", "event": "applied", "network": f"n{number}"}) for number in range(40)
    ]
    (tmp_path / CURRENT).write_text("\n".join(lines) + '\n{"time": "half')

    assert [event["network"] for event in latest_events(tmp_path, 1 << 16)] == [f"n{number}" for number in range(40)]
    some = latest_events(tmp_path, 200)
    assert [event["network"] for event in some] == [f"n{number}" for number in range(40 - len(some), 40)]
    assert 1 <= len(some) <= 4
    told = list(told_events(latest_events(tmp_path, 1 << 16)))
    assert [(event["time"], event["units"], event["count"]) for event in told[:2]] == [
        ("t9", "n36, n37, n38, n39", 4),
        ("t8", "n32, n33, n34, n35", 4),
    ]


def test_half_of_a_pair_in_the_files_keeps_no_state_from_who_looks(tmp_path: Path) -> None:
    """UTF-8 cannot say it: all who looked at the page were told of an error."""
    (tmp_path / "summary.json").write_text('{"specFaults": ["a\\udc80b"]}')

    told = json.loads(state_json(tmp_path, tmp_path, is_well=True, reason="", drawing=""))

    assert told["faults"] == ["a\udc80b"]
