"""The end of the name server is told, also when it came before anybody watched."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.dns import control
from reconciler.watch.names_events import NamesEvents


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


def is_readable(events: NamesEvents) -> bool:
    return bool(select.select([events], [], [], 0)[0])


def test_server_that_ended_between_the_look_and_the_watch_is_told_at_once_and_once(events: NamesEvents) -> None:
    events.watch(ended_process())
    assert is_readable(events)

    events.drain()

    assert not is_readable(events)


def test_server_that_is_another_by_now_is_told_at_once(events: NamesEvents) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:  # lives, and is not what answers in the folder
        events.watch(process.pid)
        assert is_readable(events)
        process.kill()


def test_no_server_was_seen_and_nothing_is_told(events: NamesEvents) -> None:
    events.watch(0)

    assert not is_readable(events)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    events = NamesEvents(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as process:
        events.watch(process.pid)
        process.send_signal(signal.SIGKILL)
    events.close()

    assert len(os.listdir("/proc/self/fd")) == before
