"""What `reach` says of random specs, beside packets: every party asks every address, and each cell is compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.guard.foresight import on_empty_host
from reconciler.model.desired import DesiredState
from reconciler.reach.site import Site
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer
from reconciler.reach.walk import Walk
from reconciler.settings import Settings
from reconciler.spec.load import load_specs
from tests.command_line import Reconcile
from tests.container_engines import packets
from tests.container_engines.packets import SILENT, Cell
from tests.kernel.packets_expected import answers_expected
from tests.machine import BRIDGE_NETFILTER, Machine
from tests.random_specs import HOST, PORTS, specs
from tests.underlay import add_uplink

pytestmark = pytest.mark.kernel

EXAMPLES: Final = max(1, settings().max_examples // 12)
IS_THOROUGH: Final = EXAMPLES > 20
"""Then each run tries other specs; else the same: a model that is wrong somewhere is no reason that others' changes fail."""

OUTSIDE: Final = {4: "192.0.2.2", 6: "2001:db8::2"}
ROUTES: Final = ("172.16.0.0/12", "fd30::/16")
"""What `outside` knows to be behind the host, as a hostile neighbour would."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One host with specs applied. names: of all addresses that are asked for."""

    desired: DesiredState
    walk: Walk
    names: Mapping[str, str]

    @property
    def parties(self) -> dict[str, Party]:
        host = self.desired.host.name
        members = {each.name: Party(PartyKind.ATTACHMENT, host, each.name) for each in self.desired.attachments}
        others = {"host": Party(PartyKind.HOST, host), "outside": Party(PartyKind.OUTSIDE, host, "uplink0")}
        return {**members, **others}

    def kinds(self, target: str) -> tuple[str, ...]:
        if "@" in target or target.startswith("outside"):
            return ("icmp", *(f"{protocol} {port}" for protocol in ("tcp", "udp") for port in PORTS))
        return ("icmp", "tcp 80", "udp 80", *(f"{protocol} {port}" for protocol, port in self.published))

    @property
    def published(self) -> list[tuple[str, int]]:
        site = self.walk.sites[self.desired.host.name]
        return sorted(
            {(one.binding.protocol, one.binding.host_port) for one in site.publications if one.binding.host_port}
        )

    def cells(self) -> list[Cell]:
        return [
            Cell(client, target, kind)
            for client in self.parties
            for target in self.names
            if client == "host" or not target.startswith("lo/")
            for kind in self.kinds(target)
        ]

    def answer(self, cell: Cell) -> ReachAnswer:
        protocol, _, port = cell.kind.partition(" ")
        address = ip_address(self.names[cell.target])
        if cell.target.startswith("outside") and cell.client == "outside":
            return ReachAnswer(server=self.parties["outside"], seen_as=address, steps=())
        client = self.parties[cell.client]
        return self.walk.ask(Packet(client=client, address=address, protocol=protocol, port=int(port or 0)))

    def expected(self, cell: Cell) -> str:
        found = self.answer(cell)
        if found.server is None:
            return SILENT
        version = ip_address(self.names[cell.target]).version
        names = {address: name for name, address in self.names.items()}
        own = (OUTSIDE if cell.client == "outside" else HOST)[version]
        return f"{found.server}<{names[own if found.seen_as is None else str(found.seen_as)]}"


def scene_of(folder: Path) -> Scene:
    loaded = load_specs(folder, host="alpha", is_bridge_enabled=True, is_in_cluster=False)
    assert not loaded.faults
    desired = on_empty_host(loaded.wanted, Settings(host="alpha"))
    assert not desired.failures
    names = {}
    for attachment in desired.attachments:
        for one in attachment.endpoints:
            for interface in filter(None, (one.ipv4, one.ipv6)):
                names[f"{attachment.name}@{one.network}/{interface.version}"] = str(interface.ip)
    for network in desired.networks:
        for subnet in network.subnets:
            if network.holds_gateway(subnet):
                names[f"{network.name}/{subnet.subnet.version}"] = str(subnet.gateway)
    for version, loopback in ((4, "127.0.0.1"), (6, "::1")):
        names |= {f"host/{version}": HOST[version], f"lo/{version}": loopback, f"outside/{version}": OUTSIDE[version]}
    own = frozenset(map(ip_address, HOST.values()))
    site = Site(desired=desired, addresses=own)
    return Scene(desired=desired, walk=Walk(sites={"alpha": site}), names=names)


def ask_all(machine: Machine, scene: Scene, expected: Mapping[Cell, str]) -> dict[Cell, str]:
    namespaces = {"host": "H"}
    serves = {"host": (80, *sorted({port for _, port in scene.published})), "outside": PORTS}
    parties = [
        packets.Party(name=name, namespace=machine.path(namespaces.get(name, name)), serves=serves.get(name, PORTS))
        for name in scene.parties
    ]
    return answers_expected(parties, scene.names, expected)


def fresh_host(machine: Machine, *, is_bridge_filtered: bool) -> None:
    """What connection tracking remembers of one example must not speak in the next."""
    machine.clean()
    shutil.rmtree(machine.state_dir, ignore_errors=True)
    machine.add_namespace("H")
    outside = add_uplink(machine, "H")
    machine.detect_no_duplicates("H")
    machine.ip_batch(outside, *(f"route add {to} via {HOST[ip_network(to).version]}" for to in ROUTES))
    machine.filter_bridged("H", is_filtered=is_bridge_filtered)


def test_packets_go_where_reach_says(reconcile: Reconcile, machine: Machine) -> None:
    compared = []

    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        derandomize=not IS_THOROUGH,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        deadline=None,
    )
    @given(specs(), st.booleans() if BRIDGE_NETFILTER.exists() else st.just(False))
    def each_cell_is_the_same(declared: dict[str, Any], is_bridge_filtered: bool) -> None:
        fresh_host(machine, is_bridge_filtered=is_bridge_filtered)
        reconcile.write(specs=json.dumps(declared, indent=1))
        reconcile.ok()
        scene = scene_of(reconcile.specs)
        expected = {cell: scene.expected(cell) for cell in scene.cells()}

        found = ask_all(machine, scene, expected)

        different = [(cell, expected[cell], got) for cell, got in found.items() if expected[cell] != got]
        told = [
            f"{cell}: said {said}, got {got}; {'; '.join(map(str, scene.answer(cell).steps))}"
            for cell, said, got in different[:8]
        ]
        assert not different, "\n".join([f"{len(different)} of {len(found)}", *told])
        compared.append(len(expected))

    each_cell_is_the_same()

    print(f"{sum(compared)} cells compared, of {len(compared)} random sets of specs")
