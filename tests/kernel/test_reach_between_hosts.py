"""What `reach` says of two hosts with overlay, macvlan and bridge networks, beside packets: each cell is compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from reconciler.guard.foresight import on_empty_host
from reconciler.model.objects import IPAddress
from reconciler.reach.site import Site
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer
from reconciler.reach.walk import Walk
from reconciler.settings import Settings
from reconciler.spec.load import load_specs
from tests.cluster import STORE, Cluster, cluster_of
from tests.container_engines import packets
from tests.container_engines.packets import SILENT, Cell
from tests.kernel.packets_expected import answers_expected
from tests.machine import Machine
from tests.random_specs import PORTS, across_hosts
from tests.underlay import SWITCH, UPLINK

pytestmark = pytest.mark.kernel

EXAMPLES: Final = max(1, settings().max_examples // 30)
IS_THOROUGH: Final = EXAMPLES > 20
"""Then each run tries other specs, see test_reach."""

LANS: Final = {"eth0": "10.93.0"}
"""The parent of macvlan links, joined to a network that reaches both hosts. ipvlan is not tried: few kernels have it."""
UNDERLAY: Final = ip_network("198.51.100.0/24")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Two hosts with specs applied. names: of all addresses that are asked for."""

    walk: Walk
    names: Mapping[str, str]
    hosts: Mapping[str, IPAddress]

    @property
    def parties(self) -> dict[str, Party]:
        members = {
            name: Party(PartyKind.ATTACHMENT, site.name, name)
            for site in self.walk.sites.values()
            for name in site.members
        }
        return {**members, **{name: Party(PartyKind.HOST, name) for name in self.hosts}}

    @property
    def others(self) -> dict[str, str]:
        """Who is beyond the hosts' links, by the link."""
        return {UPLINK: SWITCH, **{link: f"lan-{link}" for link in LANS}}

    def cells(self) -> Iterator[Cell]:
        published = sorted(
            (one.binding.protocol, one.binding.host_port)
            for site in self.walk.sites.values()
            for one in site.publications
        )
        for target in self.names:
            ports = [("tcp", 80), ("udp", 81), *(published if target in self.hosts else ())]
            for client in (*self.parties, *self.others.values()):
                yield Cell(client, target, "icmp")
                yield from (Cell(client, target, f"{protocol} {port}") for protocol, port in ports)

    def expected(self, cell: Cell) -> str:
        names = {address: name for name, address in self.names.items()}
        server, seen_as = self._found(cell)
        return SILENT if server == "" else f"{server}<{names.get(str(seen_as), str(seen_as))}"

    def _found(self, cell: Cell) -> tuple[str, IPAddress | None]:
        """Give who answers, and the address that it sees; from one host to the other by way of what joins them."""
        target = ip_address(self.names[cell.target])
        for link, name in self.others.items():
            if cell.client == name:
                return self._beyond(link, target, cell.kind, source=ip_address(self.names[name]))
        client = self.parties[cell.client]
        found = self._ask(client, target, cell.kind)
        if found.server is None:
            return "", None
        if found.server.kind is not PartyKind.OUTSIDE:
            name = found.server.host if found.server.kind is PartyKind.HOST else found.server.name
            return name, self.hosts[client.host] if found.seen_as is None else found.seen_as
        return self._beyond(self._link(found), target, cell.kind, source=found.seen_as or self.hosts[client.host])

    def _ask(self, client: Party, target: IPAddress, kind: str) -> ReachAnswer:
        protocol, _, port = kind.partition(" ")
        return self.walk.ask(Packet(client=client, address=target, protocol=protocol, port=int(port or 0)))

    def _link(self, found: ReachAnswer) -> str:
        source = found.seen_as
        return next((link for link in LANS if source is not None and source in _net(link)), UPLINK)

    def _beyond(self, link: str, target: IPAddress, kind: str, *, source: IPAddress) -> tuple[str, IPAddress | None]:
        """A packet on what joins the hosts: only who has an address there takes it, and answers nobody from elsewhere."""
        other = self.others[link]
        if target not in _net(link) or source not in _net(link):
            return "", None
        if target == ip_address(self.names[other]):
            return (other, source) if kind == "icmp" or int(kind.split()[1]) in PORTS else ("", None)
        for host in self.hosts:
            found = self._ask(Party(PartyKind.OUTSIDE, host, link), target, kind)
            if found.server is not None:
                name = found.server.host if found.server.kind is PartyKind.HOST else found.server.name
                return name, source if found.seen_as is None else found.seen_as
        return "", None


