"""Run packet_scene.py's containers on an engine, and print who reaches whom as JSON. See record.sh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.container_engines import packet_scene as scene
from tests.container_engines.packets import Party, answers, to_rows
from tests.container_engines.record import Engine
from tests.private_namespaces import CLONE_NEWNET, unshare

SILENCE_S: Final = 2.5
"""Less than the three seconds after which a kernel gives up an address."""


def ip(namespace: str, *lines: str) -> str:
    command = ["nsenter", f"--net={namespace}", "ip", "-force", "-batch", "-"]
    return subprocess.run(command, input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True).stdout


def make_outside(host: str) -> None:
    """Move this process into a namespace of its own, to the other end of the host's uplink, and give that IPv6."""
    ip(host, f"address add {scene.HOST['6']}/64 dev uplink0 nodad")
    unshare(CLONE_NEWNET)
    ip(host, f"link set outside0 netns {os.getpid()}", "link set uplink0 up")
    ip(
        "/proc/self/ns/net",
        "link set lo up",
        "link set outside0 up",
        f"address add {scene.OUTSIDE['4']}/24 dev outside0",
        f"address add {scene.OUTSIDE['6']}/64 dev outside0 nodad",
        *(f"route add {route} via {scene.HOST[family]}" for family, route in scene.ROUTES.items()),
    )
    ip(host, f"route replace default via {scene.OUTSIDE['4']}", f"route replace default via {scene.OUTSIDE['6']}")


def wait_for_addresses(parties: list[Party]) -> None:
    """Wait until nobody looks for duplicates any more."""
    for party in parties:
        while ip(str(party.namespace), "address show tentative").strip():
            time.sleep(0.1)


def main() -> None:
    socket_path, busybox, pid = sys.argv[1:]
    process = Path("/proc", pid)
    host = process / "ns/net"
    make_outside(str(host))
    engine = Engine(socket_path)
    engine.import_image(busybox)
    version = engine.ask("GET", "/version")["Version"]
    left_out = scene.SINCE_28 if int(version.split(".")[0]) < 28 else set()
    for name in scene.NETWORKS.keys() - left_out:
        engine.make_network(name, scene.engine_network(name))
    names = [name for name, wanted in scene.CONTAINERS.items() if not left_out & wanted["networks"].keys()]
    for name in names:
        engine.run(name, scene.engine_container(name))
    inspected = {name: engine.ask("GET", f"/containers/{name}/json")["NetworkSettings"] for name in names}
    addresses = scene.party_addresses({name: settings["Networks"] for name, settings in inspected.items()})
    namespaces = {name: process / "root" / one["SandboxKey"].lstrip("/") for name, one in inspected.items()}
    namespaces |= {"host": host, "outside": Path("/proc/self/ns/net")}
    parties = [
        Party(name=name, namespace=namespace, serves=scene.SERVED[scene.sort_of(name)])
        for name, namespace in namespaces.items()
    ]
    wait_for_addresses(parties)
    found = answers(
        parties, addresses, list(scene.cells(namespaces, addresses)), lambda _, passed_s: passed_s > SILENCE_S
    )
    print(json.dumps({"version": version, "kinds": scene.KINDS, "rows": to_rows(found)}, indent=1))


if __name__ == "__main__":
    main()
