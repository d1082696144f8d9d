"""The thread that follows an engine: what it knows, when it tells, and that nobody waits for it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.container_engine.client import ContainerEngine
from reconciler.model.containers import Container, NoContainer
from reconciler.watch import container_events
from reconciler.watch.container_events import ContainerEvents
from reconciler.watch.source import Watched
from tests.fakes.scripted_engine import CONTAINER_ID, answer, container, hang, scripted_engine
from tests.waiting import eventually, patient


@dataclass
class Told:
    """An engine that knows `containers` by name, and tells of them. hanging: names whose description never comes."""

    containers: dict[str, int] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    listeners: list[socket.socket] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def script(self, connection: socket.socket, target: str) -> None:
        if target.startswith("/events"):
            self.listeners.append(connection)  # who has the answer may be told at once
            connection.sendall(answer(b""))
            self.is_over.wait(patient(60))
        else:
            self.describe(connection, target.split("/")[2])

    def describe(self, connection: socket.socket, name: str) -> None:
        self.asked.append(name)
        if name in self.hanging:
            hang(connection, name)
        elif name in self.containers:
            connection.sendall(answer(container(self.containers[name], Name=f"/{name}")))
        else:
            connection.sendall(answer({}, "404 Not Found"))

    def tell(self, action: str, name: str) -> None:
        actor = {"ID": CONTAINER_ID, "Attributes": {"name": name}}
        for listener in self.listeners:
            listener.sendall(json.dumps({"Action": action, "Actor": actor}).encode() + b"\n")


@pytest.fixture
def engine() -> Iterator[Told]:
    made = Told()
    yield made
    made.is_over.set()


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ContainerEvents]:
    monkeypatch.setattr(container_events, "ANSWER_WAIT_S", patient(10))
    with closing(ContainerEvents(ContainerEngine(tmp_path / "engine"))) as made:
        yield made


def is_readable(events: ContainerEvents) -> bool:
    return bool(select.select([events], [], [], 0)[0])


def process(answered: object) -> str:
    assert isinstance(answered, Container)
    return answered.process


def test_first_answer_is_waited_for_and_not_told_again(tmp_path: Path, engine: Told, events: ContainerEvents) -> None:
    engine.containers = {"web": os.getpid()}
    with scripted_engine(tmp_path / "engine", engine.script):
        assert isinstance(events.find(["web"])["web"], Container)
        assert not events.drain()


def test_container_that_starts_is_told(tmp_path: Path, engine: Told, events: ContainerEvents) -> None:
    with scripted_engine(tmp_path / "engine", engine.script):
        assert isinstance(events.find(["web", "db"])["web"], NoContainer)
        events.drain()
        engine.containers["web"] = os.getpid()

        engine.tell("start", "web")

        assert eventually(lambda: is_readable(events))
        assert events.drain().containers == {"web"}
        assert isinstance(events.find(["web"])["web"], Container)
        assert not is_readable(events)


def test_event_that_changes_nothing_is_not_told(tmp_path: Path, engine: Told, events: ContainerEvents) -> None:
    engine.containers = {"web": os.getpid()}
    with scripted_engine(tmp_path / "engine", engine.script):
        events.find(["web"])
        events.drain()
        before = engine.asked.count("web")

        engine.tell("unpause", "web")
        engine.tell("start", "stranger")

        assert eventually(lambda: engine.asked.count("web") > before)
        assert "stranger" not in engine.asked
        events.find(["web"])
        assert not events.drain()


def test_container_that_was_renamed_is_told_although_only_its_new_name_is(
    tmp_path: Path, engine: Told, events: ContainerEvents
) -> None:
    engine.containers = {"web": os.getpid()}
    with scripted_engine(tmp_path / "engine", engine.script):
        assert isinstance(events.find(["web"])["web"], Container)
        del engine.containers["web"]

        engine.tell("rename", "retired")

        assert eventually(lambda: "web" in events.drain().containers)
        assert isinstance(events.find(["web"])["web"], NoContainer)


def test_engine_that_comes_late_is_found_and_all_is_asked_for(
    tmp_path: Path, engine: Told, events: ContainerEvents
) -> None:
    missing = events.find(["web"])["web"]
    assert isinstance(missing, NoContainer)
    assert str(tmp_path / "engine") in missing.reason
    events.drain()
    engine.containers = {"web": os.getpid()}

    with scripted_engine(tmp_path / "engine", engine.script):
        assert eventually(lambda: "web" in events.drain().containers, 10)

        assert isinstance(events.find(["web"])["web"], Container)


def test_what_was_known_outlasts_the_engine_and_is_asked_for_again(
    tmp_path: Path, engine: Told, events: ContainerEvents
) -> None:
    engine.containers = {"web": os.getpid()}
    with scripted_engine(tmp_path / "engine", engine.script):
        known = events.find(["web"])["web"]
        engine.is_over.set()
    assert events.find(["web"])["web"] == known
    other = subprocess.Popen(["sleep", "60"])
    try:
        again = Told(containers={"web": other.pid})
        with scripted_engine(tmp_path / "engine", again.script):
            assert eventually(lambda: "web" in events.drain().containers, 10)
            assert process(events.find(["web"])["web"]) != process(known)
            again.is_over.set()
    finally:
        other.kill()
        other.wait()


@pytest.fixture
def soon(events: ContainerEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come is not waited for long."""
    monkeypatch.setattr(container_events, "ANSWER_WAIT_S", 0.5)


@pytest.mark.usefixtures("soon")
def test_nobody_waits_twice_for_an_engine_that_hangs(tmp_path: Path, events: ContainerEvents) -> None:
    with scripted_engine(tmp_path / "engine", hang):
        for number in range(200):  # at half a second each this would take too long for any test
            assert isinstance(events.find([f"c{number}"])[f"c{number}"], NoContainer)


@pytest.mark.usefixtures("soon")
def test_container_whose_description_does_not_come_holds_up_no_other(
    tmp_path: Path, engine: Told, events: ContainerEvents
) -> None:
    engine.containers, engine.hanging = {"web": os.getpid(), "stuck": os.getpid()}, {"stuck"}
    with scripted_engine(tmp_path / "engine", engine.script):
        events.find(["stuck", "web"])
        assert eventually(lambda: isinstance(events.find(["web"])["web"], Container), 10)
        assert isinstance(events.find(["stuck"])["stuck"], NoContainer)
        engine.hanging.clear()

        assert eventually(lambda: isinstance(events.find(["stuck"])["stuck"], Container), 20)


def test_what_nobody_wants_any_more_is_not_asked_for(tmp_path: Path, engine: Told, events: ContainerEvents) -> None:
    engine.containers = {"web": os.getpid(), "db": os.getpid()}
    with scripted_engine(tmp_path / "engine", engine.script):
        events.find(["web", "db"])
        events.arm(Watched(containers=frozenset(["db"])))
        before = engine.asked.count("web")

        engine.tell("start", "web")
        engine.containers["db"] = os.getppid()
        engine.tell("start", "db")

        assert eventually(lambda: "db" in events.drain().containers)
        assert engine.asked.count("web") == before


def test_end_does_not_wait_for_an_engine_that_hangs(tmp_path: Path) -> None:
    with scripted_engine(tmp_path / "engine", hang):
        events = ContainerEvents(ContainerEngine(tmp_path / "engine"))
        events.find(["web"])

        events.close()
