"""The gateway of each pool, and what its containers use as their default route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from reconciler.errors import PoolExhausted
from reconciler.ipam.addresses import Pool
from reconciler.ipam.promises import NetworkPromise
from reconciler.model.desired import DesiredSubnet
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.wanted import GatewayMode, NetworkWanted, SubnetWanted

DEFAULT_GATEWAY_AUX: Final = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}
"""Auxiliary addresses of these names are the containers' default route (docs/design/docker.md#gateways)."""


def completed_subnets(
    network: NetworkWanted, pools: Sequence[IPNetwork], promise: NetworkPromise | None
) -> tuple[DesiredSubnet, ...]:
    """Return the pools with their gateways. Raises PoolExhausted where a pool has no room for one."""
    declared = {entry.subnet: entry for entry in network.subnets}
    promised = dict(promise.subnets) if promise else {}
    return tuple(_completed(network, pool, declared.get(pool), promised) for pool in pools)


def _completed(
    network: NetworkWanted,
    pool: IPNetwork,
    declared: SubnetWanted | None,
    promised: Mapping[IPNetwork, IPAddress | None],
) -> DesiredSubnet:
    entry = declared or SubnetWanted(subnet=pool)
    gateway = _gateway(network, entry, promised.get(pool)) if _has_gateway(network, entry) else None
    aux = dict(entry.aux_addresses)
    return DesiredSubnet(
        subnet=pool,
        gateway=gateway,
        default_gateway=aux.get(DEFAULT_GATEWAY_AUX[pool.version], gateway),
        ip_range=entry.ip_range,
        aux_addresses=entry.aux_addresses,
        is_declared=declared is not None,
        is_gateway_declared=gateway is not None and entry.gateway is not None,
    )


def _has_gateway(network: NetworkWanted, entry: SubnetWanted) -> bool:
    """Nobody answers on an isolated network, nor without need on an internal one whose bridge has no address.

    The gateway of a macvlan or ipvlan network is somebody outside, whom only the user knows.
    """
    if network.sublink is not None:
        return entry.gateway is not None
    options, version = network.bridge_options, entry.subnet.version
    is_needless = version == 4 and options.is_ipv4_inhibited and network.is_internal and entry.gateway is None
    return options.gateway_mode(version) is not GatewayMode.ISOLATED and not is_needless


def _gateway(network: NetworkWanted, entry: SubnetWanted, promised: IPAddress | None) -> IPAddress:
    if entry.gateway is not None:
        return entry.gateway
    room = _room(entry, entry.ip_range)
    if promised is not None and room.obstacle(int(promised)) is None:
        return promised
    found = None
    if entry.ip_range is not None and not room.has_room_for(2):
        # The only address of the range is for an attachment, if there is any other.
        beside = _room(entry, None)
        for address in entry.ip_range:
            beside.take(int(address), "it is in the range")
        found = beside.next_free()
    found = room.next_free() if found is None else found
    if found is None:
        raise PoolExhausted(
            f"network {network.name}: no available addresses on this pool: {entry.ip_range or entry.subnet} has no room for a "
            "gateway; declare a larger subnet or the gateway itself"
        )
    return room.interface(found).ip


def _room(entry: SubnetWanted, ip_range: IPNetwork | None) -> Pool:
    room = Pool(DesiredSubnet(subnet=entry.subnet, gateway=None, default_gateway=None, ip_range=ip_range))
    for name, address in entry.aux_addresses:
        room.take(int(address), f"auxiliary address {name}")
    return room
