"""Which pools each network gets: declared ones, those promised, else the first free default pool or a piece of the ULA."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from msgspec import Struct

from reconciler.errors import PlanError, PoolExhausted, PoolOverlap
from reconciler.ipam.promises import NetworkPromise
from reconciler.ipam.reach import hidden_by, host_networks
from reconciler.model.desired import HostFacts
from reconciler.model.objects import IPNetwork
from reconciler.model.wanted import NetworkWanted

DEFAULT_POOLS: Final = (
    *(IPv4Network((f"172.{second}.0.0", 16)) for second in range(17, 32)),
    *(IPv4Network((f"192.168.{third}.0", 20)) for third in range(0, 256, 16)),
)
"""The engine's 31 for local scope, in its order (docs/design/docker.md#subnets)."""

_ULA_PIECES: Final = 1 << 16
"""/64 pieces of a /48."""

Demand = tuple[str, int]
"""Network name and address family: what needs one pool, or has several declared."""


def pool_order(name: str) -> tuple[bool, bytes]:
    """Sort key of networks when they choose: `bridge` first, then names in byte order."""
    return (name != "bridge", name.encode())


def families(network: NetworkWanted) -> tuple[int, ...]:
    """Return the address families a network is to have."""
    wanted = ((4, network.is_ipv4_enabled), (6, network.is_ipv6_enabled))
    return tuple(family for family, is_enabled in wanted if is_enabled)


def ula_prefix(instance: str) -> IPv6Network:
    """Return the /48 that IPv6 pools are cut from: fd, then 40 bits of a hash, as the engine makes it of its host id."""
    low = hashlib.sha256(instance.encode()).digest()[3:8]
    return IPv6Network((int.from_bytes(b"\xfd" + low, "big") << 80, 48))


def chosen_pools(
    networks: Sequence[NetworkWanted],
    host: HostFacts,
    promises: Mapping[str, NetworkPromise],
    *,
    held: Iterable[str],
    avoided: Iterable[IPNetwork] = (),
) -> tuple[Mapping[str, tuple[IPNetwork, ...]], Mapping[str, PlanError]]:
    """Return the pools of each network, IPv4 first, and why some can have none.

    held: names of networks that are not to be decided here and keep what they were promised. avoided: pools in another address
    space, which automatic choices keep away from.
    """
    assignment = _PoolAssignment(networks, host, promises, frozenset(held), tuple(avoided))
    assignment.make()
    return assignment.pools(), assignment.failures


class _Claim(Struct, frozen=True):
    pool: IPNetwork
    owner: str
    first: int
    last: int


class PoolClaims:
    """Who holds which pool."""

    def __init__(self) -> None:
        self._claims: dict[int, list[_Claim]] = {4: [], 6: []}

    def add(self, pool: IPNetwork, owner: str) -> None:
        first = int(pool.network_address)
        self._claims[pool.version].append(_Claim(pool, owner, first, first + pool.num_addresses - 1))

    def overlapping(self, pool: IPNetwork) -> _Claim | None:
        first = int(pool.network_address)
        last = first + pool.num_addresses - 1
        return next((c for c in self._claims[pool.version] if c.first <= last and first <= c.last), None)


