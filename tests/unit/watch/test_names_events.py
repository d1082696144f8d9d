"""The end of the name server is told, also when it came before anybody watched."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.dns import control
from reconciler.watch.names_events import NamesEvents
from reconciler.watch.source import Watched
from tests.waiting import is_readable


@pytest.fixture
def events(tmp_path: Path) -> Iterator[NamesEvents]:
    """Zones are published, no server lives."""
    folder = control.folder(tmp_path)
    folder.mkdir()
    (folder / control.ZONES_FILE).write_text("{}")
    with closing(NamesEvents(tmp_path)) as made:
        yield made


def ended_process() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_server_that_ended_between_the_look_and_the_watch_is_told_at_once_and_once(events: NamesEvents) -> None:
    assert events.arm(Watched(name_server=ended_process())).is_other

    assert not is_readable(events, 0)


def test_server_that_is_another_by_now_is_told_at_once(events: NamesEvents) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:  # lives, and is not what answers in the folder
        assert events.arm(Watched(name_server=process.pid)).is_other
        process.kill()
        assert is_readable(events, 10)


def test_no_server_was_seen_and_nothing_is_told(events: NamesEvents) -> None:
    assert not events.arm(Watched())

    assert not is_readable(events, 0)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    events = NamesEvents(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as process:
        events.arm(Watched(name_server=process.pid))
        process.send_signal(signal.SIGKILL)
    events.close()

    assert len(os.listdir("/proc/self/fd")) == before
