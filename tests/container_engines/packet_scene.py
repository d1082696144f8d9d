"""Networks and containers whose packets are compared: as specs for us, as requests for an engine. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any, Final

from tests.container_engines.packets import Cell

MODE: Final = "com.docker.network.bridge.gateway_mode_ipv"


def _network(
    number: int, *, families: str = "46", options: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    subnets = {"4": f"172.30.{number}.0/24", "6": f"fd30:{number}::/64"}
    config = [{"subnet": subnets[family]} for family in families]
    off = {} if "4" in families else {"enable_ipv4": False}
    return {**off, "enable_ipv6": "6" in families, "ipam": {"config": config}, "driver_opts": options or {}, **more}


NETWORKS: Final[dict[str, dict[str, Any]]] = {
    "front": _network(1),
    "back": _network(2),
    "four": _network(4, families="4"),
    "parted": _network(5, options={"com.docker.network.bridge.enable_icc": "false"}),
    "inner": _network(6, internal=True),
    "six": _network(7, families="6"),
    "open": _network(8, options={f"{MODE}4": "nat-unprotected", f"{MODE}6": "nat-unprotected"}),
    "routed": _network(9, options={f"{MODE}4": "routed", f"{MODE}6": "routed"}),
}

CONTAINERS: Final[dict[str, dict[str, Any]]] = {
    "web": {
        "networks": {"front": 2},
        "ports": {
            "80/tcp": ("", 8080),
            "80/udp": ("", 8080),
            "81/tcp": ("127.0.0.1", 8081),
            "82/tcp": ("::1", 8082),
            "83/tcp": ("192.0.2.1", 8083),
            "84/tcp": ("2001:db8::1", 8084),
            "85/tcp": ("0.0.0.0", 8085),
            "86/tcp": ("::", 8086),
        },
    },
    "near": {"networks": {"front": 3}},
    "far": {"networks": {"back": 2}, "ports": {"80/tcp": ("", 8090)}},
    "two": {"networks": {"back": 4, "front": 4}},
    "edge": {"networks": {"front": 5, "inner": 5}, "ports": {"80/tcp": ("", 8100)}},
    "old": {"networks": {"four": 2}, "ports": {"80/tcp": ("", 8040)}},
    "apart1": {"networks": {"parted": 2}, "ports": {"80/tcp": ("", 8050), "80/udp": ("", 8050)}},
    "apart2": {"networks": {"parted": 3}},
    "in1": {"networks": {"inner": 2}, "ports": {"80/tcp": ("", 8060)}},
    "in2": {"networks": {"inner": 3}},
    "plain1": {"networks": {"bridge": 0}, "ports": {"80/tcp": ("", 8010)}},
    "plain2": {"networks": {"bridge": 0}, "links": ["plain1:db"]},
    "v6": {"networks": {"six": 2}, "ports": {"80/tcp": ("", 8070)}},
    "bare": {"networks": {"open": 2}, "ports": {"80/tcp": ("", 8110)}},
    "direct": {"networks": {"routed": 2}, "ports": {"80/tcp": ("", 8120)}},
}
"""Networks with the number of the container's address in each, 0 for the next free one."""

WITHOUT_IPV6: Final = {"old", "plain1", "plain2"}
SINCE_28: Final = {"six", "open", "routed"}

HOST: Final = {"4": "192.0.2.1", "6": "2001:db8::1"}
OUTSIDE: Final = {"4": "192.0.2.2", "6": "2001:db8::2"}
ROUTES: Final = {"4": "172.16.0.0/12", "6": "fd30::/16"}
"""What `outside` knows to be behind the host, as a hostile neighbour would."""

SERVED: Final = {"member": tuple(range(80, 87)), "outside": (80,), "host": (7000,)}
"""Ports that parties serve, in TCP and UDP."""


def published(container: str) -> list[str]:
    """Give the kinds of questions that lead to it by the host's addresses."""
    ports = CONTAINERS[container].get("ports", {})
    return [f"{name.partition('/')[2]} {port}" for name, (_, port) in ports.items()]