class _PoolAssignment:
    """One walk through all networks: who was promised what first, then what is newly declared, then what is to be found."""

    def __init__(
        self,
        networks: Sequence[NetworkWanted],
        host: HostFacts,
        promises: Mapping[str, NetworkPromise],
        held: frozenset[str],
        avoided: Sequence[IPNetwork],
    ) -> None:
        self.failures: dict[str, PlanError] = {}
        self._avoided = avoided
        self._networks = sorted((n for n in networks if n.name not in held), key=lambda n: pool_order(n.name))
        self._host = host
        self._promises = promises
        self._held = held
        self._claims = PoolClaims()
        self._chosen: dict[Demand, tuple[IPNetwork, ...]] = {}

    def pools(self) -> Mapping[str, tuple[IPNetwork, ...]]:
        return {
            network.name: tuple(p for family in families(network) for p in self._chosen[network.name, family])
            for network in self._networks
            if network.name not in self.failures
        }

    def make(self) -> None:
        for name in sorted(self._held & self._promises.keys()):
            for pool, _ in self._promises[name].subnets:
                self._claims.add(pool, name)
        declared = [(n, f, pools) for n in self._networks for f in families(n) if (pools := declared_pools(n, f))]
        is_running = [set(pools) <= self._promised(n.name, f) for n, f, pools in declared]
        for (network, family, pools), runs in zip(declared, is_running, strict=True):
            if runs:
                self._claim_declared(network.name, family, pools)
        undeclared = [(n.name, f) for n in self._networks for f in families(n) if not declared_pools(n, f)]
        for demand in undeclared:
            self._claim_promised(demand)
        for (network, family, pools), runs in zip(declared, is_running, strict=True):
            if not runs and not self._hides_something(network, pools):
                self._claim_declared(network.name, family, pools)
        for demand in undeclared:
            if demand not in self._chosen:
                self._find(demand)

    def _hides_something(self, network: NetworkWanted, pools: Sequence[IPNetwork]) -> bool:
        """Refuse what would cut the host off. What runs on its pools already gets a remark instead (`reach_remarks`)."""
        hidden = hidden_by(network, pools, self._host)
        if hidden:
            text = f"network {network.name}: {hidden}, and the host would be cut off from there"
            self.failures.setdefault(
                network.name, PoolOverlap(f"{text}; choose another subnet, or insist with `allow_overlap: true`")
            )
        return hidden != ""

    def _promised(self, name: str, family: int) -> set[IPNetwork]:
        promise = self._promises.get(name)
        return {pool for pool, _ in promise.subnets if pool.version == family} if promise else set()

    def _claim_declared(self, name: str, family: int, pools: Sequence[IPNetwork]) -> None:
        for pool in pools:
            other = self._claims.overlapping(pool)
            if other is not None:
                self.failures.setdefault(name, _overlap(name, pool, other))
                return
            self._claims.add(pool, name)
        self._chosen[name, family] = tuple(pools)

    def _claim_promised(self, demand: Demand) -> None:
        """Keep the pool of before without a look at the host's routes: the network runs on it."""
        name, family = demand
        promise = self._promises.get(name)
        pool = next((pool for pool, _ in promise.subnets if pool.version == family), None) if promise else None
        if pool is not None and self._claims.overlapping(pool) is None:
            self._claims.add(pool, name)
            self._chosen[demand] = (pool,)

    def _find(self, demand: Demand) -> None:
        name, family = demand
        pool = self._first_free(DEFAULT_POOLS if family == 4 else self._ula_pieces(name))
        if pool is None:
            self.failures.setdefault(name, no_pool_left(name, family))
            return
        self._claims.add(pool, name)
        self._chosen[demand] = (pool,)

    def _first_free(self, candidates: Iterable[IPNetwork]) -> IPNetwork | None:
        """Return the first free pool; one that a network leaves in this pass only when there is no other."""
        last_resort = None
        for pool in filter(self._is_free, candidates):
            if self._leaving.overlapping(pool) is None:
                return pool
            last_resort = last_resort or pool
        return last_resort

    def _is_free(self, pool: IPNetwork) -> bool:
        return self._claims.overlapping(pool) is None and self._host_networks.overlapping(pool) is None

    def _ula_pieces(self, name: str) -> Iterator[IPNetwork]:
        """Yield a few pieces to try, from one that depends on the name alone: others come and go without moving it."""
        prefix = ula_prefix(self._host.instance)
        base, start = int(prefix.network_address), int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")
        for step in range(min(_ULA_PIECES, 2 * len(self._networks) + len(self._promises) + 64)):
            yield IPv6Network((base + ((start + step) % _ULA_PIECES << 64), 64))

    @cached_property
    def _leaving(self) -> PoolClaims:
        """Pools promised to networks that nobody declares any more, or that no longer use them."""
        claims = PoolClaims()
        for name, promise in sorted(self._promises.items()):
            for pool, _ in promise.subnets:
                claims.add(pool, name)
        return claims

    @cached_property
    def _host_networks(self) -> PoolClaims:
        claims = PoolClaims()
        for pool in (*host_networks(self._host), *self._avoided):
            claims.add(pool, "")
        return claims


def declared_pools(network: NetworkWanted, family: int) -> tuple[IPNetwork, ...]:
    return tuple(entry.subnet for entry in network.subnets if entry.subnet.version == family)


def _overlap(name: str, pool: IPNetwork, other: _Claim) -> PoolOverlap:
    return PoolOverlap(
        f"network {name}: subnet {pool} overlaps {other.pool} of network {other.owner}: Pool overlaps with other one on this "
        f"address space; choose another subnet, or free that of {other.owner} first"
    )


def no_pool_left(name: str, family: int) -> PoolExhausted:
    return PoolExhausted(
        f"network {name}: could not find an available, non-overlapping IPv{family} address pool among the defaults to assign to "
        "the network; declare a subnet under ipam.config, or remove networks that are not needed"
    )
