"""Networks with every choice made: id, pools, gateways, device name, MTU."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from reconciler.errors import AddressesAwaited, NameConflict, PlanError, ReconcilerError
from reconciler.ipam.adoption import adopted_by, refusal, standing_promises
from reconciler.ipam.gateways import completed_subnets
from reconciler.ipam.global_networks import global_subnets
from reconciler.ipam.leases import Leases
from reconciler.ipam.link_names import link_name
from reconciler.ipam.parents import parent_failures, parent_mtu
from reconciler.ipam.pools import chosen_pools, declared_pools, families, pool_order
from reconciler.ipam.promises import NetworkPromise
from reconciler.ipam.reach import host_networks
from reconciler.ipam.settle import settled
from reconciler.model.adoption import Adopted, Found
from reconciler.model.cluster import ClusterState, GlobalNetwork
from reconciler.model.desired import DesiredNetwork, DesiredSubnet, HostFacts
from reconciler.model.identifiers import HOST, global_network_id, network_id, overlay_ns
from reconciler.model.objects import IPNetwork, Unit
from reconciler.model.wanted import NetworkWanted

"""Drivers of networks without pools and devices."""

VXLAN_OVERHEAD: Final = {4: 50, 6: 70}
"""Outer IP 20 or 40, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348, section 5), by the underlay's family."""

_ETHERNET_MTU: Final = 1500
_IPV6_MIN_MTU: Final = 1280
"""Below it the kernel takes IPv6 off a link (RFC 8200, section 5)."""

Failures = Mapping[str, ReconcilerError]


def desired_networks(
    wanted: Sequence[NetworkWanted],
    joined: Container[str],
    host: HostFacts,
    promises: Mapping[str, NetworkPromise],
    cluster: ClusterState,
    leases: Leases,
    has_faults: bool,
    adopted: Mapping[str, Found],
) -> tuple[Mapping[str, DesiredNetwork], Failures]:
    """Return the networks by name, without what other hosts have on them, and why some cannot be had; these keep what was promised.

    joined: names of those on links of the host that somebody is on. adopted: how bridges of others were found, by name.
    """
    assignment = _NetworkAssignment(wanted, host, promises, cluster, leases, has_faults=has_faults, adopted=adopted)
    return settled(assignment.attempt, {**assignment.refused(joined), **cluster.refused})