def _net(link: str) -> IPv4Network:
    return UNDERLAY if link == UPLINK else IPv4Network(f"{LANS[link]}.0/24")


def scene_of(cluster: Cluster) -> Scene:
    hosts = {name: host.address for name, host in cluster.hosts.items()}
    sites, names = {}, {name: str(address) for name, address in hosts.items()}
    for name, host in cluster.hosts.items():
        loaded = load_specs(host.reconcile.specs, host=name)
        assert not loaded.faults
        desired = on_empty_host(loaded.wanted, Settings(host=name))
        assert not desired.failures
        sites[name] = Site(desired=desired, addresses=frozenset({hosts[name]}))
        for attachment in desired.attachments:
            for one in attachment.endpoints:
                if isinstance(one.ipv4 and one.ipv4.ip, IPv4Address) and one.network != "n1":
                    names[f"{attachment.name}@{one.network}"] = str(one.ipv4.ip)
    names |= {SWITCH: STORE, **{f"lan-{link}": f"{prefix}.1" for link, prefix in LANS.items()}}
    return Scene(walk=Walk(sites=sites), names=names, hosts=hosts)


def ask_all(cluster: Cluster, scene: Scene, expected: Mapping[Cell, str]) -> dict[Cell, str]:
    published = {one.binding.host_port for site in scene.walk.sites.values() for one in site.publications}
    serves = {name: (80, 81, *sorted(filter(None, published))) for name in scene.hosts}
    parties = [
        packets.Party(name=name, namespace=cluster.machine.path(name), serves=serves.get(name, PORTS))
        for name in (*scene.parties, *scene.others.values())
    ]
    return answers_expected(parties, scene.names, expected)


def add_lans(machine: Machine, hosts: Mapping[str, Any]) -> None:
    """Join the hosts' links of one name to a bridge, on which somebody else has the first address."""
    for link, prefix in LANS.items():
        lan = f"lan-{link}"
        machine.add_namespace(lan)
        machine.ip_batch(lan, "link add lan0 up type bridge", f"address add {prefix}.1/24 dev lan0")
        for host in hosts:
            machine.add_veth(host, link, lan, host)
            machine.ip_batch(lan, f"link set {host} master lan0")


def test_packets_between_hosts_go_where_reach_says(machine: Machine, tmp_path: Path) -> None:
    compared = []

    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        derandomize=not IS_THOROUGH,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        deadline=None,
    )
    @given(across_hosts(without=("pl", "iv")))
    def each_cell_is_the_same(declared: dict[str, Any]) -> None:
        machine.clean()
        shutil.rmtree(folder := tmp_path / "cluster", ignore_errors=True)
        folder.mkdir()
        with cluster_of(machine, folder, ("alpha", "beta"), "etcd") as cluster:
            add_lans(machine, cluster.hosts)
            cluster.declare(json.dumps(declared, indent=1))
            for host in (cluster["alpha"], cluster["beta"], cluster["alpha"]):
                host.ok()
            scene = scene_of(cluster)
            expected = {cell: scene.expected(cell) for cell in scene.cells()}

            found = ask_all(cluster, scene, expected)

        different = [(cell, expected[cell], got) for cell, got in found.items() if expected[cell] != got]
        told = [f"{cell}: said {said}, got {got}" for cell, said, got in different[:400]]
        assert not different, "\n".join([json.dumps(declared["networks"]), f"{len(different)} of {len(found)}", *told])
        compared.append(len(expected))

    each_cell_is_the_same()

    print(f"{sum(compared)} cells compared, of {len(compared)} random sets of specs for two hosts")
