"""What `network inspect` shows, in docker's words: see `attachment_document`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain
from typing import Final

from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredSubnet,
    RemoteEndpoint,
)
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import IPAddress
from reconciler.model.subnets import is_reserved
from reconciler.model.wanted import BridgeOptions
from reconciler.status.json_text import Json

_UINT64_MAX: Final = (1 << 64) - 1
"""What the engine counts up to: the free addresses of a /64 and wider."""


def network_document(network: DesiredNetwork, attachments: Sequence[DesiredAttachment]) -> dict[str, Json]:
    """Return one item of the array that `docker network inspect` prints. attachments: those to list, on this network or not."""
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
        "Containers": _containers(network, attachments),
        "Options": _options(network),
        "Labels": dict(wanted.labels),
        "Status": {"IPAM": _pools_status(network, attachments)},
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


def _containers(network: DesiredNetwork, attachments: Sequence[DesiredAttachment]) -> dict[str, Json]:
    """List the endpoints here by container, then those on other hosts, of which only the endpoint is known."""
    here: dict[str, Json] = {
        attachment.id: _container(
            f"gateway_{attachment.id[:12]}" if endpoint.wanted.is_gateway else attachment.name, endpoint
        )
        for attachment in sorted(attachments, key=lambda attachment: attachment.id)
        for endpoint in attachment.endpoints
        if endpoint.network == network.name
    }
    return here | {f"ep-{endpoint.id}": _container(endpoint.name, endpoint) for endpoint in network.remote_endpoints}


def _container(name: str, endpoint: DesiredEndpoint | RemoteEndpoint) -> dict[str, Json]:
    return {
        "Name": name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": str(endpoint.ipv4 or ""),
        "IPv6Address": str(endpoint.ipv6 or ""),
    }


def _pools_status(network: DesiredNetwork, attachments: Sequence[DesiredAttachment]) -> dict[str, Json]:
    """Return how full the pools are; a network without pools has nothing to say."""
    used = set(_addresses(network, attachments))
    pools: dict[str, Json] = {
        str(subnet.subnet): _usage(subnet, {address for address in used if address in subnet.subnet})
        for subnet in network.subnets
    }
    return {"Subnets": pools} if pools else {}


def _addresses(network: DesiredNetwork, attachments: Sequence[DesiredAttachment]) -> Iterator[IPAddress]:
    here = (
        endpoint for attachment in attachments for endpoint in attachment.endpoints if endpoint.network == network.name
    )
    members: Iterable[DesiredEndpoint | RemoteEndpoint] = chain(here, network.remote_endpoints)
    for member in members:
        yield from (interface.ip for interface in (member.ipv4, member.ipv6) if interface is not None)


def _usage(subnet: DesiredSubnet, members: Set[IPAddress]) -> dict[str, Json]:
    """Count as the engine does: what is reserved is in use, and what is left in the range can be chosen."""
    pool = subnet.subnet
    gateways = (subnet.gateway, subnet.default_gateway)
    ends = (address for address in (pool[0], pool[-1]) if is_reserved(address, pool))
    used = {*members, *ends, *(g for g in gateways if g is not None), *(aux for _, aux in subnet.aux_addresses)}
    choice = subnet.ip_range or pool
    left = choice.num_addresses - sum(address in choice for address in used)
    return {"IPsInUse": len(used), "DynamicIPsAvailable": min(left, _UINT64_MAX)}