_PUBLISHED: Final = sorted({kind for container in CONTAINERS for kind in published(container)})
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "member": ("icmp", "tcp 80", "udp 80", "tcp 81", "tcp 99", "udp 99"),
    "outside": ("icmp", "tcp 80", "udp 80", "tcp 99", "udp 99"),
    "host": ("icmp", "tcp 7000", "udp 7000", "tcp 7001", "udp 7001", *_PUBLISHED),
}
"""How an address is asked; nobody serves 99 and 7001."""


def specs() -> str:
    """Give the scene as a spec file; JSON is YAML."""
    attachments = {}
    for name, wanted in CONTAINERS.items():
        networks = {network: addresses(network, number) for network, number in wanted["networks"].items()}
        ports = [
            f"{f'[{ip}]:' if ':' in ip else f'{ip}:' if ip else ''}{number}:{port}"
            for port, (ip, number) in wanted.get("ports", {}).items()
        ]
        shown = {} if "bridge" in networks else {"networks": networks}
        attachments[name] = {**shown, "ports": ports, "links": wanted.get("links", [])}
    return json.dumps({"networks": NETWORKS, "attachments": attachments}, indent=1)


def addresses(network: str, number: int) -> dict[str, str]:
    """Give those of a container there, under the names that specs have for them."""
    found = {}
    for family, subnet in subnets(network).items() if number else ():
        found[f"ipv{family}_address"] = str(ip_network(subnet)[number])
    return found


def gateways(network: str) -> dict[str, str]:
    """Give family and address."""
    return {family: str(ip_network(subnet)[1]) for family, subnet in subnets(network).items()}


def subnets(network: str) -> dict[str, str]:
    wanted = NETWORKS.get(network, {"ipam": {"config": [{"subnet": "172.17.0.0/16"}]}})
    found = [config["subnet"] for config in wanted["ipam"]["config"]]
    return {str(ip_network(subnet).version): subnet for subnet in found}


def engine_network(name: str) -> dict[str, Any]:
    """Give the network as record.Engine.make_network wants it."""
    wanted = NETWORKS[name]
    return {
        **({} if wanted.get("enable_ipv4", True) else {"EnableIPv4": False}),
        "EnableIPv6": wanted["enable_ipv6"],
        "Internal": wanted.get("internal", False),
        "Options": wanted["driver_opts"],
        "IPAM": [{"Subnet": subnet, "Gateway": gateways(name)[family]} for family, subnet in subnets(name).items()],
    }


def engine_container(name: str) -> dict[str, Any]:
    """Give the container as record.Engine.run wants it."""
    wanted = CONTAINERS[name]
    networks = {}
    for network, number in wanted["networks"].items():
        names = {"ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address"}
        config = {names[key]: address for key, address in addresses(network, number).items()}
        networks[network] = {"IPAMConfig": config} if config else {}
    ports = {port: (ip, str(number)) for port, (ip, number) in wanted.get("ports", {}).items()}
    return {"networks": networks, "ports": ports, "links": wanted.get("links")}


def party_addresses(endpoints: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Name all addresses: `web@front/4`, `front/4` for its gateway, `host/4`, `lo/4` of the host, `outside/4`.

    endpoints: of each container NetworkSettings.Networks, as it is inspected.
    """
    found = {}
    for name, networks in endpoints.items():
        for network, one in networks.items():
            inside = {"4": one["IPAddress"], "6": one["GlobalIPv6Address"]}
            found |= {f"{name}@{network}/{family}": address for family, address in inside.items() if address}
    for network in dict.fromkeys(network for one in endpoints.values() for network in one):
        found |= {f"{network}/{family}": address for family, address in gateways(network).items()}
    for name, addresses_ in (("host", HOST), ("lo", {"4": "127.0.0.1", "6": "::1"}), ("outside", OUTSIDE)):
        found |= {f"{name}/{family}": address for family, address in addresses_.items()}
    return found


def sort_of(target: str) -> str:
    """Give the key of SERVED and KINDS for a named address or party."""
    if target.startswith("outside"):
        return "outside"
    return "member" if "@" in target or target in CONTAINERS else "host"


def kinds(target: str) -> tuple[str, ...]:
    return KINDS[sort_of(target)]


def cells(parties: Iterable[str], targets: Iterable[str]) -> Iterator[Cell]:
    for client in parties:
        for target in targets:
            if client == "host" or not target.startswith("lo/"):
                yield from (Cell(client, target, kind) for kind in kinds(target))
