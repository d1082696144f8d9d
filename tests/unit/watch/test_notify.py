"""What the service manager is told, and that nobody has to listen."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.errors import KvUnavailable, NameConflict, SpecError
from reconciler.model.plan import Action, Operation
from reconciler.watch import notify
from reconciler.watch.notify import ServiceListener, ServiceNotifier, status_line
from tests.fakes.reports import FRONT, FRONT_BRIDGE, report

CREATE = Operation(action=Action.CREATE, before=None, after=FRONT_BRIDGE, unit=FRONT)


class Manager:
    """Stands for systemd: takes messages at a socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def told(self) -> list[dict[str, str]]:
        """Give the messages that came since the last time."""
        messages = []
        while True:
            try:
                text = self._socket.recv(1 << 16).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@reconciler-test-{os.getpid()}")
    yield made
    made.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[ServiceNotifier]:
    made = ServiceNotifier.from_environment({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"})
    yield made
    made.close()


def test_first_pass_completes_the_start_and_later_ones_only_change_the_status(
    manager: Manager, notifier: ServiceNotifier
) -> None:
    listener = ServiceListener(notifier)

    listener.passed(report(), 0.1, is_drift=False)
    assert manager.told() == [{"READY": "1", "STATUS": "1 networks, 1 attachments, all as declared"}]
    listener.passed(report(networks=("back", "front")), 0.1, is_drift=False)
    assert manager.told() == [{"STATUS": "2 networks, 1 attachments, all as declared"}]


def test_the_same_status_is_told_once(manager: Manager, notifier: ServiceNotifier) -> None:
    listener = ServiceListener(notifier)
    listener.passed(report(), 0.1, is_drift=False)
    manager.told()

    listener.passed(report(), 0.1, is_drift=False)

    assert manager.told() == []


def test_start_is_not_complete_while_no_pass_is_possible(manager: Manager, notifier: ServiceNotifier) -> None:
    listener = ServiceListener(notifier)

    listener.failed(KvUnavailable("no store\nat all"))

    assert manager.told() == [{"STATUS": "no pass was possible: no store at all"}]


@pytest.mark.parametrize("is_possible", [True, False], ids=["pass", "no pass possible"])
def test_reload_says_when_it_began_and_ends_with_the_pass_after_it(
    manager: Manager, notifier: ServiceNotifier, is_possible: bool
) -> None:
    listener = ServiceListener(notifier)
    listener.passed(report(), 0.1, is_drift=False)
    manager.told()
    before = time.monotonic_ns() // 1000

    listener.reloading()
    if is_possible:
        listener.passed(report(), 0.1, is_drift=False)
    else:
        listener.failed(KvUnavailable("no store"))

    began, ended = manager.told()
    assert began["RELOADING"] == "1"
    assert before <= int(began["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert ended["READY"] == "1"


def test_watchdog_is_fed_at_half_its_time_however_often_the_loop_turns(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = ServiceNotifier(manager.address, watchdog_s=20)
    listener = ServiceListener(notifier)

    for now in range(1000, 1025):
        monkeypatch.setattr(notify, "time", SimpleNamespace(monotonic=lambda now=now: now))
        listener.beat()
    notifier.close()

    assert manager.told() == [{"WATCHDOG": "1"}] * 3


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}],
    ids=["none", "malformed", "of another process"],
)
def test_no_watchdog_without_one_of_ours(manager: Manager, environment: Mapping[str, str]) -> None:
    notifier = ServiceNotifier.from_environment({"NOTIFY_SOCKET": manager.address, **environment})

    notifier.watchdog()
    notifier.close()

    assert manager.told() == []


def test_a_long_start_asks_for_time_and_a_long_pass_later_only_feeds_the_watchdog(
    manager: Manager, notifier: ServiceNotifier
) -> None:
    listener = ServiceListener(notifier)

    for number in range(100):
        listener.progress(number, 100, CREATE)
    assert manager.told() == [
        {"WATCHDOG": "1"},
        {"EXTEND_TIMEOUT_USEC": "30000000"},
        {"STATUS": f"0 of 100: {CREATE.describe()}"},
    ]
    listener.passed(report(), 9.0, is_drift=False)
    manager.told()
    second = ServiceListener(notifier)
    second.passed(report(), 0.1, is_drift=False)
    manager.told()
    second.progress(1, 2, CREATE)
    assert [list(message) for message in manager.told()] == [["STATUS"]]


def test_stopping_is_told(manager: Manager, notifier: ServiceNotifier) -> None:
    ServiceListener(notifier).stopping()

    assert manager.told() == [{"STOPPING": "1"}]


@pytest.mark.parametrize(
    "address", ["", "relative", "/nowhere/at/all", "/" + 200 * "x", "@" + 200 * "x"], ids=lambda text: text[:12]
)
def test_nobody_has_to_listen(address: str) -> None:
    notifier = ServiceNotifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})

    notifier.ready("fine")
    notifier.watchdog()
    notifier.stopping()
    notifier.close()


def test_status_names_the_first_thing_in_the_way() -> None:
    fault = SpecError("a.yaml", 3, 1, "what is this?")

    line = status_line(report(problems=((FRONT, NameConflict("docker0 is somebody else's")),), faults=(fault,)))

    assert "1 fault in the specs, the first: a.yaml:3:1: what is this?" in line
    assert "1 not as declared, the first: network front: docker0 is somebody else's" in line


def test_status_cannot_smuggle_in_another_assignment(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.status("a\nMAINPID=1\nREADY=1")

    assert manager.told() == [{"STATUS": "a MAINPID=1 READY=1"}]
