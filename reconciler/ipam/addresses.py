"""Addresses of endpoints: statics first, then those promised, then the lowest free ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from itertools import groupby, islice
from typing import Any, Final

from msgspec import Struct

from reconciler.errors import AddressTaken, PlanError, PoolExhausted
from reconciler.ipam.elsewhere import Elsewhere, has_it
from reconciler.ipam.macs import Macs
from reconciler.ipam.promises import EndpointKey, EndpointPromise
from reconciler.ipam.settle import settled
from reconciler.ipam.standing import Standing
from reconciler.model.cluster import ClusterEndpoint
from reconciler.model.desired import DesiredNetwork, DesiredSubnet
from reconciler.model.objects import IPAddress, IPInterface, IPNetwork
from reconciler.model.subnets import usable, usable_in_range
from reconciler.model.wanted import EndpointWanted

Failures = Mapping[EndpointKey, PlanError]
_NOBODY: Final[Mapping[Any, Any]] = {}


class Chosen(Struct, frozen=True, kw_only=True):
    """The addresses of one endpoint."""

    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    mac: str


class Demand(Struct, frozen=True, kw_only=True):
    """One endpoint that needs addresses."""

    wanted: EndpointWanted
    attachment: str
    id: str

    @property
    def key(self) -> EndpointKey:
        return (self.wanted.network, self.attachment)


class Pool:
    """One subnet while addresses are given out of it, as integers of its family; nothing is ever given back.

    elsewhere: what other hosts have of the network. standing: what attachments have that nothing is chosen for.
    """

    def __init__(
        self,
        subnet: DesiredSubnet,
        elsewhere: Mapping[int, ClusterEndpoint] = _NOBODY,
        standing: Mapping[int | str, str] = _NOBODY,
    ) -> None:
        self.subnet: IPNetwork = subnet.subnet
        self._bounds = int(subnet.subnet.network_address), int(subnet.subnet.broadcast_address)
        self._first, self._last = usable(subnet.subnet)
        self._range_first, self._range_last = usable_in_range(subnet.subnet, subnet.ip_range)
        self._next, self._rest = self._range_first, (self._range_first, self._range_first)
        self._holders: dict[int, str] = {}
        self._elsewhere, self._standing = elsewhere, standing

    def __contains__(self, address: int) -> bool:
        return self._bounds[0] <= address <= self._bounds[1]

    def obstacle(self, address: int) -> str | None:
        """Return why an address of this subnet cannot be had, None if it can."""
        if not self._first <= address <= self._last:
            return f"it is a reserved address of {self.subnet}"
        holder = self._holders.get(address)
        return has_it(self._elsewhere[address]) if holder is None and address in self._elsewhere else holder

    def take(self, address: int, holder: str) -> None:
        """Keep an address from others; who held it first stays known as its holder."""
        if not self._is_taken(address):
            self._holders[address] = holder

    def _is_taken(self, address: int) -> bool:
        return address in self._holders or address in self._elsewhere or address in self._standing

    def may_keep(self, address: int) -> bool:
        """Return whether an automatic choice of before still stands."""
        return self._range_first <= address <= self._range_last and not self._is_taken(address)

    def start_at(self, seed: int) -> None:
        """Look for free addresses from a place on that depends on `seed`: others are after the lowest ones at this moment."""
        if self._range_first <= self._range_last:
            self._next = self._range_first + seed % (self._range_last - self._range_first + 1)
            self._rest = (self._range_first, self._next)

    def next_free(self) -> int | None:
        """Return the lowest free address of the range, or the first after where it was started; None when there is none.

        It is not taken yet.
        """
        while self._is_taken(self._next):
            self._next += 1
        if self._next <= self._range_last:
            return self._next
        first, end = self._rest
        return next((address for address in range(first, end) if not self._is_taken(address)), None)

    def has_room_for(self, count: int) -> bool:
        """Return whether the range has so many free addresses."""
        free = (a for a in range(self._range_first, self._range_last + 1) if not self._is_taken(a))
        return sum(1 for _ in islice(free, count)) == count

    def interface(self, address: int) -> IPInterface:
        """Return an address with the subnet's prefix length."""
        make = IPv4Interface if self.subnet.version == 4 else IPv6Interface
        return make((address, self.subnet.prefixlen))


def open_pools(network: DesiredNetwork, others: Elsewhere, standing: Standing) -> dict[int, list[Pool]]:
    """Return a network's pools by address family, what no endpoint may have already taken."""
    pools: dict[int, list[Pool]] = {4: [], 6: []}
    declared = {entry.subnet: entry.gateway for entry in network.wanted.subnets}
    for subnet in network.subnets:
        shelf = network.name, subnet.subnet.version
        pool = Pool(subnet, others.addresses.get(shelf, _NOBODY), standing.holders.get(shelf, _NOBODY))
        for gateway in (subnet.gateway, declared.get(subnet.subnet)):
            if gateway is not None:
                pool.take(int(gateway), f"it is the gateway of network {network.name}")
        for name, address in subnet.aux_addresses:
            pool.take(int(address), f"it is the auxiliary address {name} of network {network.name}")
        for address in network.addresses_of_others(subnet.subnet):
            pool.take(int(address), f"bridge {network.link_name} has it, from before")
        pools[subnet.subnet.version].append(pool)
    return pools


