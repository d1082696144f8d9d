"""What the kernel still knows of earlier choices, for when the store has lost them.

Ids are derived, so are link names; from our links follow pools, addresses, MACs and interface names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from ipaddress import IPv4Interface, IPv6Interface
from operator import attrgetter

from msgspec import Struct

from reconciler.incremental import By, Each, Table, Union, changed_keys, indexed
from reconciler.ipam.link_names import link_name
from reconciler.ipam.promises import EndpointKey, EndpointPromise, NetworkPromise, Promises, SubnetPromise
from reconciler.model.cluster import ClusterEndpoint, ClusterState
from reconciler.model.desired import HostFacts
from reconciler.model.identifiers import (
    HOST,
    NsRef,
    endpoint_id,
    is_link_name,
    network_id,
    own_parent_name,
    veth_link_name,
)
from reconciler.model.kinds.base import OnParent
from reconciler.model.objects import Address, Bridge, IPInterface, IPNetwork, Ipvlan, Key, Macvlan, Seen, VethPair
from reconciler.model.wanted import AttachmentWanted, NetworkWanted, WantedState


def adopted_promises(wanted: WantedState, host: HostFacts, seen: Mapping[Key, Seen]) -> Promises:
    """Read promises for what is wanted from our own links, as far as they are there. Settings cannot be read back."""
    links = _OwnLinks(seen)
    networks = {network.name: network for network in wanted.networks}
    endpoints = {
        (promise.network, promise.attachment): promise
        for attachment in wanted.attachments
        for endpoint in attachment.endpoints
        if (promise := _endpoint(links, host.name, networks.get(endpoint.network), attachment)) is not None
    }
    members: defaultdict[str, list[EndpointPromise]] = defaultdict(list)
    for promise in endpoints.values():
        members[promise.network].append(promise)
    adopted = (_network(links, host.name, network, members[network.name]) for network in wanted.networks)
    return Promises(networks={found.name: found for found in adopted if found is not None}, endpoints=endpoints)


class PublishedPromises:
    """Promises from our own endpoints in the cluster's store, kept from look to look; interface names do not stand there."""

    def __init__(self) -> None:
        self._each: dict[str, By[str, ClusterEndpoint]] = {}
        self._endpoints: Table[EndpointKey, EndpointPromise] = Table()
        self._host = ""

    def __call__(self, cluster: ClusterState) -> Mapping[EndpointKey, EndpointPromise]:
        """Return the very same as before where nothing of ours is otherwise."""
        if cluster.host != self._host:
            self._each, self._endpoints, self._host = {}, Table(), cluster.host
        put: dict[EndpointKey, EndpointPromise] = {}
        drop: list[EndpointKey] = []
        for name in self._each.keys() | cluster.networks.keys():
            known = self._each.setdefault(name, By(attrgetter("name")))
            network = cluster.networks.get(name)
            gone, come = known(() if network is None else network.endpoints)
            put |= {(name, each.name): _published(name, each) for each in come.values() if each.host == self._host}
            drop += [(name, endpoint) for endpoint in gone]
        for name in self._each.keys() - cluster.networks.keys():
            del self._each[name]
        self._endpoints = self._endpoints.updated(put, drop)
        return self._endpoints


def _published(network: str, endpoint: ClusterEndpoint) -> EndpointPromise:
    return EndpointPromise(
        network=network,
        attachment=endpoint.name,
        id=endpoint.id,
        link_name=veth_link_name(endpoint.id),
        ipv4=endpoint.ipv4,
        ipv6=endpoint.ipv6,
        mac=endpoint.mac,
    )


class Unpromised(Struct, frozen=True, kw_only=True):
    """What is wanted and has no promise. links: keys that its links would have. sandboxes: those of endpoints on a parent."""

    links: tuple[Key, ...] = ()
    sandboxes: frozenset[NsRef] = frozenset()


class WantedEndpoints:
    """Which of the endpoints that are wanted have no promise, kept from look to look."""

    def __init__(self) -> None:
        self._each: Each[tuple[str], AttachmentWanted, Mapping[EndpointKey, AttachmentWanted]] = Each(
            lambda a: (a.name,)
        )
        self._all: Union[tuple[str], EndpointKey, AttachmentWanted] = Union()
        self._wanted: Table[EndpointKey, AttachmentWanted] = Table()
        self._promised: Mapping[EndpointKey, EndpointPromise] = {}
        self._missing: Set[EndpointKey] = frozenset()

    def unpromised(self, wanted: WantedState, host: str, promises: Promises) -> Unpromised:
        """Return what is wanted and has no promise. host: its name."""
        networks = (network for network in wanted.networks if network.name not in promises.networks)
        bridges = [(Bridge.kind, HOST, link_name(network, network_id(host, network.name))) for network in networks]
        missing = sorted(self._unpromised(wanted.attachments, promises.endpoints))
        pairs = [(VethPair.kind, HOST, veth_link_name(endpoint_id(host, *each))) for each in missing]
        on_parents = {network.name for network in wanted.networks if network.sublink is not None}
        sandboxes = frozenset(self._wanted[each].sandbox.ns for each in missing if each[0] in on_parents)
        return Unpromised(links=(*bridges, *pairs), sandboxes=sandboxes)

    def _unpromised(
        self, attachments: Sequence[AttachmentWanted], promised: Mapping[EndpointKey, EndpointPromise]
    ) -> Set[EndpointKey]:
        wanted = self._all(self._each(attachments, _endpoints))
        changed = wanted.changed_since(self._wanted) | changed_keys(self._promised, promised)
        self._wanted, self._promised = wanted, promised
        now = {key for key in changed if key in wanted and key not in promised}
        self._missing = (self._missing - changed) | now
        return self._missing


