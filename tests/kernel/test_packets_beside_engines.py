"""Who reaches whom, beside real engines: the same containers, declared, and every cell of the matrix that engines agree on.

golden/packets-*.json: recorded by tests/container_engines/record.sh.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.command_line import Reconcile
from tests.container_engines.packet_matrix import SILENT, Cell, from_rows
from tests.container_engines.packet_scene import HOST, OTHER, ROUTES, Scene
from tests.container_engines.packet_scenes import SCENES
from tests.container_engines.packets import Party, answers
from tests.machine import Machine
from tests.waiting import patient

pytestmark = pytest.mark.kernel

GOLDEN: Final = Path(__file__).parent / "golden"
ENGINES: Final = ("28.5.2", "26.1.5", "20.10.24")
NEWEST: Final = 2
"""How many of them have to agree."""


QUIET_S: Final = 0.5
"""How long to wait for what must not come, once all else is there."""


class Different(NamedTuple):
    """One that differs on purpose: a cell, what engines say, and what we say."""

    cell: Cell
    theirs: str
    ours: str

    @property
    def server(self) -> str:
        return self.theirs.partition("<")[0]

    @property
    def family(self) -> str:
        return self.cell.target[-1]


OF_IPV4_ONLY: Final = SCENES["networks"].published_without_ipv6()
Limits = Mapping[str, Callable[[Different], bool]]

NO_PROXY: Final[Limits] = {
    "no proxy: nothing listens on [::1]": lambda one: one.cell.target == "lo/6" and one.ours == "refused",
}
LIMITS: Final[Mapping[str, Limits]] = {
    "networks": {
        **NO_PROXY,
        "no proxy: IPv6 clients do not reach a sandbox without IPv6": lambda one: (
            one.family == "6" and one.cell.kind in OF_IPV4_ONLY and one.ours == "refused"
        ),
        "without masquerading: members reach published ports and routed networks": lambda one: (
            one.cell.client == "unmasked" and one.theirs == SILENT and "<" in one.ours
        ),
        "the host, by an internal network's gateway address, to a member that is published elsewhere": lambda one: (
            one.cell.client == "host" and one.theirs == f"edge<inner/{one.family}" and one.ours == SILENT
        ),
    },
    "default-bridge": {
        **NO_PROXY,
        "links open IPv6 as well": lambda one: (
            one.cell.target == "db@bridge/6" and one.theirs == SILENT and one.ours == "db<linked@bridge/6"
        ),
    },
}
"""docs/limits.md. None may be without a cell."""


def limit(scene: str, different: Different) -> str | None:
    return next((name for name, holds in LIMITS[scene].items() if holds(different)), None)


def recorded(scene_name: str, version: str) -> dict[Cell, str]:
    """Give the matrix, without ports of containers that this engine could not have."""
    scene, name = SCENES[scene_name], f"packets-{scene_name}-{version}.json"
    told = json.loads((GOLDEN / name).read_text())
    assert told["kinds"] == {target: scene.kinds(target) for target in told["kinds"]}, f"record {name} anew"
    found = from_rows(told["rows"], scene.kinds)
    clients = {cell.client for cell in found}
    published = {kind for container in scene.containers.keys() - clients for kind in scene.published(container)}
    return {cell: answer for cell, answer in found.items() if cell.kind not in published}


def agreed(engines: list[dict[Cell, str]]) -> dict[Cell, str]:
    """Give the cells in which all that have them say the same."""
    newest, *others = engines
    return {cell: answer for cell, answer in newest.items() if all(one.get(cell, answer) == answer for one in others)}


def ask_all(machine: Machine, scene: Scene, waited_for: list[Cell]) -> dict[Cell, str]:
    """Ask until all that is waited for is answered; a while longer for what shall not be."""
    endpoints = {}
    for name in scene.containers:
        document = json.loads((machine.status_dir / "attachments" / f"{name}.json").read_text())[0]
        endpoints[name] = document["NetworkSettings"]["Networks"]
    names = {**{name: name for name in scene.containers}, "host": "H", "outside": "outside"}
    parties = [Party(name=name, namespace=machine.path(ns), serves=scene.served(name)) for name, ns in names.items()]
    addresses = scene.addresses(endpoints)

    def is_enough(found: Mapping[Cell, str], passed_s: float) -> bool:
        while waited_for and found[waited_for[-1]] != SILENT:
            waited_for.pop()
        return passed_s > (patient(10) if waited_for else QUIET_S)

    return answers(parties, addresses, list(scene.cells(parties, addresses)), is_enough)


def prepare(machine: Machine, uplink: str) -> None:
    """Give the host and its neighbour what record_packets.py gives them."""
    machine.ip_batch(
        "H", *(f"address add {OTHER[family]}/{bits} dev uplink0" for family, bits in (("4", 24), ("6", 64)))
    )
    machine.ip_batch(uplink, *(f"route add {route} via {HOST[family]}" for family, route in ROUTES.items()))
    machine.filter_bridged("H", is_filtered=True)


@pytest.mark.parametrize("scene", SCENES)
def test_packets_are_answered_as_engines_answer_them(
    reconcile: Reconcile, machine: Machine, uplink: str, scene: str
) -> None:
    prepare(machine, uplink)
    reconcile.write(scene=SCENES[scene].specs())
    reconcile.ok()
    engines = {version: recorded(scene, version) for version in ENGINES}
    expected = agreed(list(engines.values())[:NEWEST])
    answered = [cell for cell, answer in expected.items() if answer != SILENT]
    waited_for = [cell for cell in answered if limit(scene, Different(cell, expected[cell], SILENT)) is None]

    found = ask_all(machine, SCENES[scene], waited_for)

    different = [Different(cell, theirs, found[cell]) for cell, theirs in expected.items() if found[cell] != theirs]
    limits = Counter(limit(scene, one) for one in different)
    print(f"{len(expected)} cells compared, in which engines agree; {limits}")
    for version, theirs in engines.items():
        same = sum(found[cell] == answer for cell, answer in theirs.items())
        print(f"{version}: {same} of {len(theirs)} are the same")
    assert [one for one in different if limit(scene, one) is None] == []
    assert limits.keys() == LIMITS[scene].keys()
