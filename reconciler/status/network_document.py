"""What `network inspect` shows, in docker's words: see `attachment_document`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

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
from reconciler.status.json_text import Json, Rendered, json_text, member_text
from reconciler.status.members import LISTED_DEPTH, Listed, Members, Taken

_UINT64_MAX: Final = (1 << 64) - 1
"""What the engine counts up to: the free addresses of a /64 and wider."""


_MEMBERS: Final = Rendered("\2")
"""Stands for the members of `Containers`, whose text there is already; no JSON text has this character."""


def network_file(network: DesiredNetwork, members: Members) -> tuple[bytes, ...]:
    """Return what `docker network inspect` prints, in pieces: the members are not copied for it."""
    head, _, tail = json_text([_document(network, members)]).partition(_MEMBERS.text)
    pieces = members.pieces()
    if not pieces:
        return (f"{head}{{}}{tail}".encode(),)
    return (f"{head}{{".encode(), *pieces, f"\n{(LISTED_DEPTH - 1) * '    '}}}{tail}".encode())


def _document(network: DesiredNetwork, members: Members) -> dict[str, Json]:
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
        "Containers": _MEMBERS,
        "Options": _options(network),
        "Labels": dict(wanted.labels),
        "Status": {"IPAM": _pools_status(network, members)},
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
    return Listed(member_text(key, _container(name, endpoint), LISTED_DEPTH), *addresses)


def _container(name: str, endpoint: DesiredEndpoint | RemoteEndpoint) -> dict[str, Json]:
    return {
        "Name": name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": str(endpoint.ipv4 or ""),
        "IPv6Address": str(endpoint.ipv6 or ""),
    }


def _pools_status(network: DesiredNetwork, members: Members) -> dict[str, Json]:
    """Return how full the pools are; a network without pools has nothing to say."""
    taken = members.taken(pool for each in network.subnets for pool in (each.subnet, _range(each)))
    pools: dict[str, Json] = {str(each.subnet): _usage(each, taken) for each in network.subnets}
    return {"Subnets": pools} if pools else {}


def _range(subnet: DesiredSubnet) -> IPNetwork:
    return subnet.ip_range or subnet.subnet


def _usage(subnet: DesiredSubnet, taken: Mapping[IPNetwork, Taken]) -> dict[str, Json]:
    """Count as the engine does: what is reserved is in use, and what is left in the range can be chosen."""
    in_pool, in_range = taken[subnet.subnet], taken[_range(subnet)]
    reserved = {*map(int, _reserved(subnet))}
    left = _range(subnet).num_addresses - in_range.with_others(filter(in_range.is_inside, reserved))
    return {"IPsInUse": in_pool.with_others(reserved), "DynamicIPsAvailable": min(left, _UINT64_MAX)}


def _reserved(subnet: DesiredSubnet) -> Iterator[IPAddress]:
    yield from (address for address in (subnet.subnet[0], subnet.subnet[-1]) if is_reserved(address, subnet.subnet))
    yield from (gateway for gateway in (subnet.gateway, subnet.default_gateway) if gateway is not None)
    yield from (address for _, address in subnet.aux_addresses)
