"""What of the outside world a subnet on the host would hide: one rule, for what is declared and for what is chosen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from reconciler.model.adoption import Adopt
from reconciler.model.desired import DesiredNetwork, HostFacts
from reconciler.model.objects import IPNetwork, Unit
from reconciler.model.wanted import GatewayMode, NetworkWanted

_EVERYTHING_BELOW: Final = 8
"""Routes with a shorter prefix speak of the whole internet (OpenVPN's 0.0.0.0/1 and 128.0.0.0/1), not of a network."""

Hidden = tuple[IPNetwork, str]
"""A part of the world, and what it is to the host."""


def hidden_parts(host: HostFacts) -> Iterator[Hidden]:
    """Yield what no subnet of ours may hide, what hurts most first."""
    for address, what in host.needed:
        yield ip_network(address), what
    for destination, ifname in host.routes:
        if destination.prefixlen >= _EVERYTHING_BELOW:
            yield destination, f"the host's route to {destination}" + (f" by {ifname}" if ifname else "")


def host_networks(host: HostFacts) -> Iterator[IPNetwork]:
    """Yield what no automatic choice may hide: all that, and the host's name servers."""
    yield from (part for part, _ in hidden_parts(host))
    for text in (host.resolv_conf, host.resolved_conf):
        for line in text.splitlines():
            match line.split():
                case ["nameserver", address, *_]:
                    yield from _single(address)


def _single(address: str) -> Iterator[IPNetwork]:
    try:
        yield ip_network(ip_address(address.partition("%")[0]))
    except ValueError:
        return


def hidden_by(network: NetworkWanted, pools: Iterable[IPNetwork], host: HostFacts) -> str:
    """Return what of the world the pools of a network would hide from the host; "" for nothing, and for who insists on it.

    Only a bridge with an address brings a route to the host. What the host reaches by a bridge that the network takes over it goes
    on reaching so.
    """
    if not network.traits.has_host_bridge or network.is_overlap_allowed:
        return ""
    for pool in pools:
        if _has_address(network, pool.version) and not _is_adopted(network, pool, host):
            for part, what in hidden_parts(host):
                if part.version == pool.version and part.overlaps(pool):
                    return f"subnet {pool} covers {what}"
    return ""


def _is_adopted(network: NetworkWanted, pool: IPNetwork, host: HostFacts) -> bool:
    if network.adopt is Adopt.NO:
        return False
    by_bridge = (to for to, ifname in host.routes if ifname == network.bridge_options.link_name)
    return any(to.version == pool.version and to.prefixlen <= pool.prefixlen and pool[0] in to for to in by_bridge)


def _has_address(network: NetworkWanted, version: int) -> bool:
    options = network.bridge_options
    is_inhibited = version == 4 and options.is_ipv4_inhibited
    return options.gateway_mode(version) is not GatewayMode.ISOLATED and not is_inhibited


def reach_remarks(
    networks: Iterable[DesiredNetwork], before: Mapping[str, frozenset[IPNetwork]], host: HostFacts
) -> Iterator[tuple[Unit, str]]:
    """Yield remarks about networks that ran before they covered something: what the host has since must not take them away."""
    for network in networks:
        pools = [subnet.subnet for subnet in network.subnets if subnet.subnet in before.get(network.name, ())]
        if pools and (hidden := hidden_by(network.wanted, pools, host)):
            yield (
                network.unit,
                f"its {hidden}, which the host cannot reach: choose another subnet, or `allow_overlap: true`",
            )
