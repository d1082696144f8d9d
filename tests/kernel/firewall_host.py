"""A host with bridge networks made by plain `ip` commands, for tests of the firewall alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from reconciler.firewall.elements import endpoint_elements, firewall_rules, network_elements
from reconciler.firewall.ruleset import TABLE
from reconciler.firewall.sources import endpoint_sources, network_sources
from reconciler.kernel.nft import Nft
from reconciler.kinds.firewall import apply_firewall, observe_firewall
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork
from reconciler.model.identifiers import LINK_GROUP, bridge_mac
from reconciler.model.objects import FirewallElement, Object, Seen, Unit
from reconciler.model.plan import Outcome, Plan
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import Owners
from tests.fakes.desired import endpoint, host_facts
from tests.machine import BRIDGE_NETFILTER, Machine

OUTSIDE = {4: "192.0.2.2", 6: "2001:db8::2"}
HOST = {4: "192.0.2.1", 6: "2001:db8::1"}

BLOCKED_S = 0.3
"""How long to wait for what must not come."""


@dataclass(slots=True, kw_only=True)
class FirewallHost:
    """The namespace `ns` plays the host; `nft` is of that namespace. Nothing is filtered before `converge`."""

    machine: Machine
    ns: str
    nft: Nft
    networks: dict[str, DesiredNetwork] = field(default_factory=dict)
    endpoints: list[DesiredEndpoint] = field(default_factory=list)
    extra: list[FirewallElement] = field(default_factory=list)

    def add_network(self, network: DesiredNetwork) -> DesiredNetwork:
        """Make the bridge with its gateway addresses."""
        self.networks[network.name] = network
        lines = [
            f"link add {network.link_name} address {bridge_mac(network.id)} type bridge",
            f"link set {network.link_name} up",
        ]
        for subnet in network.subnets:
            nodad = " nodad" if subnet.subnet.version == 6 else ""
            address = f"{subnet.gateway}/{subnet.subnet.prefixlen}"
            lines.append(f"address add {address} dev {network.link_name}{nodad}")
        self._ip(self.ns, lines)
        return network

    def attach(self, name: str, network_name: str, *interfaces: str) -> str:
        """Make a namespace `name` with an interface on the network and default routes through it."""
        network = self.networks[network_name]
        made = replace(endpoint(name, network_name, *interfaces), mac=f"02:42:ac:1e:00:{len(self.endpoints) + 1:02x}")
        self.endpoints.append(made)
        self.machine.add_namespace(name)
        self.machine.add_veth(self.ns, made.link_name, name, "eth0")
        self._ip(self.ns, [f"link set {made.link_name} group {LINK_GROUP} master {network.link_name}"])
        lines = [f"link set eth0 address {made.mac}"]
        for interface in map(ip_interface, interfaces):
            lines.append(f"address add {interface} dev eth0{' nodad' if interface.version == 6 else ''}")
        for subnet in network.subnets:
            if any(ip_interface(interface).version == subnet.subnet.version for interface in interfaces):
                lines.append(f"route add default via {subnet.gateway} dev eth0")
        self._ip(name, lines)
        return name

    def _ip(self, ns: str, lines: Iterable[str]) -> None:
        self.machine.run("", "ip", "-n", ns, "-batch", "-", stdin="\n".join(lines))

    def wanted(self) -> dict[tuple[str, ...], Object]:
        found: list[Object] = [*firewall_rules(), *self.extra]
        for network in self.networks.values():
            found += network_elements(network)
            found += network_sources(network, host_facts())
        for made in self.endpoints:
            found += endpoint_elements(self.networks[made.network], made)
            found += endpoint_sources(self.networks[made.network], made)
        return {item.key: item for item in found}

    def seen(self) -> dict[tuple[str, ...], Seen]:
        return {item.object.key: item for item in observe_firewall(self.nft)}

    def plan(self) -> Plan:
        return make_plan(self.wanted(), self.seen(), Owners(links={}, sandboxes={}, peers={}), Boundaries())

    def converge(self) -> list[Outcome]:
        """Plan and apply once; say what became of it."""
        return apply_firewall(self.plan().operations, self.nft)

    def publish(self, set_name: str, *element: str, value: str = "", family: str = "inet") -> None:
        """Want one element more, as ports and links will."""
        self.extra.append(
            FirewallElement(
                unit=Unit(network="published"),
                family=family,
                table=TABLE,
                set_name=set_name,
                element=element,
                value=value,
            )
        )

    def reached(self, pairs: Sequence[tuple[str, str, str]], *, is_expected: bool = True) -> set[tuple[str, str]]:
        """Give the pairs (client, server) of (client, server, address) for which TCP and UDP get through, both or none."""
        found = set()
        for client, server, address in pairs:
            deadline_s = 5.0 if is_expected else BLOCKED_S
            with self.machine.tcp_server(server) as port:
                tcp = self.machine.tcp(client, address, port, deadline_s=deadline_s)
            with self.machine.udp_server(server, address) as port:
                udp = self.machine.udp(client, address, port, deadline_s=deadline_s)
            assert (tcp is None) == (udp is None), f"{client} to {server}: TCP and UDP differ"
            if tcp is not None:
                found.add((client, server))
        return found

    def assert_reaches(self, *pairs: tuple[str, str, str]) -> None:
        assert self.reached(pairs) == {(client, server) for client, server, _ in pairs}

    def assert_blocked(self, *pairs: tuple[str, str, str]) -> None:
        assert self.reached(pairs, is_expected=False) == set()


def address(version: int, net: int, number: int) -> str:
    return f"172.30.{net}.{number}" if version == 4 else f"fd30:{net}::{number}"


@contextmanager
def firewall_host(machine: Machine, ns: str, uplink: str) -> Iterator[FirewallHost]:
    """A forwarding host without firewall. Outside knows the way to container networks, as a hostile neighbour would."""
    machine.run(ns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    machine.detect_no_duplicates(ns)
    for version, net in ((4, "172.30.0.0/16"), (6, "fd30::/16")):
        machine.run("", "ip", "-n", uplink, "route", "add", net, "via", HOST[version])
    with machine.inside(ns):
        nft = Nft()
        nft.list_table("inet", "reconciler")
    yield FirewallHost(machine=machine, ns=ns, nft=nft)
    nft.close()


def converge(host: FirewallHost) -> None:
    """Apply what is wanted; nothing is left to do then."""
    assert [outcome.error for outcome in host.converge() if outcome.error] == []
    assert host.plan().operations == ()


def filter_bridged(machine: Machine, *, is_filtered: bool) -> None:
    """Have the inet family of H see bridged packets too, or not."""
    if is_filtered and not BRIDGE_NETFILTER.exists():
        pytest.skip("no br_netfilter in this kernel")
    machine.filter_bridged("H", is_filtered=is_filtered)