class _NetworkAssignment:
    def __init__(
        self,
        wanted: Sequence[NetworkWanted],
        host: HostFacts,
        promises: Mapping[str, NetworkPromise],
        cluster: ClusterState,
        leases: Leases,
        *,
        has_faults: bool,
        adopted: Mapping[str, Found],
    ) -> None:
        self._wanted, self._awaiting = wanted, leases.awaiting
        networks = (leases.networks.get(network.name, network) for network in wanted)
        self._networks = sorted(networks, key=lambda network: pool_order(network.name))
        self._host = host
        self._cluster = cluster
        self._promises, self._adopted = promises, adopted
        self._standing = standing_promises(wanted, promises, host.bridges, adopted)
        self._ids = {n.name: self._id(n) for n in self._networks}
        names = {network.name for network in self._networks}
        self._unread = frozenset(promises.keys() - names) if has_faults else frozenset()

    def _id(self, network: NetworkWanted) -> str:
        """The promised id outlives a change of the host's name: all links are named after it."""
        if network.is_shared:
            known = self._cluster.networks.get(network.name)
            return known.id if known else global_network_id(network.name)
        promise = self._promises.get(network.name)
        return promise.id if promise else network_id(self._host.name, network.name)

    def refused(self, joined: Container[str]) -> Failures:
        """Return the networks that can be had under no circumstances."""
        contradictions = {
            network.name: PlanError(f"network {network.name}: {reason}")
            for network in self._networks
            if not network.traits.is_predefined and (reason := _contradiction(network))
        }
        awaiting = {n.name: awaited_pools(n) for n in self._networks if Unit(network=n.name) in self._awaiting}
        return {**awaiting, **parent_failures(self._wanted, joined, self._host, self._promises), **contradictions}

    def attempt(self, failures: Failures) -> tuple[Mapping[str, DesiredNetwork], Failures]:
        open_ = [network for network in self._networks if network.name not in failures]
        held = failures.keys() | self._unread
        link_names, more = self._link_names(open_, held)
        more.update(self._refused_bridges(open_, link_names))
        shared, missing = self._global_subnets(open_)
        more.update(missing)
        with_pools = [
            n
            for n in open_
            if n.name not in more and not n.traits.is_predefined and not n.is_shared and n.ipam_driver != "null"
        ]
        avoided = [subnet.subnet for subnets in shared.values() for subnet in subnets]
        pools, without = chosen_pools(with_pools, self._host, self._standing, held=held, avoided=avoided)
        more.update(without)
        chosen = {}
        for network in open_:
            if network.name not in more:
                try:
                    subnets = shared.get(network.name) or self._completed(network, pools.get(network.name, ()))
                    chosen[network.name] = self._desired(network, subnets, link_names[network.name])
                except PlanError as error:
                    more[network.name] = error
        return chosen, more

    def _global_subnets(
        self, networks: Iterable[NetworkWanted]
    ) -> tuple[Mapping[str, tuple[DesiredSubnet, ...]], Failures]:
        shared = [network for network in networks if network.is_shared]
        if not shared:
            return {}, {}
        local = [network for network in self._networks if not network.is_shared]
        promised = (self._promises[n.name].subnets for n in local if n.name in self._promises)
        avoided = [pool for subnets in promised for pool, _ in subnets]
        avoided += [pool for n in local for family in families(n) for pool in declared_pools(n, family)]
        return global_subnets(shared, self._cluster, self._promises, (*avoided, *host_networks(self._host)))

    def _completed(self, network: NetworkWanted, pools: tuple[IPNetwork, ...]) -> tuple[DesiredSubnet, ...]:
        return completed_subnets(network, pools, self._standing.get(network.name))

    def _link_names(
        self, networks: Iterable[NetworkWanted], held: Iterable[str]
    ) -> tuple[Mapping[str, str], dict[str, ReconcilerError]]:
        """Assign device names, each to one network: who has it keeps it, then who comes first."""
        owners = {self._promises[name].link_name: name for name in sorted(held) if name in self._promises}
        names: dict[str, str] = {}
        failures: dict[str, ReconcilerError] = {}
        demands = [(network.name, link_name(network, self._ids[network.name])) for network in networks]
        for name, device in sorted(demands, key=lambda demand: not self._runs_on(*demand)):
            names[name] = device
            if device and (owner := owners.setdefault(device, name)) != name:
                failures[name] = _same_link(name, owner, device)
        return names, failures

    def _refused_bridges(self, networks: Iterable[NetworkWanted], link_names: Mapping[str, str]) -> Failures:
        """Return the networks that may not take over the bridge that is there."""
        refusals = ((n.name, refusal(n, self._adopted_by(n, link_names[n.name]))) for n in networks)
        return {name: error for name, error in refusals if error is not None}

    def _adopted_by(self, network: NetworkWanted, link_name: str) -> Adopted | None:
        return adopted_by(network, link_name, self._host.bridges, self._adopted)

    def _runs_on(self, name: str, device: str) -> bool:
        promise = self._promises.get(name)
        return promise is not None and promise.link_name == device

    def _desired(self, network: NetworkWanted, subnets: tuple[DesiredSubnet, ...], link_name: str) -> DesiredNetwork:
        id_ = self._ids[network.name]
        adopted = self._adopted_by(network, link_name)
        return DesiredNetwork(
            wanted=network,
            id=id_,
            created=self._created(network),
            subnets=subnets,
            link_name=link_name,
            mtu=_mtu(network, self._host, adopted),
            scope="global" if network.is_shared else "local",
            ns=overlay_ns(id_, self._host.instance) if network.traits.is_vxlan else HOST,
            adopted=adopted,
        )

    def _known(self, network: NetworkWanted) -> GlobalNetwork | None:
        return self._cluster.networks.get(network.name) if network.is_shared else None

    def _created(self, network: NetworkWanted) -> str:
        known, promise = self._known(network), self._promises.get(network.name)
        return (known.created if known else "") or (promise.created if promise else "") or self._host.now


def awaited_pools(network: NetworkWanted) -> AddressesAwaited:
    return AddressesAwaited(f"network {network.name}: its pools are to come from plugin {network.ipam_driver!r}")


def _contradiction(network: NetworkWanted) -> str:
    if network.traits.has_host_bridge and network.ipam_driver == "null" and network.is_ipv4_enabled:
        return "ipv4 pool is empty: the bridge driver needs addresses; use ipam driver default"
    if network.traits.has_host_bridge and network.ipam_driver == "null":
        return "ipv6 pool is empty: the bridge driver needs addresses; use ipam driver default"
    if not families(network):
        return "IPv4 or IPv6 must be enabled"
    return ""


def _same_link(name: str, owner: str, device: str) -> NameConflict:
    return NameConflict(
        f"network {name}: cannot create bridge {device}: conflicts with network {owner}: networks have same bridge name; "
        "choose another com.docker.network.bridge.name"
    )


def _mtu(network: NetworkWanted, host: HostFacts, adopted: Adopted | None) -> int:
    """Return the declared MTU, else what a bridge of others has, else that of the host's way out, at most Ethernet's."""
    if network.traits.is_vxlan:
        return _overlay_mtu(network, host)
    if network.sublink is not None:
        return parent_mtu(network, host)
    declared = network.bridge.mtu if network.bridge else None
    if declared:
        return declared
    if adopted is not None:
        return adopted.bridge.mtu
    least = _IPV6_MIN_MTU if network.is_ipv6_enabled else 0
    return max(min(_ETHERNET_MTU, host.uplink_mtu or _ETHERNET_MTU), least)


def _overlay_mtu(network: NetworkWanted, host: HostFacts) -> int:
    """Return what a packet between hosts has room for: the declared MTU is theirs, else that of the link to the others."""
    declared = network.overlay.underlay_mtu if network.overlay else None
    underlay = declared or host.underlay_mtu or min(_ETHERNET_MTU, host.uplink_mtu or _ETHERNET_MTU)
    return underlay - VXLAN_OVERHEAD[host.vtep.version if host.vtep else 4]
