"""Which parties are alike: those on the same networks, and to an address those that send there by the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import pairwise

from msgspec import Struct

from reconciler.model.desired import DesiredEndpoint
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.reach.reachability import Bits, chosen
from reconciler.reach.site import interface_of, way_out
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk

Way = Hashable
"""By which networks a client sends: all that the words of an answer depend on of a client, but for its name."""

_Ways = Mapping[Way, Bits]


class Parties(Struct, frozen=True, dict=True):
    """All that there are, by the number of their bit."""

    walk: Walk
    parties: tuple[Party, ...]

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """Return the number of each party's kind: those of one kind are on the same networks in the same manner."""
        numbers: dict[Hashable, int] = {}
        return tuple(numbers.setdefault(self._kind(party), len(numbers)) for party in self.parties)

    def _kind(self, party: Party) -> Hashable:
        if party.kind is not PartyKind.ATTACHMENT:
            return party
        return party.host, tuple(map(_place, self._endpoints(party)))

    def _endpoints(self, party: Party) -> tuple[DesiredEndpoint, ...]:
        return self.walk.sites[party.host].members[party.name].endpoints

    @cached_property
    def _members(self) -> Mapping[int, Bits]:
        found: dict[int, Bits] = {}
        for index, kind in enumerate(self.kinds):
            found[kind] = found.get(kind, 0) | 1 << index
        return found

    @cached_property
    def index(self) -> Mapping[Party, int]:
        return {party: index for index, party in enumerate(self.parties)}

    def among(self, bits: Bits) -> Iterator[tuple[Party, Bits]]:
        """Yield by kind who of some parties is of it, and one of them."""
        while bits:
            first = (bits & -bits).bit_length() - 1
            same = bits & self._members[self.kinds[first]]
            yield self.parties[first], same
            bits &= ~same

    def each(self, bits: Bits) -> Iterator[tuple[Party, Bits]]:
        return ((party, 1 << self.index[party]) for party in chosen(self.parties, bits))

    def by_way(self, clients: Bits, addresses: tuple[IPAddress | None, ...], version: int) -> Mapping[Way, Bits]:
        """Part clients by all that the words of answers depend on: whose neighbours they are, else by which network they leave."""
        parts: dict[tuple[Way, ...], Bits] = {(): clients & ~self._others}
        for address in addresses:
            near = self._to_host[version] if address is None else self._near(address)
            parts = {(*way, at): some for way, all_ in parts.items() for at, some in _split(all_, near)}
        found: dict[Way, Bits] = {}
        for way, all_ in parts.items():
            outward = self._outward[version] if None in way else {}
            found.update(((way, at), some) for at, some in _split(all_, outward))
        found.update((party, bits) for party, bits in self.among(clients & self._others))
        return found

    @cached_property
    def _others(self) -> Bits:
        """Return who is no attachment: each has a way of its own."""
        kinds = enumerate(party.kind is not PartyKind.ATTACHMENT for party in self.parties)
        return sum(1 << index for index, is_other in kinds if is_other)

    def _near(self, address: IPAddress) -> _Ways:
        """Return those that have an address in a subnet that this one is in, by the first endpoint where they do."""
        net = self._net(address)
        if net not in self._known_near:
            self._known_near[net] = self._parted(lambda client: self._neighbour(client, address))
        return self._known_near[net]

    @cached_property
    def _known_near(self) -> dict[Hashable, _Ways]:
        return {}

    def _net(self, address: IPAddress) -> Hashable:
        """Return what an address has in common with its neighbours, whom the same clients ask in the same way."""
        return next((net for net in self._nets[address.version] if address in net), address)

    @cached_property
    def _nets(self) -> Mapping[int, tuple[IPNetwork, ...]]:
        """Return all subnets, by version; none where some overlap, so that each address is by itself."""
        sites = self.walk.sites.values()
        networks = (network for site in sites for network in site.networks.values())
        found = {one.subnet for network in networks for one in network.subnets}
        nets = {version: sorted(net for net in found if net.version == version) for version in (4, 6)}
        return {version: () if _overlap(some) else tuple(some) for version, some in nets.items()}

    def _neighbour(self, client: Party, address: IPAddress) -> Way:
        for one in self._endpoints(client):
            interface = interface_of(one, address.version)
            if interface is not None and address in interface.network:
                return client.host, _place(one)
        return None

    @cached_property
    def _outward(self) -> Mapping[int, _Ways]:
        return {version: self._parted(partial(self._way_out, version=version)) for version in (4, 6)}

    def _way_out(self, client: Party, version: int) -> Way:
        site = self.walk.sites[client.host]
        found = way_out(site.members[client.name], site.networks, version)
        return client.host, found and _place(found)

    @cached_property
    def _to_host(self) -> Mapping[int, _Ways]:
        return {version: self._parted(partial(self._gateways, version=version)) for version in (4, 6)}

    def _gateways(self, client: Party, version: int) -> Way:
        return client.host, tuple(self._first_gateways(client, version))

    def _first_gateways(self, client: Party, version: int) -> Iterator[Hashable]:
        """Yield the networks by whose gateways a client asks the host, to the first from which that leads on."""
        site = self.walk.sites[client.host]
        for one in self._endpoints(client):
            interface, network = interface_of(one, version), site.networks[one.network]
            if interface is not None and network.is_bridged and site.gateway(network, interface.ip) is not None:
                yield _place(one)
                if not network.wanted.is_internal:
                    return

    def _parted(self, way_of: Callable[[Party], Way]) -> _Ways:
        """Part all attachments by what is the same for those of a kind; those without a way are left out."""
        found: dict[Way, Bits] = {}
        for party, some in self.among((1 << len(self.parties)) - 1 & ~self._others):
            way = way_of(party)
            if way is not None:
                found[way] = found.get(way, 0) | some
        return found


def _split(clients: Bits, ways: _Ways) -> Iterator[tuple[Way, Bits]]:
    """Part clients; None is the way of the rest."""
    for way, bits in ways.items():
        if clients & bits:
            yield way, clients & bits
            clients &= ~bits
    if clients:
        yield None, clients


def _overlap(nets: Sequence[IPNetwork]) -> bool:
    """nets: sorted."""
    return any(int(one.broadcast_address) >= int(two.network_address) for one, two in pairwise(nets))


def _place(endpoint: DesiredEndpoint) -> Hashable:
    return (
        endpoint.network,
        endpoint.ipv4 and endpoint.ipv4.network,
        endpoint.ipv6 and endpoint.ipv6.network,
        endpoint.gateway_ipv4,
        endpoint.gateway_ipv6,
        endpoint.is_default_ipv4,
        endpoint.is_default_ipv6,
    )
