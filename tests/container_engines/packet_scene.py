"""Networks and containers whose packets are compared: as specs for us, as requests for an engine. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from tests.container_engines.packet_matrix import Cell
from tests.container_engines.packets import Party

HOST: Final = {"4": "192.0.2.1", "6": "2001:db8::1"}
OTHER: Final = {"4": "192.0.2.77", "6": "2001:db8::77"}
"""The host's second address on its uplink."""

OUTSIDE: Final = {"4": "192.0.2.2", "6": "2001:db8::2"}
ROUTES: Final = {"4": "172.16.0.0/12", "6": "fd30::/16"}
"""What `outside` knows to be behind the host, as a hostile neighbour would."""

_SERVED: Final = {"member": tuple(range(80, 90)), "outside": (80,), "host": (7000,), "gateway": ()}
"""Ports that parties serve, in TCP and UDP; nobody serves 99 and 7001."""

_ASKED: Final[dict[str, tuple[str, ...]]] = {
    "member": ("icmp", "tcp 80", "udp 80", "tcp 81", "tcp 99", "udp 99"),
    "outside": ("icmp", "tcp 80", "udp 80", "tcp 99", "udp 99"),
    "host": ("icmp", "tcp 7000", "udp 7000", "tcp 7001", "udp 7001"),
    "gateway": ("icmp", "tcp 7000", "udp 7000", "tcp 7001", "tcp 8080", "udp 8080", "tcp 8087", "tcp 8100"),
}
"""Every published port is asked at the host's own addresses, a few at the gateways of all networks."""

_OF_THE_HOST: Final = ("host/", "other/", "lo/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    networks: Mapping[str, Mapping[str, Any]]
    """As in specs; `bridge` among them is what `engine_options` make of the engine's own."""

    containers: Mapping[str, Mapping[str, Any]]
    """`networks`: with the number of the container's address in each, 0 for the next free one. `ports`: each with address and
    port of the host. `links` and `expose` as in specs.
    """

    engine_options: str = ""
    without_gateway: Set[str] = field(default_factory=frozenset)
    """Networks in which nobody has that address."""

    since_28: Set[str] = field(default_factory=frozenset)
    """Networks that older engines cannot make."""

    def specs(self) -> str:
        """Give a spec file; JSON is YAML."""
        attachments = {}
        for name, wanted in self.containers.items():
            networks = {network: self._addresses(network, number) for network, number in wanted["networks"].items()}
            shown = {} if set(networks) == {"bridge"} else {"networks": networks}
            more = {key: wanted[key] for key in ("links", "expose") if key in wanted}
            attachments[name] = {**shown, **more, "ports": [_short_port(*one) for one in _ports(wanted)]}
        return json.dumps({"networks": self.networks, "attachments": attachments}, indent=1)

    def engine_network(self, name: str) -> dict[str, Any]:
        """Give the network as record.Engine.make_network wants it."""
        wanted = self.networks[name]
        subnets, gateways = self._subnets(name), self._gateways(name)
        return {
            **({} if "4" in subnets else {"EnableIPv4": False}),
            "EnableIPv6": wanted["enable_ipv6"],
            "Internal": wanted.get("internal", False),
            "Options": wanted["driver_opts"],
            "IPAM": [{"Subnet": subnet, "Gateway": gateways[family]} for family, subnet in subnets.items()],
        }

    def engine_container(self, name: str) -> dict[str, Any]:
        """Give the container as record.Engine.run wants it."""
        wanted, networks = self.containers[name], {}
        names = {"ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address"}
        for network, number in wanted["networks"].items():
            config = {names[key]: address for key, address in self._addresses(network, number).items()}
            networks[network] = {"IPAMConfig": config} if config else {}
        ports = {port: (ip, str(number)) for port, ip, number in _ports(wanted)}
        expose = [f"{port}/tcp" for port in wanted.get("expose", ())]
        return {"networks": networks, "ports": ports, "links": wanted.get("links"), "expose": expose}

    def addresses(self, endpoints: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
        """Name all: `web@front/4`, `front/4` for its gateway, `host/4`, `other/4`, `lo/4` of the host, `outside/4`.

        endpoints: of each container NetworkSettings.Networks, as it is inspected.
        """
        named = {"host": HOST, "other": OTHER, "lo": {"4": "127.0.0.1", "6": "::1"}, "outside": OUTSIDE}
        for name, networks in endpoints.items():
            for network, one in networks.items():
                named[f"{name}@{network}"] = {"4": one["IPAddress"], "6": one["GlobalIPv6Address"]}
                if network not in self.without_gateway:
                    named[network] = self._gateways(network)
        return {f"{name}/{family}": one for name, both in named.items() for family, one in both.items() if one}

    def cells(self, parties: Iterable[Party], addresses: Iterable[str]) -> Iterator[Cell]:
        for client in (party.name for party in parties):
            for target in addresses:
                if client == "host" or not target.startswith("lo/"):
                    yield from (Cell(client, target, kind) for kind in self.kinds(target))

    def kinds(self, target: str) -> list[str]:
        """Give how a named address is asked."""
        sort = self._sort(target)
        published = {kind for container in self.containers for kind in self.published(container)}
        return [*_ASKED[sort], *(sorted(published) if sort == "host" else ())]

    def published(self, container: str) -> set[str]:
        """Give the kinds of questions that lead to it by the host's addresses."""
        return {f"{port.partition('/')[2]} {number}" for port, _, number in _ports(self.containers[container])}

    def served(self, party: str) -> tuple[int, ...]:
        return _SERVED[self._sort(party)]

    def published_without_ipv6(self) -> set[str]:
        """Give the kinds of questions that lead to containers without IPv6."""
        return {
            kind
            for name, wanted in self.containers.items()
            if not any("6" in self._subnets(network) for network in wanted["networks"])
            for kind in self.published(name)
        }

    def _sort(self, name: str) -> str:
        if name.startswith("outside"):
            return "outside"
        if "@" in name or name in self.containers:
            return "member"
        return "host" if name == "host" or name.startswith(_OF_THE_HOST) else "gateway"

    def _subnets(self, network: str) -> dict[str, str]:
        wanted = self.networks.get(network, {"ipam": {"config": [{"subnet": "172.17.0.0/16"}]}})
        found = [config["subnet"] for config in wanted["ipam"]["config"]]
        return {str(ip_network(subnet).version): subnet for subnet in found}

    def _gateways(self, network: str) -> dict[str, str]:
        return {family: str(ip_network(subnet)[1]) for family, subnet in self._subnets(network).items()}

    def _addresses(self, network: str, number: int) -> dict[str, str]:
        subnets = self._subnets(network) if number else {}
        return {f"ipv{family}_address": str(ip_network(subnet)[number]) for family, subnet in subnets.items()}


def _ports(container: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    for port, (ip, number) in container.get("ports", {}).items():
        yield port, ip, number


def _short_port(port: str, ip: str, number: int) -> str:
    address = f"[{ip}]:" if ":" in ip else f"{ip}:" if ip else ""
    return f"{address}{number}:{port}"
