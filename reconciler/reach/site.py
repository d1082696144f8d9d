"""One host's desired state, arranged for questions: who has an address, what is published where, who may be whose neighbour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from msgspec import Struct, field

from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    DesiredSubnet,
    PortBinding,
)
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress, IPInterface, Unit
from reconciler.reach.values import Party, PartyKind


class Publication(Struct, frozen=True, kw_only=True):
    """A port of an endpoint that the host answers for. unit: whose declaration says so."""

    attachment: DesiredAttachment
    endpoint: DesiredEndpoint
    binding: PortBinding

    @property
    def address(self) -> IPAddress:
        found = interface_of(self.endpoint, self.binding.host_ip.version)
        assert found is not None
        return found.ip

    @property
    def unit(self) -> Unit:
        return self.attachment.unit


def interface_of(endpoint: DesiredEndpoint, version: int) -> IPInterface | None:
    return endpoint.ipv4 if version == 4 else endpoint.ipv6


def default_of(endpoint: DesiredEndpoint, version: int) -> bool:
    return endpoint.is_default_ipv4 if version == 4 else endpoint.is_default_ipv6


def way_out(
    attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork], version: int
) -> DesiredEndpoint | None:
    """Return the endpoint that the default route leads through. Where none is known of, a plugin may give one."""
    inside = [one for one in attachment.endpoints if interface_of(one, version) is not None]
    of_plugins = (one for one in inside if networks[one.network].wanted.traits.is_plugin)
    return next((one for one in inside if default_of(one, version)), None) or next(of_plugins, None)


def gateway_of(endpoint: DesiredEndpoint, version: int) -> IPAddress | None:
    return endpoint.gateway_ipv4 if version == 4 else endpoint.gateway_ipv6


def is_translated(network: DesiredNetwork, version: int) -> bool:
    """Return whether what members send leaves with an address of the host."""
    return network.wanted.bridge_options.is_translated(version) and not network.wanted.is_internal


class Site(Struct, frozen=True, kw_only=True, dict=True):
    """One host. addresses: its own beside the gateways of its networks."""

    desired: DesiredState
    addresses: frozenset[IPAddress] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        return self.desired.host.name

    @cached_property
    def members(self) -> dict[str, DesiredAttachment]:
        return {attachment.name: attachment for attachment in self.desired.members}

    @cached_property
    def networks(self) -> dict[str, DesiredNetwork]:
        return {network.name: network for network in (*self.desired.networks, *self.desired.held_networks)}

    @cached_property
    def bridged(self) -> tuple[DesiredNetwork, ...]:
        """Return the networks whose bridge is on the host itself."""
        return tuple(network for network in self.networks.values() if network.is_bridged and network.ns == HOST)

    @cached_property
    def sublinks(self) -> tuple[tuple[DesiredNetwork, str], ...]:
        """Return the networks whose members are on a link of the host themselves, and which link that is."""
        return tuple(
            (network, network.wanted.sublink.parent)
            for network in self.networks.values()
            if network.wanted.sublink is not None and network.wanted.leads_outside
        )

    @cached_property
    def _holders(self) -> dict[tuple[str, IPAddress], tuple[DesiredAttachment, DesiredEndpoint]]:
        return {
            (endpoint.network, interface.ip): (attachment, endpoint)
            for attachment in self.desired.members
            for endpoint in attachment.endpoints
            for interface in (endpoint.ipv4, endpoint.ipv6)
            if interface is not None
        }

    def holder(self, network: str, address: IPAddress) -> tuple[DesiredAttachment, DesiredEndpoint] | None:
        """Return who has an address on a network."""
        return self._holders.get((network, address))

    def party(self, attachment: DesiredAttachment) -> Party:
        """One in the host's own namespace is the host."""
        if attachment.ns == HOST:
            return Party(PartyKind.HOST, self.name)
        return Party(PartyKind.ATTACHMENT, self.name, attachment.name)

    def network_at(self, address: IPAddress) -> DesiredNetwork | None:
        """Return the network to which the host has a route of its own for an address."""
        found = self._subnet_at(address)
        return found[0] if found is not None and found[0].holds_gateway(found[1]) else None

    def home_of(self, address: IPAddress) -> DesiredNetwork | None:
        """Return the network in whose subnet an address is, whether the host has a route there or not."""
        found = self._subnet_at(address)
        return found[0] if found is not None else None

    def plugin_network_at(self, address: IPAddress) -> DesiredNetwork | None:
        plugins = (network for network in self.networks.values() if network.wanted.traits.is_plugin)
        return next((one for one in plugins if any(address in each.subnet for each in one.subnets)), None)

    def _subnet_at(self, address: IPAddress) -> tuple[DesiredNetwork, DesiredSubnet] | None:
        bits, number = address.max_prefixlen, int(address)
        for version, length in self._lengths:
            if version == address.version:
                found = self._subnets.get((version, length, number >> bits - length))
                if found is not None:
                    return found
        return None

    @cached_property
    def _subnets(self) -> dict[tuple[int, int, int], tuple[DesiredNetwork, DesiredSubnet]]:
        """Return by version, prefix length and prefix: subnets of bridges on one host do not overlap."""
        return {
            (net.version, net.prefixlen, int(net.network_address) >> net.max_prefixlen - net.prefixlen): (network, one)
            for network in self.bridged
            for one in network.subnets
            for net in (one.subnet,)
        }

    @cached_property
    def _lengths(self) -> tuple[tuple[int, int], ...]:
        return tuple(sorted({(version, length) for version, length, _ in self._subnets}))

    def gateway(self, network: DesiredNetwork, address: IPAddress) -> IPAddress | None:
        """Return the host's address in the subnet of an address of the network's."""
        for subnet in network.subnets:
            if address in subnet.subnet and network.holds_gateway(subnet):
                return subnet.gateway
        return None

    def has(self, address: IPAddress) -> bool:
        return address in self.addresses or address in self._gateways

    @cached_property
    def _gateways(self) -> frozenset[IPAddress]:
        return frozenset(
            subnet.gateway
            for network in self.bridged
            for subnet in network.subnets
            if subnet.gateway is not None and network.holds_gateway(subnet)
        )

    def gateways_of(self, attachment: str, version: int) -> Iterator[IPAddress]:
        """Yield the addresses that the host has on the networks of an attachment."""
        for endpoint in self.members[attachment].endpoints:
            network, interface = self.networks[endpoint.network], interface_of(endpoint, version)
            if interface is not None and network.is_bridged and network.ns == HOST:
                gateway = self.gateway(network, interface.ip)
                if gateway is not None:
                    yield gateway

    def shares(self, client: Party, address: IPAddress) -> bool:
        """Return whether a party of this host has an address beside this one on a network that hosts share."""
        member = self.members.get(client.name) if client.kind is PartyKind.ATTACHMENT else None
        shared = (one for one in (member.endpoints if member else ()) if self.networks[one.network].scope == "global")
        interfaces = (interface_of(one, address.version) for one in shared)
        return any(interface is not None and address in interface.network for interface in interfaces)

    def addresses_of(self, attachment: str) -> frozenset[IPAddress]:
        endpoints = self.members[attachment].endpoints
        return frozenset(each.ip for one in endpoints for each in (one.ipv4, one.ipv6) if each is not None)

    @cached_property
    def publications(self) -> tuple[Publication, ...]:
        return tuple(_publications(self.desired.members))

    @cached_property
    def _published(self) -> dict[tuple[IPAddress, str, int], Publication]:
        return {
            (one.binding.host_ip, one.binding.protocol, one.binding.host_port): one
            for one in self.publications
            if one.binding.host_port
        }

    def published(self, address: IPAddress, protocol: str, port: int) -> Publication | None:
        """Return to whom the host leads what comes to an address of its own."""
        for host_ip in (address, type(address)(0)):
            found = self._published.get((host_ip, protocol, port))
            if found is not None:
                return found
        return None

    @cached_property
    def _targets(self) -> dict[tuple[IPAddress, str, int, bool], Publication]:
        return {
            (one.address, one.binding.protocol, one.binding.target, bool(one.binding.host_port)): one
            for one in self.publications
        }

    def publication_of(
        self, packet_address: IPAddress, protocol: str, port: int, *, is_translated: bool
    ) -> Publication | None:
        """Return what is published of an address of an endpoint: translated by the host, or reached as it is."""
        return self._targets.get((packet_address, protocol, port, is_translated))


def _publications(attachments: Iterable[DesiredAttachment]) -> Iterator[Publication]:
    for attachment in attachments:
        for endpoint in attachment.endpoints:
            for binding in endpoint.ports:
                yield Publication(attachment=attachment, endpoint=endpoint, binding=binding)
