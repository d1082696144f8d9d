"""What was declared, as a small plain picture, and the specs that say so. Nothing here is the product's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

IPNetwork = IPv4Network | IPv6Network
EndpointKey = tuple[str, str]
"""The names of an attachment and of one of its networks."""

BRIDGES: Final = ("n1", "n2", "n3", "n4")
SUBLINKS: Final = ("mv1", "mv2")
"""Macvlan networks, on `lan0` and on no link of the host."""

DEFAULT: Final = "bridge"
GUEST: Final = "guest"
"""An attachment to a namespace of others, which was there before."""

ATTACHMENTS: Final = ("a", "b", "c", "d", GUEST)
PARENT: Final = "lan0"
_BRIDGE: Final = "com.docker.network.bridge."
_MODES: Final = (f"{_BRIDGE}gateway_mode_ipv4", f"{_BRIDGE}gateway_mode_ipv6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network. number: of which its subnets are made, 0: the product chooses one. gateway: its place in the subnet.

    has_range: addresses are chosen from a part of a declared subnet, in which one is spoken for.
    """

    name: str
    number: int
    families: str = "4"
    gateway: int = 1
    is_internal: bool = False
    is_isolated: bool = False
    has_icc: bool = True
    masquerades: bool = True
    mtu: int = 1500
    bridge_name: str = ""
    label: str = ""
    is_protected: bool = False
    mode: str = "bridge"
    has_range: bool = False

    @property
    def is_bridged(self) -> bool:
        return self.name not in SUBLINKS

    @property
    def leads_nowhere(self) -> bool:
        """Say whether its members have no way out by it: macvlan without a link of the host is internal."""
        return self.is_internal or self.name == SUBLINKS[1]

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(int(each) for each in self.families)

    def subnet(self, version: int) -> IPNetwork | None:
        """Return the declared subnet, None where the product chooses it."""
        if not self.number:
            return None
        return ip_network(f"10.{self.number}.0.0/24" if version == 4 else f"fd00:{self.number}::/64")

    def chosen_from(self, version: int) -> IPNetwork | None:
        """Return where addresses are chosen from, None for the whole subnet."""
        if not (self.number and self.has_range):
            return None
        return ip_network(f"10.{self.number}.0.128/25" if version == 4 else f"fd00:{self.number}::8000/113")

    def has_gateway(self, version: int) -> bool:
        """Say whether the host has an address on it."""
        return self.is_bridged and not self.is_isolated and version in self.versions

    def spec(self) -> dict[str, Any]:
        options: dict[str, str] = {}
        if self.is_bridged:
            if not self.has_icc:
                options[f"{_BRIDGE}enable_icc"] = "false"
            if not self.masquerades:
                options[f"{_BRIDGE}enable_ip_masquerade"] = "false"
            if self.bridge_name:
                options[f"{_BRIDGE}name"] = self.bridge_name
            if self.is_isolated:
                options |= dict.fromkeys(_MODES, "isolated")
        else:
            options["macvlan_mode"] = self.mode
            if self.name == SUBLINKS[0]:
                options["parent"] = PARENT
        if self.mtu != 1500:
            options["com.docker.network.driver.mtu"] = str(self.mtu)
        found: dict[str, Any] = {"driver_opts": options, "labels": {"com.example.label": self.label}}
        if self.name != DEFAULT:
            found |= {
                "driver": "bridge" if self.is_bridged else "macvlan",
                "internal": self.is_internal,
                "enable_ipv4": "4" in self.families,
                "enable_ipv6": "6" in self.families,
                "protect": self.is_protected,
            }
        if self.number:
            found["ipam"] = {"config": [self._pool(version) for version in self.versions]}
        return found

    def _pool(self, version: int) -> dict[str, Any]:
        subnet = self.subnet(version)
        assert subnet is not None
        found: dict[str, Any] = {"subnet": str(subnet)}
        if not self.is_isolated:
            found["gateway"] = str(subnet[self.gateway])
        if (part := self.chosen_from(version)) is not None:
            found |= {"ip_range": str(part), "aux_addresses": {"printer": str(part[1])}}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An attachment on a network. place: of its addresses in the subnet, 0: the product chooses them."""

    place: int = 0
    mac: str = ""
    aliases: tuple[str, ...] = ()
    ifname: str = ""
    gw_priority: int = 0

    def spec(self, network: Network) -> dict[str, Any]:
        found: dict[str, Any] = {"aliases": list(self.aliases), "gw_priority": self.gw_priority}
        for version in network.versions:
            subnet = network.subnet(version)
            if self.place and subnet is not None:
                found[f"ipv{version}_address"] = str(subnet[self.place])
        if self.mac:
            found["mac_address"] = self.mac
        if self.ifname:
            found["interface_name"] = self.ifname
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A published port. host_ip: "" for all."""

    host_port: int
    port: int = 80
    protocol: str = "tcp"
    host_ip: str = ""

    def spec(self) -> str:
        host_ip = f"{self.host_ip}:" if self.host_ip else ""
        return f"{host_ip}{self.host_port}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """links: whom it asks by another name, where they are on one of its networks."""

    name: str
    networks: Mapping[str, Endpoint]
    ports: tuple[Port, ...] = ()
    links: tuple[str, ...] = ()

    def on(self, network: str, endpoint: Endpoint) -> Attachment:
        return replace(self, networks={**self.networks, network: endpoint})

    def off(self, network: str) -> Attachment:
        return replace(self, networks={name: one for name, one in self.networks.items() if name != network})


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is declared: networks and attachments by name."""

    networks: Mapping[str, Network] = field(default_factory=lambda: {DEFAULT: Network(name=DEFAULT, number=0)})
    attachments: Mapping[str, Attachment] = field(default_factory=dict)

    def with_network(self, network: Network) -> Picture:
        return replace(self, networks={**self.networks, network.name: network})

    def without_networks(self, *names: str) -> Picture:
        """Take networks out, and whoever is on nothing else with them."""
        found = replace(self, networks={name: one for name, one in self.networks.items() if name not in names})
        for each in self.attachments.values():
            rest = each
            for name in names:
                rest = rest.off(name)
            found = found.with_attachment(rest)
        return found

    def with_attachment(self, attachment: Attachment) -> Picture:
        """Put it in; one that is on no network goes."""
        others = {name: one for name, one in self.attachments.items() if name != attachment.name}
        return replace(self, attachments=others | ({attachment.name: attachment} if attachment.networks else {}))

    def endpoints(self) -> Iterator[tuple[EndpointKey, Endpoint]]:
        for attachment in self.attachments.values():
            for network, endpoint in attachment.networks.items():
                yield (attachment.name, network), endpoint

    def members(self, network: str) -> list[str]:
        return [name for name, each in self.attachments.items() if network in each.networks]

    def places(self, network: str) -> set[int]:
        """Return the places in the subnets that are spoken for."""
        wanted = self.networks[network]
        spoken_for = {0x81, 0x8001} if wanted.has_range else set()
        return {one.place for (_, name), one in self.endpoints() if name == network} | {wanted.gateway} | spoken_for

    def way_out(self, attachment: str, version: int) -> str:
        """Return through which network it reaches all else, "" for none."""
        joined = self.attachments[attachment].networks
        offers = {name: self._offered(self.networks[name]) for name in joined}
        found = [
            (-joined[name].gw_priority, self.networks[name].leads_nowhere, -len(offers[name]), name)
            for name in joined
            if version in offers[name]
        ]
        return min(found)[-1] if found else ""

    def _offered(self, network: Network) -> tuple[int, ...]:
        return () if network.leads_nowhere else network.versions

    def text(self) -> str:
        return "# made by tests/model\n" + json_text(
            {
                "networks": {name: network.spec() for name, network in self.networks.items()},
                "attachments": {name: self._attachment(each) for name, each in self.attachments.items()},
            }
        )

    def _attachment(self, attachment: Attachment) -> dict[str, Any]:
        near = {other for network in attachment.networks for other in self.members(network)} - {attachment.name}
        links = [f"{other}:to-{other}" for other in attachment.links if other in near]
        if DEFAULT in attachment.networks:
            links = [link for link in links if link.partition(":")[0] in self.members(DEFAULT)]
        return {
            "networks": {name: one.spec(self.networks[name]) for name, one in attachment.networks.items()},
            "ports": [port.spec() for port in attachment.ports],
            "links": links,
        }


def json_text(value: Mapping[str, Mapping[str, Any]]) -> str:
    """Return YAML with a line for each entry."""
    return "".join(
        f"{section}:\n" + "".join(f"  {name}: {json.dumps(entry)}\n" for name, entry in entries.items())
        for section, entries in value.items()
        if entries
    )