def _endpoints(attachment: AttachmentWanted) -> Mapping[EndpointKey, AttachmentWanted]:
    return {(endpoint.network, attachment.name): attachment for endpoint in attachment.endpoints}


def is_adoptable(missing: Unpromised, seen: Mapping[Key, Seen]) -> bool:
    """Return whether there is a link under the name that something without a promise would get, or where one may be."""
    if any(key in seen for key in missing.links):
        return True
    return bool(missing.sandboxes) and not missing.sandboxes.isdisjoint(indexed(seen, _on_parents))


def _on_parents(key: Key, seen: Seen) -> Iterator[NsRef]:
    if isinstance(seen.object, OnParent):
        yield seen.object.ns


class _AdoptableAddress(Struct, frozen=True):
    """An address and whether it is marked as ours; sorts ours first."""

    interface: IPInterface
    is_ours: bool

    @property
    def rank(self) -> tuple[bool, IPInterface]:
        return (not self.is_ours, self.interface)


class _OwnLinks:
    """Our bridges in the host's namespace and our pairs by name, what is on the host's links, and the addresses of every link."""

    def __init__(self, seen: Mapping[Key, Seen]) -> None:
        self.bridges: dict[str, Bridge] = {}
        self.pairs: dict[str, VethPair] = {}
        self.sublinks: defaultdict[NsRef, list[Macvlan | Ipvlan]] = defaultdict(list)
        self._addresses: defaultdict[tuple[NsRef, str], list[_AdoptableAddress]] = defaultdict(list)
        for found in seen.values():
            match found.object:
                case Bridge(ns=ns) as bridge if found.is_ours and ns == HOST:
                    self.bridges[bridge.ifname] = bridge
                case VethPair() as pair if found.is_ours:
                    self.pairs[pair.ifname] = pair
                case (Macvlan() | Ipvlan()) as link if found.is_ours:
                    self.sublinks[link.ns].append(link)
                case Address(interface=interface) as address if _is_choice(interface):
                    self._addresses[address.ns, address.ifname].append(_AdoptableAddress(interface, found.is_ours))

    def interfaces(self, ns: NsRef, ifname: str) -> Sequence[IPInterface]:
        """Return a link's addresses, those with our mark first, else in numeric order, IPv4 before IPv6."""
        found = self._addresses.get((ns, ifname), ())
        per_family = ([f for f in found if f.interface.version == version] for version in (4, 6))
        return [f.interface for family in per_family for f in sorted(family, key=lambda f: f.rank)]


def _is_choice(interface: IPInterface) -> bool:
    """Return whether IPAM may have chosen the address; link-local ones come from the kernel or the specs."""
    return not (interface.ip.is_link_local or interface.ip.is_loopback or interface.ip.is_multicast)


def _endpoint(
    links: _OwnLinks, host: str, network: NetworkWanted | None, attachment: AttachmentWanted
) -> EndpointPromise | None:
    if network is None:
        return None
    id_ = endpoint_id(host, network.name, attachment.name)
    found = _pair_end(links, id_) if network.sublink is None else _sublink(links, host, network, attachment.sandbox.ns)
    if found is None:
        return None
    ns, ifname, mac = found
    interfaces = links.interfaces(ns, ifname)
    return EndpointPromise(
        network=network.name,
        attachment=attachment.name,
        id=id_,
        ifname=ifname if is_link_name(ifname) else "",
        link_name=veth_link_name(id_),
        ipv4=next((i for i in interfaces if isinstance(i, IPv4Interface)), None),
        ipv6=next((i for i in interfaces if isinstance(i, IPv6Interface)), None),
        mac=mac,
    )


def _pair_end(links: _OwnLinks, id_: str) -> tuple[NsRef, str, str] | None:
    pair = links.pairs.get(veth_link_name(id_))
    return None if pair is None else (pair.peer_ns, pair.peer_ifname, pair.peer_mac)


def _sublink(links: _OwnLinks, host: str, network: NetworkWanted, ns: NsRef) -> tuple[NsRef, str, str] | None:
    """Find the one link in a sandbox that is on the network's parent and, where subnets are declared, in one of them."""
    assert network.sublink is not None, "only macvlan and ipvlan networks have a parent"
    parent = network.sublink.parent or own_parent_name(network.driver, network_id(host, network.name))
    pools = {entry.subnet for entry in network.subnets}
    fitting = [
        link
        for link in links.sublinks[ns]
        if link.parent == parent and (not pools or any(i.network in pools for i in links.interfaces(ns, link.ifname)))
    ]
    if len(fitting) != 1:
        return None
    (link,) = fitting
    return ns, link.ifname, link.mac if isinstance(link, Macvlan) else ""


def _network(
    links: _OwnLinks, host: str, network: NetworkWanted, members: Sequence[EndpointPromise]
) -> NetworkPromise | None:
    id_ = network_id(host, network.name)
    if network.sublink is not None:
        pools = tuple(_subnets((), members))
        device = link_name(network, id_)
        return NetworkPromise(name=network.name, id=id_, created="", link_name=device, subnets=pools) if pools else None
    bridge = links.bridges.get(link_name(network, id_))
    if bridge is None:
        return None
    subnets = _subnets(links.interfaces(HOST, bridge.ifname), members)
    return NetworkPromise(name=network.name, id=id_, created="", link_name=bridge.ifname, subnets=tuple(subnets))


def _subnets(gateways: Iterable[IPInterface], members: Iterable[EndpointPromise]) -> Iterator[SubnetPromise]:
    """Yield pools, IPv4 first, per family the one with the most members first: a stray address weighs nothing.

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
