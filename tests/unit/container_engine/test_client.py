"""What is made of an engine's answers, good, bad and absent."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from reconciler.container_engine.client import ContainerEngine
from reconciler.container_engine.exchange import ANSWER_BYTES_MAX, ask
from reconciler.container_engine.inspection import inspect_target
from reconciler.errors import ContainerEngineError
from reconciler.http.client_protocol import Response
from reconciler.kernel.processes import process_ref
from reconciler.model.containers import Container, ContainerAnswer, NoContainer
from tests.fakes.scripted_engine import CONTAINER_ID, answer, container, hang, saying, scripted_engine
from tests.waiting import patient


def found(tmp_path: Path, message: bytes) -> ContainerAnswer:
    """Ask an engine that answers so for the container `web`."""
    with scripted_engine(tmp_path / "engine", saying(message)):
        return ContainerEngine(tmp_path / "engine").find(["web"])["web"]


def test_running_container_without_network_is_found_with_its_process_and_files(tmp_path: Path) -> None:
    folder = f"/var/lib/docker/containers/{CONTAINER_ID}"

    assert found(tmp_path, answer(container(os.getpid()))) == Container(
        id=CONTAINER_ID,
        process=process_ref(os.getpid()),
        files=(("hosts", f"{folder}/hosts"), ("resolv.conf", f"{folder}/resolv.conf")),
    )


@pytest.mark.parametrize(
    ("name", "is_found"),
    [("db", False), (CONTAINER_ID[:11], False), (CONTAINER_ID[:12], True), (CONTAINER_ID, True)],
    ids=["a name that is no container's", "too short for an id", "short id", "id"],
)
def test_container_whose_id_begins_as_a_name_is_another_one(tmp_path: Path, name: str, is_found: bool) -> None:
    with scripted_engine(tmp_path / "engine", saying(answer(container(os.getpid())))):
        answered = ContainerEngine(tmp_path / "engine").find([name])[name]

    assert isinstance(answered, Container) is is_found


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param({"State": {"Running": False, "Pid": 0}}, "is not running", id="stopped"),
        pytest.param({"State": {"Running": True, "Pid": 0}}, "is not running", id="restarting"),
        pytest.param({"State": None}, "is not running", id="without a state"),
        pytest.param({"HostConfig": {"NetworkMode": "bridge"}}, "network mode 'bridge'", id="bridge"),
        pytest.param({"HostConfig": {"NetworkMode": "\x1b[2J" + "x" * 10_000}}, r"network mode '\x1b", id="rude mode"),
        pytest.param({"HostConfig": []}, "network mode None", id="without a mode"),
        pytest.param({"Id": "../../etc"}, "the id '../../etc'", id="id is a path"),
        pytest.param({"Id": 7}, "the id 7", id="id is a number"),
        pytest.param({"State": {"Running": True, "Pid": "1"}}, "process id '1'", id="pid is text"),
        pytest.param({"State": {"Running": True, "Pid": True}}, "process id True", id="pid is a truth"),
        pytest.param({"State": {"Running": True, "Pid": -1}}, "process id -1", id="negative pid"),
        pytest.param({"State": {"Running": True, "Pid": 1 << 40}}, "process id 1099511627776", id="huge pid"),
        pytest.param({"State": {"Running": True, "Pid": (1 << 22) - 1}}, "has ended", id="no such process"),
    ],
)
def test_container_that_cannot_be_joined_is_explained_in_one_short_line(
    tmp_path: Path, state: dict[str, Any], words: str
) -> None:
    answered = found(tmp_path, answer(container(os.getpid(), **state)))

    assert isinstance(answered, NoContainer)
    assert words in answered.reason
    assert len(answered.reason) < 500
    assert answered.reason.isprintable()
    assert answered.may_come == ("network mode" not in words)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hosts",
        f"/var/lib/docker/containers/{CONTAINER_ID}/../../../../etc/hosts",
        f"var/lib/docker/containers/{CONTAINER_ID}/hosts",
        f"/var/lib/docker/containers/{CONTAINER_ID}/shadow",
        f"/srv/{CONTAINER_ID}-hosts/hosts",
        f"/{CONTAINER_ID}/\0/hosts",
        "",
        None,
        7,
    ],
)
def test_file_outside_of_the_containers_folder_is_none_of_its_engines(tmp_path: Path, path: object) -> None:
    answered = found(tmp_path, answer(container(os.getpid(), HostsPath=path)))

    assert isinstance(answered, Container)
    assert [name for name, _ in answered.files] == ["resolv.conf"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        pytest.param(b"", "no answer of a container engine", id="hangs up"),
        pytest.param(b"220 smtp.example.com ESMTP\r\n", "no answer of a container engine", id="mail server"),
        pytest.param(answer(container(1))[:-20], "is not JSON", id="hangs up in the middle"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "no answer of a container engine", id="less than said"
        ),
        pytest.param(answer(b"{'"), "is not JSON", id="no JSON"),
        pytest.param(answer(b"[" * 200_000), "is not JSON", id="deep JSON"),
        pytest.param(answer(b"\xff\xfe\xff"), "is not JSON", id="no text"),
        pytest.param(answer([]), "is not a JSON object", id="list"),
        pytest.param(answer({"message": "boom"}, "500 Internal Server Error"), "answers 500", id="trouble"),
        pytest.param(answer({"message": "?"}, "404 Not Found"), "has no container web", id="not found"),
        pytest.param(b"HTTP/1.0 200 OK\r\n" + b"A: b\r\n" * 10_000, "no answer of a container engine", id="headers"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (ANSWER_BYTES_MAX + 1), "bytes; this is no", id="100 MB"),
    ],
)
def test_answer_that_makes_no_sense_is_explained(tmp_path: Path, message: bytes, words: str) -> None:
    answered = found(tmp_path, message)

    assert isinstance(answered, NoContainer)
    assert words in answered.reason


def test_endless_answer_is_not_held_in_memory(tmp_path: Path) -> None:
    sent = 0

    def flood(connection: socket.socket, _: str) -> None:
        nonlocal sent
        connection.sendall(answer(b""))
        while True:
            sent += connection.send(b" " * 65536)

    with scripted_engine(tmp_path / "engine", flood):
        [answered] = ask(tmp_path / "engine", ["/"], 30)

    assert isinstance(answered, ContainerEngineError)
    assert sent < 4 * ANSWER_BYTES_MAX


def test_one_answer_that_does_not_come_holds_up_no_other(tmp_path: Path) -> None:
    release = threading.Event()

    def script(connection: socket.socket, target: str) -> None:
        if target == "/slow":
            release.wait(patient(30))
        connection.sendall(answer(target.encode()))

    targets = [*(f"/{number}" for number in range(20)), "/slow", *(f"/{number}" for number in range(20))]
    with scripted_engine(tmp_path / "engine", script):
        answers = ask(tmp_path / "engine", targets, 3)
        release.set()

    assert isinstance(answers[20], ContainerEngineError)
    assert [reply.body.decode() for reply in answers if isinstance(reply, Response)] == targets[:20] + targets[21:]


def test_engine_that_hangs_is_given_up(tmp_path: Path) -> None:
    with scripted_engine(tmp_path / "engine", hang):
        answers = ask(tmp_path / "engine", ["/"] * 40, 0.2)

    assert {str(each) for each in answers} == {
        f"{tmp_path}/engine: no answer within 0.2 s; look after the container engine there"
    }


def test_engine_that_drips_is_given_up(tmp_path: Path) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _: str) -> None:
        while not stop.wait(0.02):
            connection.sendall(b"H")

    with scripted_engine(tmp_path / "engine", drip):
        [answered] = ask(tmp_path / "engine", ["/"], 0.3)
        stop.set()

    assert isinstance(answered, ContainerEngineError)


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "socket without a server"])
def test_socket_that_nobody_listens_at_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "engine"
    match kind:
        case "file":
            path.touch()
        case "folder":
            path.mkdir()
        case "socket without a server":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))

    answered = ContainerEngine(path).find(["web", "db"])

    assert {name: isinstance(each, NoContainer) for name, each in answered.items()} == {"web": True, "db": True}
    reasons = {each.reason for each in answered.values() if isinstance(each, NoContainer)}
    assert all(str(path) in reason and "--container-engine" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("web", "/containers/web/json"),
        ("../../images", "/containers/..%2F..%2Fimages/json"),
        ("a b\r\nHost: x", "/containers/a%20b%0D%0AHost%3A%20x/json"),
        ("?all=1", "/containers/%3Fall%3D1/json"),
    ],
)
def test_name_stays_one_part_of_the_target(name: str, target: str) -> None:
    assert inspect_target(name) == target
