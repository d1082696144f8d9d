"""Pools and addresses that IPAM plugins give: what is to be asked of them, and what they gave put into what is wanted. Pure.

What a plugin gave is wanted from then on as if the specs had named it, so that all else chooses, checks and compares as ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from reconciler.ipam.macs import derived_mac
from reconciler.ipam.pools import families
from reconciler.model.desired import DesiredAttachment, DesiredState
from reconciler.model.identifiers import endpoint_id
from reconciler.model.objects import Key, PluginAddress, PluginLease, PluginPool, Unit
from reconciler.model.plugins import OWN_IPAM, PluginFacts, PoolLease, is_plugin
from reconciler.model.wanted import AttachmentWanted, EndpointWanted, NetworkWanted, SubnetWanted, WantedState

Incarnations = Mapping[str, str]
"""By name of an IPAM plugin, what tells the one that runs from those before it; "" where nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """wanted: with what was given in place, and who awaits something marked. asked: what shall be asked for."""

    wanted: WantedState
    asked: tuple[PluginLease, ...] = ()


def ipam_plugins(wanted: WantedState) -> frozenset[str]:
    """Return the IPAM plugins that networks have their addresses from."""
    return frozenset(network.ipam_driver for network in wanted.networks) - OWN_IPAM


def with_leases(wanted: WantedState, facts: PluginFacts, incarnations: Incarnations, host: str) -> Leased:
    """Put in place what IPAM plugins gave. host: name of this one. Gives `wanted` itself where no network has such a plugin."""
    if not ipam_plugins(wanted):
        return Leased(wanted=wanted)
    book = _Book(facts, incarnations, host)
    networks = {network.name: book.network(network) for network in wanted.networks}
    attachments = tuple(book.attachment(attachment, networks) for attachment in wanted.attachments)
    filled = replace(wanted, networks=tuple(networks.values()), attachments=attachments)
    return Leased(wanted=filled, asked=tuple(book.asked))


def as_declared(desired: DesiredState, wanted: WantedState) -> DesiredState:
    """Return the state with what the specs say of endpoints' addresses, which is what inspect shows as asked for."""
    if not ipam_plugins(wanted):
        return desired
    declared = {(e.network, attachment.name): e for attachment in wanted.attachments for e in attachment.endpoints}

    def restored(attachment: DesiredAttachment) -> DesiredAttachment:
        endpoints = (
            replace(
                endpoint,
                wanted=replace(endpoint.wanted, ipv4_address=asked.ipv4_address, ipv6_address=asked.ipv6_address),
            )
            if (asked := declared.get((endpoint.network, attachment.name)))
            else endpoint
            for endpoint in attachment.endpoints
        )
        return replace(attachment, endpoints=tuple(endpoints))

    return replace(desired, attachments=tuple(map(restored, desired.attachments)))


class _Book:
    """One walk through networks, then attachments. asked: all that is wanted of IPAM plugins, given already or not."""

    def __init__(self, facts: PluginFacts, incarnations: Incarnations, host: str) -> None:
        self.asked: list[PluginLease] = []
        self._told: Mapping[Key, object] = {told.key: told for told in facts.told}
        self._facts = facts
        self._incarnations = incarnations
        self._host = host
        self._pools: dict[str, list[PoolLease]] = {}

    def network(self, network: NetworkWanted) -> NetworkWanted:
        if network.ipam_driver in OWN_IPAM or network.is_awaiting:
            return network
        asked = [self._incarnated(pool) for pool in asked_pools(network)]
        leases = [lease for pool in asked if (lease := self._given_pool(pool)) is not None]
        self.asked += asked
        if len(leases) < len(asked):
            return replace(network, is_awaiting=True)
        self._pools[network.name] = leases
        return replace(network, subnets=tuple(map(_subnet, leases)))

    def attachment(self, attachment: AttachmentWanted, networks: Mapping[str, NetworkWanted]) -> AttachmentWanted:
        endpoints = tuple(self._endpoint(attachment.name, e, networks.get(e.network)) for e in attachment.endpoints)
        return replace(attachment, endpoints=endpoints) if endpoints != attachment.endpoints else attachment

    def _endpoint(self, attachment: str, endpoint: EndpointWanted, network: NetworkWanted | None) -> EndpointWanted:
        leases = self._pools.get(endpoint.network)
        if network is None or leases is None:
            return endpoint
        mac = endpoint.mac_address or ""
        if not mac and any(lease.needs_mac for lease in leases):
            mac = derived_mac(endpoint_id(self._host, endpoint.network, attachment))
        given: dict[int, IPv4Address | IPv6Address] = {}
        asked = list(self._addresses(attachment, endpoint, network, leases, mac))
        for each in asked:
            interface = self._given_address(each)
            if interface is not None:
                given[each.version] = interface
        self.asked += asked
        return replace(
            endpoint,
            ipv4_address=ipv4 if isinstance(ipv4 := given.get(4), IPv4Address) else None,
            ipv6_address=ipv6 if isinstance(ipv6 := given.get(6), IPv6Address) else None,
            mac_address=mac or None,
            is_awaiting=len(given) < len(asked),
        )

    def _addresses(
        self,
        attachment: str,
        endpoint: EndpointWanted,
        network: NetworkWanted,
        leases: list[PoolLease],
        mac: str,
    ) -> Iterator[PluginAddress]:
        declared: dict[int, IPv4Address | IPv6Address | None] = {4: endpoint.ipv4_address, 6: endpoint.ipv6_address}
        for version in families(network):
            address = declared[version]
            of_family = [lease for lease in leases if lease.pool.version == version]
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
                scope_driver=network.driver if is_plugin(network.driver) else "",
            )


def _subnet(lease: PoolLease) -> SubnetWanted:
    return SubnetWanted(subnet=lease.pool, gateway=lease.gateway, aux_addresses=lease.aux)


def _text(value: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(value.items())), separators=(",", ":"))
