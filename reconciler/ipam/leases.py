"""Pools and addresses that IPAM plugins give: what is to be asked of them, and what they gave. Pure.

`assign` takes what a plugin gave as if the specs had named it, so that all else chooses, checks and compares as ever.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.ipam.macs import derived_mac
from reconciler.ipam.pools import families
from reconciler.model.identifiers import endpoint_id
from reconciler.model.objects import Key, PluginAddress, PluginLease, PluginPool, Unit
from reconciler.model.plugins import OWN_IPAM, PluginFacts, PoolLease
from reconciler.model.wanted import EndpointWanted, NetworkWanted, SubnetWanted, WantedState

Incarnations = Mapping[str, str]
"""By name of an IPAM plugin, what tells the one that runs from those before it; "" where nothing does."""


class Leases(Struct, frozen=True, kw_only=True):
    """What IPAM plugins gave, for the choices to be made with. Whoever has no such plugin is in none of these.

    networks: by name, with the pools given as if the specs had named them. endpoints: likewise with addresses, and with the MAC
    address that the plugin was told. awaiting: networks and endpoints that were not given all yet. asked: what shall be asked for.
    """

    networks: Mapping[str, NetworkWanted] = field(default_factory=dict)
    endpoints: Mapping[tuple[str, str], EndpointWanted] = field(default_factory=dict)
    awaiting: frozenset[Unit] = frozenset()
    asked: tuple[PluginLease, ...] = ()


NO_LEASES: Final = Leases()


def ipam_plugins(wanted: WantedState) -> frozenset[str]:
    """Return the names of the IPAM plugins that networks have their addresses from."""
    return frozenset(network.ipam_driver for network in wanted.networks) - OWN_IPAM


def leases(
    wanted: WantedState, facts: PluginFacts, incarnations: Incarnations, host: str, *, unresolved: Container[str] = ()
) -> Leases:
    """Return what IPAM plugins gave and what they are to be asked. host: name of this one.

    unresolved: networks of which it is not known yet whether hosts share them; nothing is asked on their behalf.
    """
    if not ipam_plugins(wanted):
        return NO_LEASES
    book = _Book(facts, incarnations, host)
    for network in wanted.networks:
        if network.ipam_driver not in OWN_IPAM and network.name not in unresolved:
            book.add_network(network)
    for attachment in wanted.attachments:
        for endpoint in attachment.endpoints:
            if endpoint.network in book.pools:
                book.add_endpoint(attachment.name, endpoint)
    return Leases(
        networks=book.networks, endpoints=book.endpoints, awaiting=frozenset(book.awaiting), asked=tuple(book.asked)
    )


class _Book:
    """One walk through networks, then attachments. asked: all that is wanted of IPAM plugins, given already or not."""

    def __init__(self, facts: PluginFacts, incarnations: Incarnations, host: str) -> None:
        self.networks: dict[str, NetworkWanted] = {}
        self.endpoints: dict[tuple[str, str], EndpointWanted] = {}
        self.awaiting: set[Unit] = set()
        self.asked: list[PluginLease] = []
        self.pools: dict[str, list[PoolLease]] = {}
        self._told: Mapping[Key, object] = {call.key: call for call in facts.calls}
        self._facts = facts
        self._incarnations = incarnations
        self._host = host

    def add_network(self, network: NetworkWanted) -> None:
        asked = [self._incarnated(pool) for pool in asked_pools(network)]
        given = [lease for pool in asked if (lease := self._given_pool(pool)) is not None]
        self.asked += asked
        if len(given) < len(asked):
            self.awaiting.add(Unit(network=network.name))
        else:
            self.pools[network.name] = given
            self.networks[network.name] = replace(network, subnets=tuple(map(_subnet, given)))

    def add_endpoint(self, attachment: str, endpoint: EndpointWanted) -> None:
        network, pools = self.networks[endpoint.network], self.pools[endpoint.network]
        mac = endpoint.mac_address or ""
        if not mac and any(lease.needs_mac for lease in pools):
            mac = derived_mac(endpoint_id(self._host, endpoint.network, attachment))
        given: dict[int, IPv4Address | IPv6Address] = {}
        asked = list(self._addresses(attachment, endpoint, network, pools, mac))
        for each in asked:
            interface = self._given_address(each)
            if interface is not None:
                given[each.version] = interface
        self.asked += asked
        if len(given) < len(asked):
            self.awaiting.add(Unit(network=network.name, attachment=attachment))
        self.endpoints[network.name, attachment] = replace(
            endpoint,
            ipv4_address=ipv4 if isinstance(ipv4 := given.get(4), IPv4Address) else None,
            ipv6_address=ipv6 if isinstance(ipv6 := given.get(6), IPv6Address) else None,
            mac_address=mac or None,
        )

    def _addresses(
        self,
        attachment: str,
        endpoint: EndpointWanted,
        network: NetworkWanted,
        pools: list[PoolLease],
        mac: str,
    ) -> Iterator[PluginAddress]:
        declared: dict[int, IPv4Address | IPv6Address | None] = {4: endpoint.ipv4_address, 6: endpoint.ipv6_address}
        for version in families(network):
            address = declared[version]
            of_family = [lease for lease in pools if lease.pool.version == version]
            lease = next((one for one in of_family if address is None or address in one.pool), None)
            if lease is not None:
                yield self._incarnated_address(
                    PluginAddress(
                        unit=Unit(network=network.name, attachment=attachment),
                        network=network.name,
                        attachment=attachment,
                        driver=network.ipam_driver,
                        version=version,
                        pool_id=lease.pool_id,
                        address=str(address or ""),
                        mac=mac if lease.needs_mac else "",
                    ),
                    lease,
                )

    def _incarnated(self, asked: PluginPool) -> PluginPool:
        lease = self._facts.pools.get(asked.key)
        return replace(
            asked, incarnation=self._incarnation(asked, needs_replay=lease is not None and lease.needs_replay)
        )

    def _incarnated_address(self, asked: PluginAddress, lease: PoolLease) -> PluginAddress:
        return replace(asked, incarnation=self._incarnation(asked, needs_replay=lease.needs_replay))

    def _incarnation(self, asked: PluginLease, *, needs_replay: bool) -> str:
        """Return that of the plugin that runs, if it wants to be asked again; while none runs, that of the one asked last."""
        told = self._told.get(asked.key)
        before = told.incarnation if isinstance(told, (PluginPool, PluginAddress)) else ""
        return (self._incarnations.get(asked.driver) or before) if needs_replay else ""

    def _given_pool(self, asked: PluginPool) -> PoolLease | None:
        told = self._told.get(asked.key)
        is_given = isinstance(told, PluginPool) and replace(told, incarnation=asked.incarnation) == asked
        return self._facts.pools.get(asked.key) if is_given else None

    def _given_address(self, asked: PluginAddress) -> IPv4Address | IPv6Address | None:
        told = self._told.get(asked.key)
        is_given = isinstance(told, PluginAddress) and replace(told, incarnation=asked.incarnation) == asked
        interface = self._facts.addresses.get(asked.key) if is_given else None
        return None if interface is None else interface.ip


def asked_pools(network: NetworkWanted) -> Iterator[PluginPool]:
    """Yield what an IPAM plugin is asked for on behalf of a network: the declared pools, or any one of each family."""
    for version in families(network):
        declared = [entry for entry in network.subnets if entry.subnet.version == version]
        for number, entry in enumerate(declared or [None]):
            yield PluginPool(
                unit=Unit(network=network.name),
                network=network.name,
                driver=network.ipam_driver,
                version=version,
                number=number,
                pool=str(entry.subnet) if entry else "",
                sub_pool=str(entry.ip_range) if entry and entry.ip_range else "",
                gateway=str(entry.gateway) if entry and entry.gateway else "",
                aux=_text({name: str(address) for name, address in entry.aux_addresses} if entry else {}),
                options=_text(dict(network.ipam_options or ())),
                scope_driver=network.driver if network.traits.is_plugin else "",
            )


def _subnet(lease: PoolLease) -> SubnetWanted:
    return SubnetWanted(subnet=lease.pool, gateway=lease.gateway, aux_addresses=lease.aux)


def _text(value: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(value.items())), separators=(",", ":"))
