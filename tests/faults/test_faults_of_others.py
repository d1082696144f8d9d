"""As test_faults, with others beside us: plugins for networks and addresses, a container engine. What they keep counts too."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.command_line import Reconcile
from tests.fakes.scripted_engine import CONTAINER_ID, answer, container, scripted_engine
from tests.fakes.scripted_ipam import ScriptedIpam
from tests.fakes.scripted_plugin import ScriptedPlugin
from tests.faults.inject import FAULTS
from tests.faults.scenes import EACH, Host, Point
from tests.faults.trying import parts, try_part, try_part_watched
from tests.faults.watched import Move, Round, to_specs, watching
from tests.kernel.reference_plugin import SOCKETS, ReferencePlugin, reference_plugin
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.long]

TOLD: Final = EACH | {"store commit", "netlink change", "nft transaction", "namespace or mount"}
"""What stands between two calls to a plugin. Files are the same with plugins and without."""

FAREWELLS: Final = ("Leave", "DeleteEndpoint", "DeleteNetwork", "RevokeExternal", "ReleaseAddress", "ReleasePool")

JOINING: Final = FAULTS.keys() - {"netlink question", "nft listing"}
"""What the kernel says is the same with containers and without."""

PLUGGED = """
networks:
  fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}
  leased: {ipam: {driver: books, config: [{subnet: 10.90.0.0/24, gateway: 10.90.0.254}]}}
attachments:
  left: {networks: {fabric: {ipv4_address: 10.70.0.10}, leased: {ipv4_address: 10.90.0.9}}}
  right: {networks: {fabric: {ipv4_address: 10.70.0.11}}}
"""
REPLUGGED = """
networks: {fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}}
attachments: {left: {networks: {fabric: {ipv4_address: 10.70.0.12}}}}
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


@pytest.fixture
def plugged(reconcile: Reconcile, plugin: ReferencePlugin, books: ScriptedIpam) -> Host:
    """A host on which both are."""

    def kept() -> dict[str, Any]:
        state = plugin.log.with_suffix(".state")
        return {
            "plugin": json.loads(state.read_text()) if state.exists() else {"networks": {}, "endpoints": {}},
            "addresses": {pool: sorted(taken) for pool, taken in books.taken.items() if taken},
            "pools": dict(books.pools),
        }

    return Host(reconcile=reconcile, sandboxes=("left", "right"), beside=kept, without_chance=_without_chance)


@parts(2)
def test_plugins(plugged: Host, part: int) -> None:
    circle = plugged.there_and_back(PLUGGED, ("plugins told", "plugins told of the end"), TOLD)
    try_part("plugins", replace(circle, is_tried=_is_no_refused_farewell), part)


@parts(4)
def test_plugins_watched(plugged: Host, tmp_path: Path, part: int) -> None:
    plugged.reconcile.write(specs=PLUGGED)
    assert plugged.run().exit_code == 0
    moves = {"plugins told by a watcher": to_specs(REPLUGGED), "and back again": to_specs(PLUGGED)}
    with watching(plugged, tmp_path, "--prune-limit", "9,100%") as watcher:
        tour = Round.of(watcher, moves, TOLD, _is_not_refused)
        try_part_watched("plugins watched", tour, part)


def _is_no_refused_farewell(point: Point) -> bool:
    """What a plugin refuses to give back stays with it and goes here, as with engines (tests/kernel/test_plugin_misbehaving)."""
    return point.fault != "answered 500" or not any(name in point.call.what for name in FAREWELLS)


def _is_not_refused(point: Point) -> bool:
    """What a plugin refuses, or answers in words of its own, is stalled, and asked for again at the next look at everything."""
    return point.fault not in ("answered 500", "malformed answer")


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


@dataclass
class Web:
    """A container as its engine describes it, in a namespace that tests know as "web". folder: of its files."""

    engine: Path
    folder: Path
    process: subprocess.Popen[bytes]
    is_running: bool = True
    listeners: list[socket.socket] = field(default_factory=list)

    def script(self, connection: socket.socket, target: str) -> None:
        if target.startswith("/events"):
            self.listeners.append(connection)  # who has the answer may be told at once
            connection.sendall(answer(b""))
            connection.recv(1)
            return
        paths = {"HostsPath": str(self.folder / "hosts"), "ResolvConfPath": str(self.folder / "resolv.conf")}
        state = {"Running": self.is_running, "Pid": self.process.pid if self.is_running else 0}
        connection.sendall(answer(container(self.process.pid, **paths, State=state)))

    def become(self, *, is_running: bool) -> None:
        """Start or stop as far as the engine tells, which then hangs up on all who listen, as one does that is restarted."""
        self.is_running = is_running
        told = {
            "Action": "start" if is_running else "die",
            "Actor": {"ID": CONTAINER_ID, "Attributes": {"name": "web"}},
        }
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            with contextlib.suppress(OSError):  # who has hung up
                listener.sendall(json.dumps(told).encode() + b"\n")
                listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def web(machine: Machine, uplink: str, tmp_path: Path) -> Iterator[Web]:
    machine.add_namespace("web")
    folder = tmp_path / CONTAINER_ID
    folder.mkdir()
    for name in ("hosts", "resolv.conf"):
        (folder / name).write_text(f"# the engine's {name}\n")
    process = subprocess.Popen(["ip", "netns", "exec", "web", "sleep", "600"])
    made = Web(tmp_path / "engine", folder, process)
    try:
        inside = os.stat(machine.path("web")).st_ino
        assert eventually(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == inside)
        with scripted_engine(made.engine, made.script):
            yield made
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def joined(reconcile: Reconcile, web: Web) -> Host:
    """A host on which the container is."""

    def kept() -> dict[str, Any]:
        files = {path.name: (path.read_text(), path.stat().st_mode) for path in sorted(web.folder.iterdir())}
        return {"files": files, "links": reconcile.machine.links("web")}

    options = ("--container-engine", f"unix://{web.engine}")
    return Host(reconcile=reconcile, sandboxes=("web", "box"), options=options, beside=kept)


@parts(3)
def test_containers(joined: Host, part: int) -> None:
    try_part("containers", joined.there_and_back(JOINED, ("container joined", "container left"), JOINING), part)


@parts(5)
def test_containers_watched(joined: Host, web: Web, tmp_path: Path, part: int) -> None:
    joined.reconcile.write(specs=JOINED)
    assert joined.run().exit_code == 0
    moves = {
        "container stopped, engine restarted": Move(begin=lambda _: web.become(is_running=False), is_ready=False),
        "container started, engine restarted": Move(begin=lambda _: web.become(is_running=True)),
    }
    with watching(joined, tmp_path) as watcher:
        try_part_watched("containers watched", Round.of(watcher, moves), part)
