"""Run a scene's containers on an engine, and print who reaches whom as JSON. See record.sh.

Given the scene alone: print the options that the engine has to be started with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.container_engines.packet_matrix import to_rows
from tests.container_engines.packet_scene import HOST, OTHER, OUTSIDE, ROUTES, Scene
from tests.container_engines.packet_scenes import SCENES
from tests.container_engines.packets import Party, answers
from tests.container_engines.record import Engine
from tests.private_namespaces import CLONE_NEWNET, unshare

SILENCE_S: Final = 1.5
"""Less than the three seconds after which a kernel gives up an address, from the first question on."""

ENGINE_OPTIONS: Final = "--experimental --ip6tables=true"
"""Engines before 27 filter IPv6 only when asked to."""


def ip(namespace: str, *lines: str) -> str:
    command = ["nsenter", f"--net={namespace}", "ip", "-force", "-batch", "-"]
    return subprocess.run(command, input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True).stdout


def make_outside(host: str) -> None:
    """Move this process into a namespace of its own, to the other end of the host's uplink, and give that IPv6."""
    ip(host, *(f"address add {one}/64 dev uplink0 nodad" for one in (HOST["6"], OTHER["6"])))
    ip(host, f"address add {OTHER['4']}/24 dev uplink0")
    unshare(CLONE_NEWNET)
    ip(host, f"link set outside0 netns {os.getpid()}", "link set uplink0 up")
    ip(
        "/proc/self/ns/net",
        "link set lo up",
        "link set outside0 up",
        f"address add {OUTSIDE['4']}/24 dev outside0",
        f"address add {OUTSIDE['6']}/64 dev outside0 nodad",
        *(f"route add {route} via {HOST[family]}" for family, route in ROUTES.items()),
    )
    ip(host, f"route replace default via {OUTSIDE['4']}", f"route replace default via {OUTSIDE['6']}")


def wait_for_addresses(parties: list[Party]) -> None:
    """Wait until nobody looks for duplicates any more; a bridge that has no address of its network may never end."""
    until = time.monotonic() + 5
    for party in parties:
        while ip(str(party.namespace), "address show tentative").strip() and time.monotonic() < until:
            time.sleep(0.1)


def run(engine: Engine, scene: Scene) -> dict[str, dict[str, Any]]:
    """Make networks and containers, and give the latter's NetworkSettings."""
    version = engine.ask("GET", "/version")["Version"]
    left_out = scene.since_28 if int(version.split(".")[0]) < 28 else set()
    for name in scene.networks:
        if name not in {"bridge", *left_out}:
            engine.make_network(name, scene.engine_network(name))
    names = [name for name, wanted in scene.containers.items() if not left_out & wanted["networks"].keys()]
    for name in names:
        engine.run(name, scene.engine_container(name))
    return {name: engine.ask("GET", f"/containers/{name}/json")["NetworkSettings"] for name in names}


def main() -> None:
    *arguments, scene_name = sys.argv[1:]
    scene = SCENES[scene_name]
    if not arguments:
        print(ENGINE_OPTIONS, scene.engine_options)
        return
    socket_path, busybox, pid = arguments
    process = Path("/proc", pid)
    make_outside(str(process / "ns/net"))
    engine = Engine(socket_path)
    engine.import_image(busybox)
    settings = run(engine, scene)
    addresses = scene.addresses({name: one["Networks"] for name, one in settings.items()})
    namespaces = {name: process / "root" / one["SandboxKey"].lstrip("/") for name, one in settings.items()}
    namespaces |= {"host": process / "ns/net", "outside": Path("/proc/self/ns/net")}
    parties = [Party(name=name, namespace=path, serves=scene.served(name)) for name, path in namespaces.items()]
    wait_for_addresses(parties)
    cells = list(scene.cells(parties, addresses))
    found = answers(parties, addresses, cells, lambda _, passed_s: passed_s > SILENCE_S)
    version = engine.ask("GET", "/version")["Version"]
    kinds = {target: scene.kinds(target) for target in ("host/4", "front/4", "outside/4", "a@b/4")}
    print(json.dumps({"version": version, "kinds": kinds, "rows": to_rows(found)}, indent=1))


if __name__ == "__main__":
    main()