def chosen_addresses(
    demands: Sequence[Demand],
    networks: Mapping[str, DesiredNetwork],
    promises: Mapping[EndpointKey, EndpointPromise],
    others: Elsewhere,
    *,
    unread: Iterable[EndpointPromise],
    failures: Failures,
    standing: Standing,
) -> tuple[Mapping[EndpointKey, Chosen], Failures]:
    """Return every endpoint's addresses, and why some can have none: their attachments keep what they were promised.

    promises: to those who demand something. others: what other hosts' endpoints have. unread: promises of which nobody knows
    whether they are still wanted. failures: known before. standing: what is not in question.
    """
    ordered = sorted(demands, key=lambda demand: (demand.attachment, demand.wanted.network))
    kept = tuple(unread)

    def attempt(failed: Failures) -> tuple[Mapping[EndpointKey, Chosen], Failures]:
        held = frozenset(attachment for _, attachment in failed)
        round_ = _Round(ordered, networks, promises, others, kept, held, standing)
        return round_.choose(), round_.failures

    return settled(attempt, failures)


class _Round:
    """One distribution of addresses. held: attachments that stay as they are."""

    def __init__(
        self,
        demands: Sequence[Demand],
        networks: Mapping[str, DesiredNetwork],
        promises: Mapping[EndpointKey, EndpointPromise],
        others: Elsewhere,
        unread: Sequence[EndpointPromise],
        held: frozenset[str],
        standing: Standing,
    ) -> None:
        self.failures: dict[EndpointKey, PlanError] = {}
        self._failed: set[str] = set()
        self._open = [demand for demand in demands if demand.attachment not in held]
        self._held = [demand for demand in demands if demand.attachment in held]
        self._networks = networks
        self._promises = promises
        self._kept = sorted(
            (*unread, *(p for p in promises.values() if p.attachment in held)), key=lambda p: (p.network, p.attachment)
        )
        asked = {demand.wanted.network for demand in demands} | {promise.network for promise in self._kept}
        self._pools = {name: open_pools(networks[name], others, standing) for name in asked & networks.keys()}
        self._chosen: dict[tuple[str, str, int], IPInterface] = {}
        self._macs = Macs(standing.holders)
        for network in others.contended & self._pools.keys():
            for pool in (*self._pools[network][4], *self._pools[network][6]):
                pool.start_at(others.seed)

    def choose(self) -> Mapping[EndpointKey, Chosen]:
        self._hold()
        self._give_declared_macs()
        self._give_statics()
        self._keep_promised()
        self._spare_statics_to_come()
        self._give_lowest_free()
        return self._with_macs()

    def _hold(self) -> None:
        for promise in self._kept:
            for interface in (promise.ipv4, promise.ipv6):
                pool = self._pool_of(promise.network, interface) if interface else None
                if interface is not None and pool is not None:
                    pool.take(int(interface), f"attachment {promise.attachment} has it")
            self._macs.hold(promise.network, promise.mac)

    def _give_statics(self) -> None:
        """Take declared addresses; who runs on one has it first."""
        for demand, address in sorted(_statics(self._open), key=lambda static: not self._runs_on(*static)):
            where = f"attachment {demand.attachment}: network {demand.wanted.network}"
            pool = self._pool_of(demand.wanted.network, address)
            if pool is None:
                self._fail(demand, PlanError(f"{where}: no configured subnet contains IP address {address}"))
            elif (obstacle := pool.obstacle(int(address))) is not None:
                text = f"{where}: {address}: Address already in use: {obstacle}; choose another address"
                self._fail(demand, AddressTaken(text))
            else:
                self._take(demand, pool, pool.interface(int(address)))

    def _give_declared_macs(self) -> None:
        for demand in self._open:
            error = self._macs.declare(demand.wanted, demand.attachment)
            if error is not None:
                self._fail(demand, error)

    def _runs_on(self, demand: Demand, address: IPAddress) -> bool:
        interface = self._promised(demand.key, address.version)
        return interface is not None and int(interface) == int(address)

    def _keep_promised(self) -> None:
        for demand, family in self._undecided():
            interface = self._promised(demand.key, family)
            pool = self._pool_of(demand.wanted.network, interface) if interface else None
            if interface is not None and pool is not None and pool.may_keep(int(interface)):
                is_as_before = interface.network.prefixlen == pool.subnet.prefixlen
                self._take(demand, pool, interface if is_as_before else pool.interface(int(interface)))

    def _spare_statics_to_come(self) -> None:
        """Keep new choices off addresses that attachments declare which cannot have them yet."""
        for demand, address in _statics(self._held):
            pool = self._pool_of(demand.wanted.network, address)
            if pool is not None:
                pool.take(int(address), f"attachment {demand.attachment} declares it")

    def _give_lowest_free(self) -> None:
        for _, undecided in groupby(self._undecided(), key=lambda choice: choice[0].attachment):
            self._give_all_or_nothing(list(undecided))

    def _give_all_or_nothing(self, undecided: Sequence[tuple[Demand, int]]) -> None:
        """Take the addresses that one attachment lacks. One that finds no room on one network takes nobody's place on another."""
        found = [(demand, family, self._with_room(demand, family)) for demand, family in undecided]
        lacking = [(demand, family) for demand, family, pool in found if pool is None]
        for demand, family in lacking:
            network = self._networks[demand.wanted.network]
            self._fail(demand, _exhausted(demand.attachment, network, family))
        for demand, _, pool in found:
            address = pool.next_free() if pool is not None and not lacking else None
            if pool is not None and address is not None:
                self._take(demand, pool, pool.interface(address))

    def _with_room(self, demand: Demand, family: int) -> Pool | None:
        return next((pool for pool in self._pools[demand.wanted.network][family] if pool.next_free() is not None), None)

    def _undecided(self) -> Iterator[tuple[Demand, int]]:
        """Yield the endpoints that still need an address, and of which family; each is looked at when its turn comes."""
        for demand in self._open:
            for family, pools in self._pools[demand.wanted.network].items():
                is_needed = pools and (*demand.key, family) not in self._chosen
                if is_needed and demand.attachment not in self._failed:
                    yield demand, family

    def _fail(self, demand: Demand, error: PlanError) -> None:
        self.failures.setdefault(demand.key, error)
        self._failed.add(demand.attachment)

    def _take(self, demand: Demand, pool: Pool, interface: IPInterface) -> None:
        pool.take(int(interface), f"attachment {demand.attachment} has it")
        self._chosen[*demand.key, interface.version] = interface

    def _pool_of(self, network: str, address: IPAddress | IPInterface) -> Pool | None:
        pools = self._pools.get(network, {}).get(address.version, ())
        return next((pool for pool in pools if int(address) in pool), None)

    def _promised(self, key: EndpointKey, family: int) -> IPInterface | None:
        promise = self._promises.get(key)
        if promise is None:
            return None
        return promise.ipv4 if family == 4 else promise.ipv6

    def _with_macs(self) -> Mapping[EndpointKey, Chosen]:
        """Complete what was chosen by MACs: those whose address stays choose before new ones."""
        good = [(d, self._keeps_ipv4(d.key)) for d in self._open if d.attachment not in self._failed]
        good.sort(key=lambda choice: not choice[1])
        return {demand.key: self._complete(demand, keeps_ipv4=keeps_ipv4) for demand, keeps_ipv4 in good}

    def _complete(self, demand: Demand, *, keeps_ipv4: bool) -> Chosen:
        ipv4, ipv6 = self._chosen.get((*demand.key, 4)), self._chosen.get((*demand.key, 6))
        assert not isinstance(ipv4, IPv6Interface)
        assert not isinstance(ipv6, IPv4Interface)
        promised = self._promises[demand.key].mac if keeps_ipv4 else ""
        if self._networks[demand.wanted.network].wanted.ipvlan is not None:
            return Chosen(ipv4=ipv4, ipv6=ipv6, mac="")  # that of the parent, which all on it share
        mac = self._macs.choose(demand.wanted, demand.id, ipv4, promised)
        return Chosen(ipv4=ipv4, ipv6=ipv6, mac=mac)

    def _keeps_ipv4(self, key: EndpointKey) -> bool:
        """A MAC of before counts as long as its IPv4 address does: it may be made of it, and that address is another's now."""
        promise = self._promises.get(key)
        if promise is None:
            return False
        chosen = self._chosen.get((*key, 4))
        if promise.ipv4 is None or chosen is None:
            return promise.ipv4 is chosen
        return int(promise.ipv4) == int(chosen)


def _statics(demands: Iterable[Demand]) -> Iterator[tuple[Demand, IPAddress]]:
    for demand in demands:
        for address in (demand.wanted.ipv4_address, demand.wanted.ipv6_address):
            if address is not None:
                yield demand, address


def _exhausted(attachment: str, network: DesiredNetwork, family: int) -> PoolExhausted:
    rooms = "; ".join(_room(subnet) for subnet in network.subnets if subnet.subnet.version == family)
    return PoolExhausted(
        f"attachment {attachment}: no available IPv{family} addresses on this network's address pools: {network.name} "
        f"({network.id[:12]}): {rooms}; remove attachments or declare a larger subnet or ip_range"
    )


def _room(subnet: DesiredSubnet) -> str:
    """Return how many addresses a pool has, and how many of them no attachment can have."""
    first, last = usable_in_range(subnet.subnet, subnet.ip_range)
    others = {subnet.gateway, *(address for _, address in subnet.aux_addresses)} - {None}
    held = sum(first <= int(address) <= last for address in others if address is not None)
    name = f"ip_range {subnet.ip_range}" if subnet.ip_range else f"subnet {subnet.subnet}"
    return f"{name} has {last - first + 1}, {held} of them for gateway and auxiliary addresses"
