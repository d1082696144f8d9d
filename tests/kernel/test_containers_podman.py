"""Podman's containers as sandboxes: what is different from Docker's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import Reconcile
from tests.container_engines.engines import ContainerEngine, Podman, running
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

NET = "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n"
WEB = "attachments: {web: {sandbox: {container: web}, hostname: www, networks: {net: {ipv4_address: 10.1.0.10}}}}\n"
DB = "attachments: {db: {sandbox: {container: db}, networks: {net: {ipv4_address: 10.1.0.20}}}}\n"
BOX = "attachments: {box: {networks: {net: {ipv4_address: 10.1.0.30}}}}\n"


@pytest.fixture(scope="module")
def podman() -> Iterator[ContainerEngine]:
    with running(Podman) as engine:
        yield engine


@pytest.fixture
def engine(podman: ContainerEngine) -> Iterator[ContainerEngine]:
    """Running, and without containers before and after."""
    yield podman
    podman.remove_containers()


@pytest.fixture
def watcher(reconcile: Reconcile) -> Iterator[None]:
    """At work already, with web, db and box declared."""
    reconcile.write(net=NET, web=WEB, db=DB, box=BOX)
    process = reconcile.start("-q", "watch")
    yield
    process.kill()
    process.wait()


def answers(machine: Machine, address: str) -> bool:
    return eventually(lambda: machine.ping("H", address, deadline_s=0.3), 20)


def test_container_is_joined_after_each_start_and_left_as_it_was(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine, tmp_path: Path
) -> None:
    """It gets our hosts file. Podman mounts no resolv.conf into a container without a network, so people do."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.11\n")
    forked.write(net=NET, web=WEB, box=BOX)
    engine.run("web", "--volume", f"{tmp_path}/resolv.conf:/etc/resolv.conf")
    before = engine.read("web", "/etc/hosts")

    for _ in range(2):
        forked.ok()
        assert answers(machine, "10.1.0.10")
        assert "10.1.0.10\twww\n" in engine.read("web", "/etc/hosts")
        assert " 0% packet loss" in engine.inside("web", "ping", "-c", "1", "box")
        assert forked.ok().writes == ()
        engine.cli("restart", "--time", "0", "web")
    forked.ok("down")
    assert engine.read("web", "/etc/hosts") == before


def test_containers_are_followed_through_restarts_of_themselves_and_of_the_service(
    engine: ContainerEngine, machine: Machine, watcher: None
) -> None:
    engine.run("web")
    assert answers(machine, "10.1.0.10")

    engine.run("db")
    assert answers(machine, "10.1.0.20")
    engine.cli("restart", "--time", "0", "web")
    assert answers(machine, "10.1.0.10")
    assert eventually(lambda: "10.1.0.10\twww\n" in engine.read("web", "/etc/hosts"), 20)
    engine.kill()
    assert answers(machine, "10.1.0.10")
    engine.start()
    engine.cli("rename", "web", "retired")
    engine.run("web")
    assert answers(machine, "10.1.0.10")
    assert eventually(lambda: engine.inside("retired", "ls", "/sys/class/net").split() == ["lo"], 20)
