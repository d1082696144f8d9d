"""Podman's containers as sandboxes: what is different from Docker's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model.wanted import NetworkMode
from reconciler.spec.load import load_specs
from tests.command_line import Reconcile
from tests.container_engines.engines import IMAGE, ContainerEngine, Podman, running
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


def test_networks_and_containers_of_an_engine_are_imported(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    blue = "--subnet=10.5.0.0/24 --ip-range=10.5.0.128/25 --gateway=10.5.0.1 --opt=mtu=1400 --label=team=blue"
    engine.cli("network", "create", *blue.split(), "blue")
    engine.cli("network", "create", "--internal", "--ipv6", "--subnet=fd00:6::/64", "inner")
    options = ("--network=blue:alias=www", "--publish=8080:80", "--dns=192.0.2.53", *engine.run_options)
    engine.cli("create", "--name=web", *options, IMAGE, "/bin/busybox")
    engine.run("alone")

    imported = forked.ok("import", "podman", "--all", "--output", str(forked.specs))

    assert "not carried: the engine's part in the networks of 1 container:" in imported.stderr
    specs = load_specs(forked.specs, host="here")
    networks = {each.name: each for each in specs.wanted.networks}
    (pool,) = networks["blue"].subnets
    assert (str(pool.subnet), str(pool.ip_range), str(pool.gateway)) == ("10.5.0.0/24", "10.5.0.128/25", "10.5.0.1")
    assert networks["blue"].labels == (("team", "blue"),)
    assert networks["inner"].is_internal
    assert {str(pool.subnet) for pool in networks["inner"].subnets} == {"fd00:6::/64", "10.89.0.0/24"}
    attachments = {each.name: each for each in specs.wanted.attachments}
    assert attachments["alone"].mode is NetworkMode.NONE
    (endpoint,) = attachments["web"].endpoints
    assert (endpoint.network, endpoint.aliases) == ("blue", ("www",))
    assert [str(server) for server in attachments["web"].dns] == ["192.0.2.53"]

    engine.cli("rm", "web")
    engine.run("web")
    forked.ok()
    assert " 0% packet loss" in engine.inside("web", "ping", "-c", "1", "10.5.0.1")
    assert "mtu 1400" in engine.inside("web", "ip", "link", "show", "eth0")
    assert forked.ok("--dry-run", "--detailed-exitcode").writes == ()
