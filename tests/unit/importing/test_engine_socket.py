"""Engines that hang, flood, lie or lose a container meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ContainerEngineError
from reconciler.importing.engine_socket import read_engine
from tests.fakes.scripted_engine import Script, answer, container, hang, saying, scripted_engine

BLUE = {"Name": "blue", "Id": "b" * 64, "Driver": "bridge", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}]}}
WEB = container(1, NetworkSettings={"Networks": {"none": {}}})
ANSWERS: dict[str, Any] = {
    "/version": {"Components": [{"Name": "Engine"}]},
    "/networks": [BLUE],
    "/containers/json?all=true": [{"Id": WEB["Id"]}, {"Id": "gone"}],
    f"/containers/{WEB['Id']}/json": WEB,
}


def engine(**changes: Any) -> Script:
    """Say what a good engine says, but for what `changes` has by the last word of a target."""

    def script(connection: socket.socket, target: str) -> None:
        said = changes.get(target.partition("?")[0].split("/")[1], ANSWERS.get(target))
        if callable(said):
            said(connection, target)
        else:
            connection.sendall(answer({}, "404 Not Found") if said is None else answer(said))

    return script


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.sock"


def test_networks_and_containers_are_read_without_one_that_went_meanwhile(path: Path) -> None:
    with scripted_engine(path, engine()):
        imported = read_engine(path, with_stopped=False)

    assert [each.name for each in imported.networks] == ["blue"]
    assert [each.name for each in imported.attachments] == ["web"]


def test_podman_is_asked_for_its_own_form_of_networks(path: Path) -> None:
    blue = {"name": "blue", "driver": "bridge", "subnets": [{"subnet": "10.1.0.0/24"}]}
    with scripted_engine(path, engine(version={"Components": [{"Name": "Podman Engine"}]}, **{"v4.0.0": [blue]})):
        imported = read_engine(path, with_stopped=False)

    assert [each.name for each in imported.networks] == ["blue"]
    assert [each.name for each in imported.attachments] == ["web"]


def test_a_container_of_which_nonsense_is_said_is_named_and_the_rest_imported(path: Path) -> None:
    answers = {**ANSWERS, f"/containers/{WEB['Id']}/json": b"[]"}

    def script(connection: socket.socket, target: str) -> None:
        connection.sendall(answer(answers.get(target), "200 OK" if target in answers else "500 Internal Server Error"))

    with scripted_engine(path, script):
        imported = read_engine(path, with_stopped=False)

    assert [each.name for each in imported.networks] == ["blue"]
    whys = {each.where: each.why for each in imported.not_carried}
    assert "not a JSON object" in whys["container 0123456789ab"]
    assert "the engine answers 500" in whys["container gone"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(hang, "no answer within 0.2 s; look after the container engine", id="hangs"),
        pytest.param(engine(networks=hang), "no answer within 0.2 s", id="hangs-later"),
        pytest.param(engine(version=saying(answer(b" " * (33 << 20)))), "over 33554432 bytes", id="floods"),
        pytest.param(engine(networks={"blue": BLUE}), "what the engine says to /networks is no list", id="no-list"),
        pytest.param(engine(containers=[{"Id": "a"}] * 10_001), "has 10001 containers, more than 10000", id="crowd"),
        pytest.param(engine(version=b"hello"), "what the engine says to /version is not JSON", id="no-json"),
        pytest.param(saying(b"220 smtp.example.com\r\n"), "no answer of a container engine", id="no-http"),
        pytest.param(
            saying(answer({}, "403 Forbidden")), "the engine answers 403 when asked for /version", id="refuses"
        ),
    ],
)
def test_an_engine_that_is_none_or_does_not_answer_is_an_error(path: Path, script: Script, said: str) -> None:
    with scripted_engine(path, script), pytest.raises(ContainerEngineError, match=said):
        read_engine(path, with_stopped=False, timeout_s=0.2 if "answer within" in said else 10)


def test_an_engine_that_is_not_there_is_an_error_that_says_how_to_name_another(path: Path) -> None:
    with pytest.raises(
        ContainerEngineError, match=r"no container engine answers at .* name its socket with --container-engine"
    ):
        read_engine(path, with_stopped=False)
