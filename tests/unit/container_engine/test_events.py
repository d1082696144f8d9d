"""What an engine tells as it happens."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from reconciler.container_engine.events import ContainerEvent, EventStream
from reconciler.errors import ContainerEngineError
from tests.fakes.scripted_engine import CONTAINER_ID, answer, hang, saying, scripted_engine
from tests.waiting import eventually, patient


def event(action: str, **attributes: str) -> bytes:
    actor = {"ID": CONTAINER_ID, "Attributes": {"name": "web", **attributes}}
    return json.dumps({"Type": "container", "Action": action, "Actor": actor}).encode() + b"\n"


def in_chunks(*pieces: bytes) -> bytes:
    """As engines answer HTTP/1.1; the answer goes on."""
    chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


@contextmanager
def stream(tmp_path: Path, message: bytes) -> Iterator[EventStream]:
    """Listen to an engine that says this, then nothing more until the block ends."""
    end = threading.Event()

    def script(connection: socket.socket, _: str) -> None:
        connection.sendall(message)
        end.wait(patient(30))

    with scripted_engine(tmp_path / "engine", script):
        try:
            with closing(EventStream(tmp_path / "engine", 5)) as opened:
                yield opened
        finally:
            end.set()


def told(opened: EventStream, count: int) -> list[ContainerEvent]:
    found: list[ContainerEvent] = []
    assert eventually(lambda: found.extend(opened.read()) or len(found) >= count)
    return found


@pytest.mark.parametrize(
    "message", [answer, lambda lines: in_chunks(*(lines[at : at + 40] for at in range(0, len(lines), 40)))]
)
def test_events_of_containers_are_told_with_all_their_names(tmp_path: Path, message: Callable[[bytes], bytes]) -> None:
    lines = event("start") + event("exec_start: sh") + event("health_status: healthy") + event("rename", oldName="/db")
    with stream(tmp_path, message(lines)) as opened:
        assert told(opened, 2) == [
            ContainerEvent(id=CONTAINER_ID, names=frozenset({"web"})),
            ContainerEvent(id=CONTAINER_ID, names=frozenset({"web", "db"})),
        ]


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    rude = (b"{", b"[]", b"7", b"\xff", b"", b"[" * 100_000, b'{"Action": 7}', b'{"Action": "start", "Actor": []}')
    with stream(tmp_path, answer(b"\n".join(rude) + b"\n" + event("die"))) as opened:
        assert told(opened, 1) == [ContainerEvent(id=CONTAINER_ID, names=frozenset({"web"}))]


@pytest.mark.parametrize(
    ("name", "is_concerned"),
    [("web", True), ("we", False), (CONTAINER_ID[:12], True), (CONTAINER_ID, True), (CONTAINER_ID[1:12], False)],
)
def test_event_concerns_the_name_and_the_beginning_of_the_id(name: str, is_concerned: bool) -> None:
    assert ContainerEvent(id=CONTAINER_ID, names=frozenset({"web"})).concerns(name) is is_concerned


def test_line_without_an_end_is_not_held_in_memory(tmp_path: Path) -> None:
    with stream(tmp_path, answer(b"x" * (3 << 20))) as opened, pytest.raises(ContainerEngineError, match="this is no"):
        told(opened, 1)


@pytest.mark.parametrize(
    "message",
    [answer(event("start")), in_chunks(event("start")), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ids=["end", "cut", "nothing will come"],
)
def test_end_of_the_engine_is_told(tmp_path: Path, message: bytes) -> None:
    with (
        scripted_engine(tmp_path / "engine", saying(message)),
        closing(EventStream(tmp_path / "engine", 5)) as opened,
        pytest.raises(ContainerEngineError, match="hung up"),
    ):
        told(opened, 2)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        pytest.param(b"", "hung up", id="hangs up"),
        pytest.param(b"x" * 200_000, "no answer of a container engine", id="no head"),
        pytest.param(b"SSH-2.0\r\n\r\n", "no answer of a container engine", id="another service"),
        pytest.param(answer(b"", "500 Internal Server Error"), "answers 500", id="trouble"),
        pytest.param(b"HTTP/1.1 500 ?\r\nContent-Length: 0\r\n\r\n", "answers 500", id="trouble without words"),
    ],
)
def test_engine_that_does_not_begin_well_is_explained(tmp_path: Path, message: bytes, words: str) -> None:
    with (
        scripted_engine(tmp_path / "engine", saying(message)),
        pytest.raises(ContainerEngineError, match=words),
    ):
        EventStream(tmp_path / "engine", 5)


def test_engine_that_does_not_begin_at_all_is_given_up(tmp_path: Path) -> None:
    with scripted_engine(tmp_path / "engine", hang), pytest.raises(ContainerEngineError, match="in time"):
        EventStream(tmp_path / "engine", 0.2)
