"""What the kernel still knows of earlier choices, for when the store has lost them.

Ids are derived, so are link names; from our links follow pools, addresses, MACs and interface names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from reconciler.ipam.link_names import link_name
from reconciler.ipam.promises import EndpointPromise, NetworkPromise, Promises, SubnetPromise
from reconciler.model.cluster import ClusterState
from reconciler.model.desired import HostFacts
from reconciler.model.identifiers import (
    HOST,
    NsRef,
    endpoint_id,
    is_link_name,
    network_id,
    veth_link_name,
)
from reconciler.model.objects import Address, Bridge, IPInterface, IPNetwork, Key, Seen, VethPair
from reconciler.model.wanted import NetworkWanted, WantedState


def adopted_promises(wanted: WantedState, host: HostFacts, seen: Mapping[Key, Seen]) -> Promises:
    """Read promises for what is wanted from our own links, as far as they are there. Settings cannot be read back."""
    links = _OwnLinks(seen)
    endpoints = {
        (promise.network, promise.attachment): promise
        for attachment in wanted.attachments
        for endpoint in attachment.endpoints
        if (promise := _endpoint(links, host.name, endpoint.network, attachment.name)) is not None
    }
    members: defaultdict[str, list[EndpointPromise]] = defaultdict(list)
    for promise in endpoints.values():
        members[promise.network].append(promise)
    adopted = (_network(links, host.name, network, members[network.name]) for network in wanted.networks)
    networks = {promise.name: promise for promise in adopted if promise is not None}
    return Promises(networks=networks, endpoints=endpoints)


def published_promises(cluster: ClusterState) -> Promises:
    """Read promises from this host's own endpoints in the cluster's store; interface names are not told there."""
    endpoints = {
        (network.name, endpoint.name): EndpointPromise(
            network=network.name,
            attachment=endpoint.name,
            id=endpoint.id,
            link_name=veth_link_name(endpoint.id),
            ipv4=endpoint.ipv4,
            ipv6=endpoint.ipv6,
            mac=endpoint.mac,
        )
        for network in cluster.networks.values()
        for endpoint in network.endpoints
        if endpoint.host == cluster.host
    }
    return Promises(endpoints=endpoints)


def is_adoptable(wanted: WantedState, host: HostFacts, promises: Promises, seen: Mapping[Key, Seen]) -> bool:
    """Say whether something wanted has no promise, but a link under the name that it would get."""
    networks = (network for network in wanted.networks if network.name not in promises.networks)
    bridges = (link_name(network, network_id(host.name, network.name)) for network in networks)
    if any((Bridge.kind, HOST, name) in seen for name in bridges):
        return True
    pairs = (
        veth_link_name(endpoint_id(host.name, endpoint.network, attachment.name))
        for attachment in wanted.attachments
        for endpoint in attachment.endpoints
        if (endpoint.network, attachment.name) not in promises.endpoints
    )
    return any((VethPair.kind, HOST, name) in seen for name in pairs)


@dataclass(frozen=True, slots=True)
class _Found:
    """An address and whether it is marked as ours; sorts ours first."""

    interface: IPInterface
    is_ours: bool

    @property
    def rank(self) -> tuple[bool, IPInterface]:
        return (not self.is_ours, self.interface)


class _OwnLinks:
    """Our bridges in the host's namespace and our pairs by name, and the addresses of every link."""

    def __init__(self, seen: Mapping[Key, Seen]) -> None:
        self.bridges: dict[str, Bridge] = {}
        self.pairs: dict[str, VethPair] = {}
        self._addresses: defaultdict[tuple[NsRef, str], list[_Found]] = defaultdict(list)
        for found in seen.values():
            match found.object:
                case Bridge(ns=ns) as bridge if found.is_ours and ns == HOST:
                    self.bridges[bridge.ifname] = bridge
                case VethPair() as pair if found.is_ours:
                    self.pairs[pair.ifname] = pair
                case Address(interface=interface) as address if _is_choice(interface):
                    self._addresses[address.ns, address.ifname].append(_Found(interface, found.is_ours))

    def interfaces(self, ns: NsRef, ifname: str) -> Sequence[IPInterface]:
        """Give a link's addresses, those with our mark first, else in numeric order, IPv4 before IPv6."""
        found = self._addresses.get((ns, ifname), ())
        per_family = ([f for f in found if f.interface.version == version] for version in (4, 6))
        return [f.interface for family in per_family for f in sorted(family, key=lambda f: f.rank)]


def _is_choice(interface: IPInterface) -> bool:
    """Say whether IPAM may have chosen the address; link-local ones come from the kernel or the specs."""
    return not (interface.ip.is_link_local or interface.ip.is_loopback or interface.ip.is_multicast)


def _endpoint(links: _OwnLinks, host: str, network: str, attachment: str) -> EndpointPromise | None:
    id_ = endpoint_id(host, network, attachment)
    pair = links.pairs.get(veth_link_name(id_))
    if pair is None:
        return None
    interfaces = links.interfaces(pair.peer_ns, pair.peer_ifname)
    return EndpointPromise(
        network=network,
        attachment=attachment,
        id=id_,
        ifname=pair.peer_ifname if is_link_name(pair.peer_ifname) else "",
        link_name=pair.ifname,
        ipv4=next((i for i in interfaces if isinstance(i, IPv4Interface)), None),
        ipv6=next((i for i in interfaces if isinstance(i, IPv6Interface)), None),
        mac=pair.peer_mac,
    )


def _network(
    links: _OwnLinks, host: str, network: NetworkWanted, members: Sequence[EndpointPromise]
) -> NetworkPromise | None:
    id_ = network_id(host, network.name)
    bridge = links.bridges.get(link_name(network, id_))
    if bridge is None:
        return None
    subnets = _subnets(links.interfaces(HOST, bridge.ifname), members)
    return NetworkPromise(name=network.name, id=id_, created="", link_name=bridge.ifname, subnets=tuple(subnets))


def _subnets(gateways: Iterable[IPInterface], members: Iterable[EndpointPromise]) -> Iterator[SubnetPromise]:
    """Give pools, IPv4 first, per family the one with the most members first: a stray address weighs nothing.

    A bridge without an address (isolated, inhibited) still has its members' pool.
    """
    populations: Counter[IPNetwork] = Counter(
        interface.network for member in members for interface in (member.ipv4, member.ipv6) if interface is not None
    )
    pools: dict[IPNetwork, SubnetPromise] = {}
    for interface in gateways:
        pools.setdefault(interface.network, (interface.network, interface.ip))
    versions = {pool.version for pool in pools}
    for pool in populations:
        if pool.version not in versions:
            pools[pool] = (pool, None)
    order = sorted(pools, key=lambda pool: (pool.version, -populations[pool], str(pool)))
    yield from (pools[pool] for pool in order)
