"""Who there is in one address family on one host and beside it, and what answers to them depend on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from functools import cached_property

from msgspec import Struct

from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress, IPInterface, IPNetwork
from reconciler.reach.places import Clients, HostWay, Member, ReachPlace, Server, Some
from reconciler.reach.reachability import Bits
from reconciler.reach.site import Site, gateway_of, interface_of, way_out
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk


class Members(Struct, frozen=True, kw_only=True, dict=True):
    """parties: all that there are; own: those of this site. index: of each party, the number of its bit."""

    walk: Walk
    site: Site
    version: int
    parties: tuple[Party, ...]
    own: tuple[Party, ...]
    index: dict[Party, int]

    @cached_property
    def members(self) -> tuple[Member, ...]:
        return tuple(self.of(self.site, self.site.networks))

    @cached_property
    def _known(self) -> dict[str, list[Member]]:
        """Return by network its members on all hosts that share it."""
        found: dict[str, list[Member]] = defaultdict(list)
        for member in self.members:
            found[member.endpoint.network].append(member)
        shared = {name for name, network in self.site.networks.items() if network.scope == "global"}
        for other in self.walk.sites.values() if shared else ():
            if other is not self.site:
                for member in self.of(other, shared):
                    found[member.endpoint.network].append(member)
        return found

    def of(self, site: Site, networks: Iterable[str]) -> Iterator[Member]:
        wanted = frozenset(networks)
        for attachment in site.desired.members:
            bit = 1 << self.index[site.party(attachment)]
            for endpoint in attachment.endpoints:
                interface = interface_of(endpoint, self.version)
                if interface is not None and endpoint.network in wanted:
                    place = self._place(endpoint.network, interface)
                    yield Member(attachment, endpoint, interface.ip, place, bit)

    def _place(self, network: str, interface: IPInterface) -> ReachPlace:
        known = self._interned.get((network, interface.network))
        if known is None:
            wanted = self.site.networks[network]
            gateway = self.site.gateway(wanted, interface.ip) if wanted.is_bridged and wanted.ns == HOST else None
            known = self._interned[network, interface.network] = ReachPlace(network, interface.network, gateway)
        return known

    @cached_property
    def _interned(self) -> dict[tuple[str, IPNetwork], ReachPlace]:
        return {}

    @cached_property
    def near(self) -> dict[ReachPlace, Bits]:
        found: dict[ReachPlace, Bits] = defaultdict(int)
        for members in self._known.values():
            for member in members:
                found[member.place] |= member.bit
        return found

    @cached_property
    def leaving(self) -> Some:
        """Return those of this host by where their default route leads: each one way."""
        leaving = (member for member in self.members if self._is_default(member))
        return self._by_way((member, gateway_of(member.endpoint, self.version)) for member in leaving)

    @cached_property
    def with_gateway(self) -> Some:
        """Return those of this host by the networks whose gateway is the host's, whatever their default route."""
        return self._by_way((member, member.place.gateway) for member in self.members if member.place.gateway)

    def _is_default(self, member: Member) -> bool:
        return way_out(member.attachment, self.site.networks, self.version) is member.endpoint

    def _by_way(self, members: Iterable[tuple[Member, IPAddress | None]]) -> Some:
        found: dict[tuple[ReachPlace, IPAddress | None], Bits] = defaultdict(int)
        for member, gateway in members:
            found[member.place, gateway] |= member.bit
        return Some((HostWay(*way), self._kind(*way), bits) for way, bits in found.items())

    def _kind(self, place: ReachPlace, gateway: IPAddress | None) -> int:
        """Number what answers to those depend on who come by a gateway."""
        return self._number((self.traits[place.network], gateway is not None and gateway == place.gateway))

    @cached_property
    def outsides(self) -> tuple[Clients, ...]:
        outside = (party for party in self.own if party.kind is PartyKind.OUTSIDE)
        return tuple(Clients(("outside", party.name), 1 << self.index[party]) for party in outside)

    @cached_property
    def host(self) -> Clients:
        return Clients("host", 1 << self.index[Party(PartyKind.HOST, self.site.name)])

    # --- what answers depend on

    @cached_property
    def _trusted(self) -> frozenset[str]:
        networks = self.site.bridged
        return frozenset(name for each in networks for name in each.wanted.bridge_options.trusted_host_interfaces)

    @cached_property
    def traits(self) -> dict[str, int]:
        """Return by network all of it that an answer may depend on."""
        return {name: self._number(self._traits_of(name)) for name in self.site.networks}

    def _traits_of(self, name: str) -> Hashable:
        network = self.site.networks[name]
        wanted, options = network.wanted, network.wanted.bridge_options
        return (
            wanted.driver,
            wanted.is_internal,
            wanted.is_source_validated,
            wanted.sublink,
            network.is_bridged and network.ns == HOST,
            options.gateway_mode(self.version),
            options.is_masquerade_enabled,
            options.is_icc_enabled,
            options.is_ipv4_inhibited,
            options.source_address(self.version),
            options.trusted_host_interfaces,
            network.link_name if network.link_name in self._trusted else "",
            frozenset(subnet.gateway is None for subnet in network.subnets),
        )

    @cached_property
    def _overlapping(self) -> dict[IPNetwork, tuple[IPNetwork, ...]]:
        nets = sorted({place.subnet for place in self.near}, key=lambda net: (int(net.network_address), net.prefixlen))
        found: dict[IPNetwork, set[IPNetwork]] = {net: {net} for net in nets}
        open_: list[IPNetwork] = []
        for net in nets:
            open_ = [each for each in open_ if int(each.broadcast_address) >= int(net.network_address)]
            for each in open_:
                found[each].add(net)
                found[net].add(each)
            open_.append(net)
        return {net: tuple(each) for net, each in found.items()}

    @cached_property
    def _awkward(self) -> frozenset[ReachPlace]:
        """Return where a subnet meets another, or has an address that packets of elsewhere come with: nobody is alike there."""
        options = (network.wanted.bridge_options for network in self.site.networks.values())
        sources = {*(each.source_address(self.version) for each in options), *self.site.addresses} - {None}
        return frozenset(
            place
            for place in self.near
            if len(self._overlapping[place.subnet]) > 1 or any(each in place.subnet for each in sources if each)
        )

    def server(self, member: Member) -> Server:
        known = self._servers.get((member.attachment.name, member.place))
        if known is not None:
            return known
        mine = self._members_by_name[member.attachment.name]
        places = frozenset(other.place for other in mine)
        exactly = "" if places.isdisjoint(self._awkward) else member.attachment.name
        default = next((other for other in mine if self._is_default(other)), None)
        kind = (
            self.traits[member.endpoint.network],
            member.place.gateway is not None,
            default is not None and self._kind(default.place, gateway_of(default.endpoint, self.version)),
            default is not None and default.endpoint.network == member.endpoint.network,
            exactly,
        )
        name = "" if default is None else default.endpoint.network
        found = Server(
            member=member,
            default=name,
            places=places,
            networks=frozenset(place.network for place in places),
            kind=self._number(kind),
            alike=self._number(("alike", member.endpoint.network, name, places, exactly)),
            exactly=exactly,
        )
        self._servers[member.attachment.name, member.place] = found
        return found

    @cached_property
    def _servers(self) -> dict[tuple[str, ReachPlace], Server]:
        return {}

    @cached_property
    def _numbers(self) -> dict[Hashable, int]:
        return {}

    def _number(self, kind: Hashable) -> int:
        return self._numbers.setdefault(kind, len(self._numbers))

    @cached_property
    def _members_by_name(self) -> dict[str, list[Member]]:
        found: dict[str, list[Member]] = defaultdict(list)
        for member in self.members:
            found[member.attachment.name].append(member)
        return found
