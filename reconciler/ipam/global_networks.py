"""Pools and VNIs of networks that hosts share: what the cluster has, else what this host proposes as the first to declare them.

A proposal counts once the cluster's store has taken it; whoever loses the race finds the winner's choice there and takes that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Final

from msgspec.structs import replace

from reconciler.errors import PlanError, ReconcilerError
from reconciler.ipam.gateways import completed_subnets
from reconciler.ipam.pools import PoolClaims, declared_pools, families, no_pool_left, pool_order
from reconciler.ipam.promises import NetworkPromise
from reconciler.model.cluster import ClusterState, GlobalNetwork
from reconciler.model.desired import DesiredSubnet
from reconciler.model.identifiers import VNI_MAX
from reconciler.model.objects import IPNetwork
from reconciler.model.wanted import NetworkWanted, OverlayOptions

_FIRST_POOL: Final = int(IPv4Network("10.0.0.0/24").network_address)
_POOLS: Final = 1 << 16
"""The engine's for global scope: 10.0.0.0/8 in pieces of 256 addresses (docs/design/docker.md#subnets)."""

_ULA_TRIES: Final = 64
_VNI_FIRST: Final = 256
"""The engine's lowest with a key-value store; lower ones are for `vxlanid_list`."""

_VNI_DRAWS: Final = 1000
"""A hundred thousand networks leave hardly one draw in a hundred to be repeated."""


def global_subnets(
    networks: Iterable[NetworkWanted],
    cluster: ClusterState,
    promises: Mapping[str, NetworkPromise],
    avoided: Iterable[IPNetwork],
) -> tuple[Mapping[str, tuple[DesiredSubnet, ...]], Mapping[str, ReconcilerError]]:
    """Return the subnets of each network, IPv4 first, those of overlay networks with their VNIs, and why some can have none.

    avoided: pools and routes of this host, which automatic choices keep away from.
    """
    assignment = _GlobalAssignment(cluster, promises, avoided)
    subnets: dict[str, tuple[DesiredSubnet, ...]] = {}
    failures: dict[str, ReconcilerError] = {}
    for network in sorted(networks, key=lambda network: pool_order(network.name)):
        try:
            subnets[network.name] = assignment.subnets(network)
        except PlanError as error:
            failures[network.name] = error
    return subnets, failures


class _GlobalAssignment:
    """Made network by network; what one gets is taken for those after it."""

    def __init__(
        self, cluster: ClusterState, promises: Mapping[str, NetworkPromise], avoided: Iterable[IPNetwork]
    ) -> None:
        self._cluster, self._promises = cluster, promises
        self._pools = PoolClaims()
        for pool in avoided:
            self._pools.add(pool, "")
        self._vnis: dict[int, str] = {}
        for network in cluster.networks.values():
            self._take(network.name, network.subnets)

    def _take(self, name: str, subnets: Sequence[DesiredSubnet]) -> None:
        for subnet in subnets:
            self._pools.add(subnet.subnet, name)
            if subnet.vni is not None:
                self._vnis.setdefault(subnet.vni, name)

    def subnets(self, network: NetworkWanted) -> tuple[DesiredSubnet, ...]:
        """Return a network's subnets. Raises PlanError."""
        known = self._cluster.networks.get(network.name)
        if known is not None and known.declaration == network.declaration:
            return known.subnets
        before = _had(known) or self._promises.get(network.name)
        pools = tuple(pool for family in families(network) for pool in self._pools_of(network, family, before))
        subnets = completed_subnets(network, pools, before)
        if network.traits.is_vxlan:
            subnets = tuple(self._with_vnis(network, subnets, before.vnis if before else {}))
        self._take(network.name, subnets)
        return subnets

    def _pools_of(self, network: NetworkWanted, family: int, before: NetworkPromise | None) -> tuple[IPNetwork, ...]:
        """Declared ones may be another network's too: each is a world of its own. Chosen ones are nobody else's."""
        declared = declared_pools(network, family)
        if declared:
            return declared
        had = next((pool for pool, _ in before.subnets if pool.version == family), None) if before else None
        candidates: Iterable[IPNetwork] = _ipv4_pools() if family == 4 else _ipv6_pools(network.name)
        for pool in chain([had] if had else (), candidates):  # chosen one by one: there are 65,536 of them
            if self._is_free(pool, network.name):
                return (pool,)
        raise no_pool_left(network.name, family)

    def _is_free(self, pool: IPNetwork, name: str) -> bool:
        claim = self._pools.overlapping(pool)
        return claim is None or claim.owner == name

    def _with_vnis(
        self, network: NetworkWanted, subnets: Sequence[DesiredSubnet], had: Mapping[IPNetwork, int]
    ) -> Iterator[DesiredSubnet]:
        given = (network.overlay or OverlayOptions()).vnis
        if given and len(given) != len(subnets):
            raise PlanError(
                f"network {network.name}: {len(given)} vnis passed to overlay, but it has {len(subnets)} subnets; "
                "give one for each in vxlanid_list, or none"
            )
        for index, subnet in enumerate(subnets):
            vni = given[index] if given else self._vni(network.name, had.get(subnet.subnet))
            owner = self._vnis.setdefault(vni, network.name)
            if owner != network.name:
                raise PlanError(
                    f"network {network.name}: vni {vni} is that of network {owner}; choose another in vxlanid_list"
                )
            yield replace(subnet, vni=vni)

    def _vni(self, name: str, had: int | None) -> int:
        """Return the VNI of before, else one drawn anew. One network's segments have different ones."""
        if had is not None and self._vnis.get(had, name) == name:
            return had
        free = next((vni for vni in _drawn_vnis(self._cluster.seed, name) if vni not in self._vnis), None)
        if free is None:
            raise PlanError(f"network {name}: no free vni was found; remove overlay networks that are not needed")
        return free


def _drawn_vnis(seed: str, network: str) -> Iterator[int]:
    """Yield VNIs out of all there are, which nobody can guess without the seed: frames are forged for a VNI that one knows.

    The same ones for the same host and network, so that a dry run says what the pass will do.
    """
    for draw in range(_VNI_DRAWS):
        digest = sha256(f"vni\0{seed}\0{network}\0{draw}".encode()).digest()
        yield _VNI_FIRST + int.from_bytes(digest[:16], "big") % (VNI_MAX + 1 - _VNI_FIRST)


def _had(known: GlobalNetwork | None) -> NetworkPromise | None:
    """Return what a network had until its declaration changed."""
    if known is None:
        return None
    return NetworkPromise(
        name=known.name,
        id=known.id,
        created=known.created,
        subnets=tuple((subnet.subnet, subnet.gateway) for subnet in known.subnets),
        vnis={subnet.subnet: subnet.vni for subnet in known.subnets if subnet.vni is not None},
    )


def _ipv4_pools() -> Iterator[IPv4Network]:
    for number in range(_POOLS):
        yield IPv4Network((_FIRST_POOL + (number << 8), 24))


def _ipv6_pools(name: str) -> Iterator[IPv6Network]:
    """Yield pieces of a unique local prefix that depends on the network's name alone (RFC 4193)."""
    digest = sha256(f"global pool\0{name}".encode()).digest()
    base = int.from_bytes(b"\xfd" + digest[:5], "big") << 80
    for number in range(_ULA_TRIES):
        yield IPv6Network((base + (number << 64), 64))
