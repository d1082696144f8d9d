"""As test_faults, with others beside us: plugins for networks and addresses, a container engine. What they keep counts too."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.command_line import Reconcile
from tests.fakes.scripted_engine import CONTAINER_ID, answer, container, scripted_engine
from tests.fakes.scripted_ipam import ScriptedIpam
from tests.fakes.scripted_plugin import ScriptedPlugin
from tests.faults.inject import FAULTS
from tests.faults.scenes import EACH, Host, Point
from tests.faults.trying import parts, try_part
from tests.kernel.reference_plugin import SOCKETS, ReferencePlugin, reference_plugin
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.long]

TOLD: Final = EACH | {"store commit", "netlink change", "nft transaction", "namespace or mount"}
"""What stands between two calls to a plugin. Files are the same with plugins and without."""

FAREWELLS: Final = ("Leave", "DeleteEndpoint", "DeleteNetwork", "RevokeExternal", "ReleaseAddress", "ReleasePool")

JOINING: Final = FAULTS.keys() - {"file opened to read", "netlink question", "nft listing"}
"""What is there to look at is the same with containers and without."""

PLUGGED = """
networks:
  fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}
  leased: {ipam: {driver: books, config: [{subnet: 10.90.0.0/24, gateway: 10.90.0.254}]}}
attachments:
  left: {networks: {fabric: {ipv4_address: 10.70.0.10}, leased: {ipv4_address: 10.90.0.9}}}
  right: {networks: {fabric: {ipv4_address: 10.70.0.11}}}
"""


class _Books(ScriptedIpam):
    """As others: a pool may be asked for again by whoever never heard that it was given."""

    def request_pool(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self.pools.pop(f"{asked['AddressSpace']}/{asked['Pool']}", None)
        return super().request_pool(asked)


@pytest.fixture
def books() -> Iterator[ScriptedIpam]:
    made = _Books()
    with ScriptedPlugin(answers=made.answers()).serving(SOCKETS / "books.sock"):
        yield made


@pytest.fixture
def plugin(machine: Machine, uplink: str, tmp_path: Path) -> Iterator[ReferencePlugin]:
    with reference_plugin(machine, "H", tmp_path / "calls") as made:
        yield made


@parts(2)
def test_plugins(reconcile: Reconcile, plugin: ReferencePlugin, books: ScriptedIpam, part: int) -> None:
    def kept() -> dict[str, Any]:
        state = plugin.log.with_suffix(".state")
        return {
            "plugin": json.loads(state.read_text()) if state.exists() else {"networks": {}, "endpoints": {}},
            "addresses": {pool: sorted(taken) for pool, taken in books.taken.items() if taken},
            "pools": dict(books.pools),
        }

    host = Host(reconcile=reconcile, sandboxes=("left", "right"), beside=kept, without_chance=_without_chance)

    circle = host.there_and_back(PLUGGED, ("plugins told", "plugins told of the end"), TOLD)
    try_part("plugins", replace(circle, is_tried=_is_no_refused_farewell), part)


def _is_no_refused_farewell(point: Point) -> bool:
    """What a plugin refuses to give back stays with it and goes here, as with engines (tests/kernel/test_plugin_misbehaving)."""
    return point.fault != "answered 500" or not any(name in point.call.what for name in FAREWELLS)


def _without_chance(look: dict[str, Any]) -> dict[str, Any]:
    """A plugin's links have MACs by chance, and are known by number; what it says of an endpoint is asked for once."""
    links = look["shape"]["H"]["links"]
    look["shape"]["H"]["links"] = [(*link[:4], "", *link[5:]) if link[0].startswith("ref-") else link for link in links]
    for record in look["records"].values():
        for member, name in (("told", "inode"), ("answer", "src_index"), ("answer", "info")):
            record.get(member, {}).pop(name, None)
    return look


JOINED = """
networks: {net: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}
attachments:
  web: {sandbox: {container: web}, hostname: www, networks: {net: {ipv4_address: 10.1.0.10}}, ports: ["8080:80"]}
  box: {networks: {net: {ipv4_address: 10.1.0.30}}}
"""


@pytest.fixture
def web(machine: Machine, uplink: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A container as its engine describes it: the socket, and the folder of its files. Its namespace is known as "web" to tests."""
    machine.add_namespace("web")
    folder = tmp_path / CONTAINER_ID
    folder.mkdir()
    for name in ("hosts", "resolv.conf"):
        (folder / name).write_text(f"# the engine's {name}\n")
    process = subprocess.Popen(["ip", "netns", "exec", "web", "sleep", "600"])
    paths = {"HostsPath": str(folder / "hosts"), "ResolvConfPath": str(folder / "resolv.conf")}
    described = answer(container(process.pid, **paths))
    try:
        inside = os.stat(machine.path("web")).st_ino
        assert eventually(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == inside)
        with scripted_engine(tmp_path / "engine", lambda connection, _: connection.sendall(described)):
            yield f"unix://{tmp_path / 'engine'}", folder
    finally:
        process.kill()
        process.wait()


@parts(3)
def test_containers(reconcile: Reconcile, web: tuple[str, Path], part: int) -> None:
    engine, folder = web

    def kept() -> dict[str, Any]:
        files = {path.name: (path.read_text(), path.stat().st_mode) for path in sorted(folder.iterdir())}
        return {"files": files, "links": reconcile.machine.links("web")}

    host = Host(reconcile=reconcile, sandboxes=("web", "box"), options=("--container-engine", engine), beside=kept)

    try_part("containers", host.there_and_back(JOINED, ("container joined", "container left"), JOINING), part)
