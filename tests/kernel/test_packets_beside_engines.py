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
from tests.container_engines import packet_scene as scene
from tests.container_engines.packets import SILENT, Cell, Party, answers, from_rows
from tests.machine import Machine
from tests.waiting import Deadline

pytestmark = pytest.mark.kernel

GOLDEN: Final = Path(__file__).parent / "golden"
ENGINES: Final = ("28.5.2", "26.1.5", "20.10.24")
NEWEST: Final = 2
"""How many of them have to agree."""

BRIDGE_NETFILTER: Final = Path("/proc/sys/net/bridge")

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


LIMITS: Final[dict[str, Callable[[Different], bool]]] = {
    "no proxy: IPv6 clients do not reach a sandbox without IPv6": lambda one: (
        one.family == "6" and one.server in scene.WITHOUT_IPV6 and one.ours == "refused"
    ),
    "no proxy: nothing listens on [::1]": lambda one: one.cell.target == "lo/6" and one.ours == "refused",
    "routed: members come with their own address to published ports": lambda one: (
        one.cell.client == "direct" and one.ours == f"{one.server}<direct@routed/{one.family}"
    ),
    "the host, by an internal network's gateway address, to a member that is published elsewhere": lambda one: (
        one.cell.client == "host" and one.theirs == f"edge<inner/{one.family}" and one.ours == SILENT
    ),
}
"""README's limits. None may be without a cell."""


def limit(different: Different) -> str | None:
    return next((name for name, holds in LIMITS.items() if holds(different)), None)


def recorded(version: str) -> dict[Cell, str]:
    """Give the matrix, without ports of containers that this engine could not have."""
    told = json.loads((GOLDEN / f"packets-{version}.json").read_text())
    assert told["kinds"] == {sort: list(kinds) for sort, kinds in scene.KINDS.items()}, f"{version}: record it anew"
    found = from_rows(told["rows"], scene.kinds)
    clients = {cell.client for cell in found}
    published = {kind for container in scene.CONTAINERS.keys() - clients for kind in scene.published(container)}
    return {cell: answer for cell, answer in found.items() if cell.kind not in published}


def agreed(engines: list[dict[Cell, str]]) -> dict[Cell, str]:
    """Give the cells in which all that have them say the same."""
    newest, *others = engines
    return {cell: answer for cell, answer in newest.items() if all(one.get(cell, answer) == answer for one in others)}


def ask_all(machine: Machine, expected: Mapping[Cell, str]) -> dict[Cell, str]:
    endpoints = {}
    for name in scene.CONTAINERS:
        document = json.loads((machine.status_dir / "attachments" / f"{name}.json").read_text())[0]
        endpoints[name] = document["NetworkSettings"]["Networks"]
    addresses = scene.party_addresses(endpoints)
    names = {**{name: name for name in scene.CONTAINERS}, "host": "H", "outside": "outside"}
    parties = [
        Party(name=name, namespace=machine.path(ns), serves=scene.SERVED[scene.sort_of(name)])
        for name, ns in names.items()
    ]
    waited_for = [
        cell for cell, answer in expected.items() if answer != SILENT and limit(Different(cell, answer, SILENT)) is None
    ]
    deadline = Deadline(10)

    def is_enough(found: Mapping[Cell, str], passed_s: float) -> bool:
        while waited_for and found[waited_for[-1]] != SILENT:
            waited_for.pop()
        return deadline.is_over or (not waited_for and passed_s > QUIET_S)

    return answers(parties, addresses, list(scene.cells(names, addresses)), is_enough)


def test_packets_are_answered_as_engines_answer_them(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    routes = [f"route add {route} via {scene.HOST[family]}" for family, route in scene.ROUTES.items()]
    machine.ip_batch(uplink, *routes)
    if BRIDGE_NETFILTER.exists():
        machine.run("H", "sysctl", "-qw", *(f"net.bridge.bridge-nf-call-ip{six}tables=1" for six in ("", "6")))
    reconcile.write(scene=scene.specs())
    reconcile.ok()
    engines = {version: recorded(version) for version in ENGINES}
    expected = agreed(list(engines.values())[:NEWEST])

    found = ask_all(machine, expected)

    different = [Different(cell, theirs, found[cell]) for cell, theirs in expected.items() if found[cell] != theirs]
    limits = Counter(map(limit, different))
    print(f"{len(expected)} cells compared, in which engines agree; {limits}")
    for version, theirs in engines.items():
        print(
            f"{version}: {sum(found[cell] == answer for cell, answer in theirs.items())} of {len(theirs)} are the same"
        )
    assert [one for one in different if limit(one) is None] == []
    assert limits.keys() == LIMITS.keys()
    assert len(expected) > 9000
