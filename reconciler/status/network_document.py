"""What `network inspect` shows, in docker's words: see `attachment_document`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredSubnet,
    RemoteEndpoint,
)
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.subnets import is_reserved
from reconciler.model.wanted import BridgeOptions
from reconciler.status.json_text import Json, member_text, rendered_object

_UINT64_MAX: Final = (1 << 64) - 1
"""What the engine counts up to: the free addresses of a /64 and wider."""


_LISTED_DEPTH: Final = 3
"""Of the members of `Containers` in the array that is printed."""


class Listed(Struct, frozen=True):
    """An endpoint as its network's document lists it. text: the member of `Containers`; ipv4, ipv6: its addresses as numbers."""

    text: str
    ipv4: int | None
    ipv6: int | None


def network_document(network: DesiredNetwork, listed: Sequence[Listed]) -> dict[str, Json]:
    """Return one item of the array that `docker network inspect` prints. listed: its endpoints, in the order shown."""
    wanted = network.wanted
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": network.scope,
        "Driver": wanted.driver,
        "EnableIPv4": wanted.is_ipv4_enabled,
        "EnableIPv6": wanted.is_ipv6_enabled,
        "IPAM": {
            "Driver": wanted.ipam_driver,
            "Options": _ipam_options(network),
            "Config": [_subnet(subnet) for subnet in network.subnets],
        },
        "Internal": wanted.is_internal,
        "Attachable": wanted.is_attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": rendered_object((each.text for each in listed), _LISTED_DEPTH),
        "Options": _options(network),
        "Labels": dict(wanted.labels),
        "Status": {"IPAM": _pools_status(network, listed)},
    }


def _ipam_options(network: DesiredNetwork) -> Json:
    """The engine's own networks never had any (null); docker's client always sends a map for those of users."""
    options = network.wanted.ipam_options
    if options is None and network.name in BUILTIN_NETWORKS:
        return None
    return dict(options or ())


def _subnet(subnet: DesiredSubnet) -> dict[str, Json]:
    is_gateway_shown = subnet.is_gateway_declared or not subnet.is_declared
    shown: dict[str, Json] = {"Subnet": str(subnet.subnet)}
    if subnet.ip_range is not None:
        shown["IPRange"] = str(subnet.ip_range)
    if subnet.gateway is not None and is_gateway_shown:
        shown["Gateway"] = str(subnet.gateway)
    if subnet.aux_addresses:
        shown["AuxiliaryAddresses"] = {name: str(address) for name, address in subnet.aux_addresses}
    return shown


def _options(network: DesiredNetwork) -> dict[str, Json]:
    """As typed; the default bridge shows what is in force, as the engine always sends its own settings for it."""
    options: dict[str, Json] = dict(network.wanted.options)
    if network.name == "bridge":
        options |= _default_bridge_options(network, network.wanted.bridge_options)
    return dict(sorted(options.items()))


def _default_bridge_options(network: DesiredNetwork, bridge: BridgeOptions) -> dict[str, Json]:
    prefix = "com.docker.network"
    return {
        f"{prefix}.bridge.default_bridge": "true",
        f"{prefix}.bridge.enable_icc": _word(bridge.is_icc_enabled),
        f"{prefix}.bridge.enable_ip_masquerade": _word(bridge.is_masquerade_enabled),
        f"{prefix}.bridge.host_binding_ipv4": str(bridge.host_binding or "0.0.0.0"),
        f"{prefix}.bridge.name": network.link_name,
        f"{prefix}.driver.mtu": str(network.mtu),
    }


def _word(value: bool) -> str:
    return "true" if value else "false"


def listed_here(attachment: DesiredAttachment, endpoint: DesiredEndpoint) -> Listed:
    name = f"gateway_{attachment.id[:12]}" if endpoint.wanted.is_gateway else attachment.name
    return _listed(attachment.id, name, endpoint)


def listed_elsewhere(endpoint: RemoteEndpoint) -> Listed:
    """Return one on another host, of which only the endpoint is known."""
    return _listed(f"ep-{endpoint.id}", endpoint.name, endpoint)


def _listed(key: str, name: str, endpoint: DesiredEndpoint | RemoteEndpoint) -> Listed:
    addresses = (None if interface is None else int(interface.ip) for interface in (endpoint.ipv4, endpoint.ipv6))
    return Listed(member_text(key, _container(name, endpoint), _LISTED_DEPTH), *addresses)


def _container(name: str, endpoint: DesiredEndpoint | RemoteEndpoint) -> dict[str, Json]:
    return {
        "Name": name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": str(endpoint.ipv4 or ""),
        "IPv6Address": str(endpoint.ipv6 or ""),
    }


def _pools_status(network: DesiredNetwork, listed: Sequence[Listed]) -> dict[str, Json]:
    """Return how full the pools are; a network without pools has nothing to say."""
    pools: dict[str, Json] = {str(subnet.subnet): _usage(subnet, listed) for subnet in network.subnets}
    return {"Subnets": pools} if pools else {}


def _usage(subnet: DesiredSubnet, listed: Iterable[Listed]) -> dict[str, Json]:
    """Count as the engine does: what is reserved is in use, and what is left in the range can be chosen."""
    pool = subnet.subnet
    members = [each.ipv4 if pool.version == 4 else each.ipv6 for each in listed]
    used = {*_inside(pool, members), *map(int, _reserved(subnet))}
    choice = subnet.ip_range or pool
    left = choice.num_addresses - len(_inside(choice, used))
    return {"IPsInUse": len(used), "DynamicIPsAvailable": min(left, _UINT64_MAX)}


def _inside(pool: IPNetwork, addresses: Iterable[int | None]) -> list[int]:
    first, last = int(pool[0]), int(pool[-1])
    return [address for address in addresses if address is not None and first <= address <= last]


def _reserved(subnet: DesiredSubnet) -> Iterator[IPAddress]:
    yield from (address for address in (subnet.subnet[0], subnet.subnet[-1]) if is_reserved(address, subnet.subnet))
    yield from (gateway for gateway in (subnet.gateway, subnet.default_gateway) if gateway is not None)
    yield from (address for _, address in subnet.aux_addresses)
