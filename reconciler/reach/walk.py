"""Where one packet ends: the way there, the address that it comes with, and whether the answer comes back.

In the order of the kernel: the sandbox's routes, neighbours, the host's translation, what the host forwards, the server's routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Final, assert_never

from msgspec import Struct

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.wanted import GatewayMode, IpvlanFlag, MacvlanMode, NetworkWanted
from reconciler.model.words import before_port
from reconciler.reach.site import (
    Publication,
    Site,
    gateway_of,
    interface_of,
    is_translated,
    way_out,
)
from reconciler.reach.values import Packet, Party, PartyKind, ReachAnswer, Step, StepKind, not_known, refused

_LOOPBACK_6: Final = IPv6Address(1)
_OPTIONS: Final = ("driver_opts",)
_ICC: Final = "com.docker.network.bridge.enable_icc"


class _Arrival(Struct, frozen=True, kw_only=True):
    """A packet at the host. source: its address there, None for one of the host's own that no spec names. by: the network whose
    bridge it came by, None from outside and from the host itself."""

    packet: Packet
    source: IPAddress | None
    by: DesiredNetwork | None = None


class Walk(Struct, frozen=True, kw_only=True):
    """Answers for packets between the parties of some hosts."""

    sites: Mapping[str, Site]

    def ask(self, packet: Packet) -> ReachAnswer:
        """Return who answers a packet, and why."""
        site = self.sites[packet.client.host]
        match packet.client.kind:
            case PartyKind.ATTACHMENT:
                return self._from_attachment(site, packet, site.members[packet.client.name])
            case PartyKind.HOST:
                return self._from_host(site, packet)
            case PartyKind.OUTSIDE:
                return self._from_outside(site, packet)
            case _ as never:
                assert_never(never)

    # --- out of a sandbox

    def _from_attachment(self, site: Site, packet: Packet, attachment: DesiredAttachment) -> ReachAnswer:
        version = packet.version
        if packet.address.is_loopback or packet.address in _addresses(attachment):
            return ReachAnswer(
                server=packet.client, seen_as=packet.address, steps=(Step("an address of its own", StepKind.ADDRESS),)
            )
        for endpoint in attachment.endpoints:
            interface = interface_of(endpoint, version)
            if interface is not None and packet.address in interface.network:
                return self._neighbour(site, packet, endpoint)
        default = way_out(attachment, site.networks, version)
        if default is not None:
            return self._by_default(site, packet, default)
        text = f"{attachment.name} has no IPv{version} default route: none of its networks leads outside"
        return refused(text, StepKind.ROUTE, attachment.unit)

    def _neighbour(self, site: Site, packet: Packet, endpoint: DesiredEndpoint) -> ReachAnswer:
        """To an address of a subnet that the client is on."""
        network = site.networks[endpoint.network]
        if network.wanted.traits.is_plugin:
            return of_plugin(network.wanted)
        interface = interface_of(endpoint, packet.version)
        assert interface is not None
        if network.is_bridged and network.ns == HOST and site.gateway(network, packet.address) == packet.address:
            step = Step(f"the host's address on {network.name}", StepKind.ADDRESS, network.unit)
            return self._to_host(site, _Arrival(packet=packet, source=interface.ip, by=network)).after(step)
        server = self._member(site, network, packet.address)
        if server is None:
            return self._on_parent(site, packet, network, interface.ip)
        obstacle = self._between_neighbours(network, site, packet, interface.ip)
        if obstacle is not None:
            return obstacle
        step = Step(f"both are on {network.name}", StepKind.NETWORK, network.unit)
        return ReachAnswer(server=server, seen_as=interface.ip, steps=(step,))

    def _member(self, site: Site, network: DesiredNetwork, address: IPAddress) -> Party | None:
        """Return who has an address on a network, on whatever host when hosts share the network."""
        sites = self.sites.values() if network.scope == "global" else (site,)
        for one in sites:
            found = one.holder(network.name, address)
            if found is not None:
                return one.party(found[0])
        for remote in network.remote_endpoints:
            if any(each is not None and each.ip == address for each in (remote.ipv4, remote.ipv6)):
                return Party(PartyKind.ATTACHMENT, remote.host, remote.name)
        return None

    def _between_neighbours(
        self, network: DesiredNetwork, site: Site, packet: Packet, source: IPAddress
    ) -> ReachAnswer | None:
        """Return what keeps two members of a network apart, None when nothing does."""
        macvlan, ipvlan = network.wanted.macvlan, network.wanted.ipvlan
        if macvlan is not None and macvlan.mode is not MacvlanMode.BRIDGE:
            text = f"mode {macvlan.mode} of {network.name} keeps its members apart"
            return refused(text, StepKind.NETWORK, network.unit, *_OPTIONS, "macvlan_mode")
        if ipvlan is not None and ipvlan.flag is not IpvlanFlag.BRIDGE:
            text = f"flag {ipvlan.flag} of {network.name} keeps its members apart"
            return refused(text, StepKind.NETWORK, network.unit, *_OPTIONS, "ipvlan_flag")
        if network.wanted.bridge is None or network.wanted.bridge_options.is_icc_enabled:
            return None
        if self._is_linked(site, packet, source):
            return None
        text = f"enable_icc is off on {network.name}: its members do not reach each other, but for ports they link to"
        return refused(text, StepKind.FIREWALL, network.unit, *_OPTIONS, _ICC)

    def _is_linked(self, site: Site, packet: Packet, source: IPAddress) -> bool:
        client = site.members[packet.client.name]
        return any(
            packet.address in (link.ipv4, link.ipv6)
            and any(
                protocol == packet.protocol and first <= packet.port <= last for first, last, protocol in link.ports
            )
            for link in client.links
            if source in _addresses(client)
        )

    def _by_default(self, site: Site, packet: Packet, endpoint: DesiredEndpoint) -> ReachAnswer:
        """By the default route, which leads through `endpoint`."""
        network, source = site.networks[endpoint.network], interface_of(endpoint, packet.version)
        assert source is not None
        step = Step(f"by the default route, on {network.name}", StepKind.ROUTE, endpoint.unit)
        if network.wanted.traits.is_plugin:
            return of_plugin(network.wanted).after(step)
        if network.wanted.sublink is not None:
            return self._on_parent(site, packet, network, source.ip).after(step)
        gateway = gateway_of(endpoint, packet.version)
        if gateway is None or site.gateway(network, gateway) != gateway:
            text = f"the gateway {gateway} of {network.name} is not the host: who has it does not forward"
            return refused(text, StepKind.ROUTE, network.unit).after(step)
        arrival = _Arrival(packet=packet, source=source.ip, by=network)
        if site.has(packet.address):
            return self._to_host(site, arrival).after(step)
        return self._forwarded(site, arrival).after(step)

    def _on_parent(self, site: Site, packet: Packet, network: DesiredNetwork, source: IPAddress) -> ReachAnswer:
        """To whoever has the address beyond the link that a macvlan or ipvlan network sits on; nobody elsewhere."""
        if network.wanted.sublink is None or not network.wanted.leads_outside:
            return _nobody(network, packet)
        step = Step(f"beyond {network.wanted.sublink.parent}, with its own address", StepKind.NETWORK, network.unit)
        return ReachAnswer(server=Party(PartyKind.OUTSIDE, site.name), seen_as=source, steps=(step,))

    # --- from the host, from outside

    def _from_host(self, site: Site, packet: Packet) -> ReachAnswer:
        if packet.address.is_loopback or site.has(packet.address):
            return self._to_host(site, _Arrival(packet=packet, source=packet.address))
        network = site.network_at(packet.address)
        if network is None:
            return _by_routes_of_host(site, packet)
        step = Step(f"the host has an address on {network.name}", StepKind.ROUTE, network.unit)
        found = site.holder(network.name, packet.address)
        if found is None:
            return _nobody(network, packet).after(step)
        return ReachAnswer(server=site.party(found[0]), seen_as=site.gateway(network, packet.address), steps=(step,))

    def _from_outside(self, site: Site, packet: Packet) -> ReachAnswer:
        arrival = _Arrival(packet=packet, source=None)
        if site.has(packet.address):
            return self._to_host(site, arrival)
        for network, parent in site.sublinks:
            found = site.holder(network.name, packet.address)
            if found is not None and packet.client.name in ("", parent):
                step = Step(
                    f"whoever is beyond {parent} reaches those on {network.name}", StepKind.NETWORK, network.unit
                )
                return ReachAnswer(server=site.party(found[0]), steps=(step,))
        return self._forwarded(site, arrival)

    # --- at the host

    def _to_host(self, site: Site, arrival: _Arrival) -> ReachAnswer:
        """To an address of the host: to whom it is published, else to the host itself."""
        packet = arrival.packet
        found = None if packet.address == _LOOPBACK_6 else site.published(packet.address, packet.protocol, packet.port)
        if found is None:
            step = Step("published to nobody: the host answers itself", StepKind.PORT)
            return ReachAnswer(
                server=Party(PartyKind.HOST, site.name), seen_as=_seen_by_host(site, arrival), steps=(step,)
            )
        network = site.networks[found.endpoint.network]
        step = Step(f"published: {_place(found)} leads to {found.attachment.name}", StepKind.PORT, found.unit)
        by = arrival.by
        if by is not None and by.wanted.is_internal:
            return refused(f"{by.name} is internal: nothing leaves it", StepKind.FIREWALL, by.unit, "internal").after(
                step
            )
        if site.gateway(network, found.address) is None:
            return refused(f"the host has no address on {network.name}", StepKind.ROUTE, network.unit).after(step)
        return self._delivered(site, arrival, (found.attachment, found.endpoint), step, is_published=True)

    def _forwarded(self, site: Site, arrival: _Arrival) -> ReachAnswer:
        """To an address that is not the host's: through its bridges, or out."""
        packet, by = arrival.packet, arrival.by
        network = site.network_at(packet.address)
        if network is None:
            return self._out(site, arrival)
        for one in (by, network):
            if one is not None and one.wanted.is_internal:
                return refused(
                    f"{one.name} is internal: nothing crosses its border", StepKind.FIREWALL, one.unit, "internal"
                )
        step = self._let_in(site, arrival, network)
        if step is None:
            text = f"nobody from elsewhere reaches members of {network.name}, but for what they publish"
            return refused(text, StepKind.FIREWALL, network.unit)
        found = site.holder(network.name, packet.address)
        if found is None:
            return _nobody(network, packet).after(step)
        return self._delivered(site, arrival, found, step, is_published=False)

    def _let_in(self, site: Site, arrival: _Arrival, network: DesiredNetwork) -> Step | None:
        """Return what lets a packet to a member's own address in, None when nothing does."""
        packet, by = arrival.packet, arrival.by
        if by is network:
            is_open = network.wanted.bridge_options.is_icc_enabled
            step = Step(f"from one subnet of {network.name} to another", StepKind.FIREWALL, network.unit)
            return step if is_open else None
        mode = network.wanted.bridge_options.gateway_mode(packet.version)
        routed = site.publication_of(packet.address, packet.protocol, packet.port, is_translated=False)
        if routed is not None:
            return Step(f"{network.name} is routed, {_place(routed)} is published", StepKind.PORT, routed.unit)
        if mode is GatewayMode.ROUTED and packet.protocol == "icmp":
            return Step(f"{network.name} is routed: its members answer pings", StepKind.FIREWALL, network.unit)
        came_by = by.link_name if by is not None else packet.client.name
        if came_by and came_by in network.wanted.bridge_options.trusted_host_interfaces:
            published = site.publication_of(packet.address, packet.protocol, packet.port, is_translated=True)
            if published is not None:
                text = f"{network.name} trusts {came_by}, {_place(published)} is published"
                return Step(text, StepKind.PORT, published.unit)
        if by is None and mode is GatewayMode.NAT_UNPROTECTED:
            text = f"{network.name} is not protected: whoever has a route comes in"
            return Step(text, StepKind.FIREWALL, network.unit)
        return None

    def _out(self, site: Site, arrival: _Arrival) -> ReachAnswer:
        by, packet = arrival.by, arrival.packet
        if site.home_of(packet.address) is not None:
            return refused(f"the host has no address in the subnet of {packet.address}", StepKind.ROUTE)
        plugin = site.plugin_network_at(packet.address)
        if plugin is not None:
            return of_plugin(plugin.wanted)
        if by is None:
            return refused("not for this host", StepKind.ADDRESS)
        if by.wanted.is_internal:
            return refused(f"{by.name} is internal: nothing leaves it", StepKind.FIREWALL, by.unit, "internal")
        server = Party(PartyKind.OUTSIDE, site.name)
        if not is_translated(by, packet.version):
            step = Step("with its own address: who is outside needs a route back", StepKind.FIREWALL, by.unit)
            return ReachAnswer(server=server, seen_as=arrival.source, steps=(step,))
        step = Step("with an address of the host", StepKind.FIREWALL, by.unit)
        return ReachAnswer(
            server=server, seen_as=by.wanted.bridge_options.source_address(packet.version), steps=(step,)
        )

    def _delivered(
        self,
        site: Site,
        arrival: _Arrival,
        found: tuple[DesiredAttachment, DesiredEndpoint],
        step: Step,
        *,
        is_published: bool,
    ) -> ReachAnswer:
        """From the host to a member, and back."""
        attachment, endpoint = found
        source = self._source_at(site, arrival, endpoint, is_published=is_published)
        obstacle = self._way_back(site, arrival, found, source)
        if obstacle is not None:
            return obstacle.after(step)
        return ReachAnswer(server=site.party(attachment), seen_as=source, steps=(step,))

    def _source_at(
        self, site: Site, arrival: _Arrival, endpoint: DesiredEndpoint, *, is_published: bool
    ) -> IPAddress | None:
        """Return the address that the member sees; None for the outside's own."""
        source, version = arrival.source, arrival.packet.version
        if source is None:
            return None
        network = site.networks[endpoint.network]
        interface = interface_of(endpoint, version)
        assert interface is not None
        gateway = site.gateway(network, interface.ip)
        if source.is_loopback or (is_published and arrival.by is not None):
            return gateway
        home = site.home_of(source)
        if home is network:
            return gateway if is_published else source
        if home is not None and is_translated(home, version):
            return home.wanted.bridge_options.source_address(version) or gateway
        return source

    def _way_back(
        self,
        site: Site,
        arrival: _Arrival,
        found: tuple[DesiredAttachment, DesiredEndpoint],
        source: IPAddress | None,
    ) -> ReachAnswer | None:
        """Return what keeps the answer from coming back, None when nothing does."""
        attachment, endpoint = found
        version, at = arrival.packet.version, attachment.unit
        if source in _addresses(attachment):
            text = f"{attachment.name} takes nothing from elsewhere that has its own address"
            return refused(text, StepKind.ADDRESS, at)
        for other in attachment.endpoints:
            interface = interface_of(other, version)
            if interface is not None and source is not None and source in interface.network:
                obstacle = self._by_other_link(site, arrival, endpoint, other, is_near=True)
                return None if obstacle is None else refused(obstacle, StepKind.ROUTE, at)
        default = way_out(attachment, site.networks, version)
        if default is None:
            return refused(f"{attachment.name} has no IPv{version} route back", StepKind.ROUTE, at)
        gateway, network = gateway_of(default, version), site.networks[default.network]
        if network.wanted.traits.is_plugin:
            return of_plugin(network.wanted)
        if gateway is None or site.gateway(network, gateway) != gateway:
            text = f"{attachment.name} answers by the gateway {gateway}, which is not the host"
            return refused(text, StepKind.ROUTE, at)
        obstacle = self._by_other_link(site, arrival, endpoint, default, is_near=False)
        return None if obstacle is None else refused(obstacle, StepKind.ROUTE, at)

    def _by_other_link(
        self,
        site: Site,
        arrival: _Arrival,
        came_to: DesiredEndpoint,
        answered_by: DesiredEndpoint,
        *,
        is_near: bool,
    ) -> str | None:
        """Judge an answer that leaves by another link than the question came to.

        is_near: its receiver has an address in the subnet of that link.
        """
        if answered_by.network == came_to.network:
            return None
        network = site.networks[answered_by.network]
        text = f"{came_to.attachment} answers by {network.name}"
        if network.wanted.is_source_validated:
            return f"{text}, where it may not send from its address on {came_to.network}"
        if arrival.by is None:
            return None
        # Near, or translated by the host and back: either way the answer goes to a neighbour on that link.
        if (is_near or arrival.by is network) and network.wanted.bridge_options.is_icc_enabled:
            return None
        return f"{text}, not by the host"


def _by_routes_of_host(site: Site, packet: Packet) -> ReachAnswer:
    if site.home_of(packet.address) is not None:
        return refused(f"the host has no address in the subnet of {packet.address}", StepKind.ROUTE)
    plugin = site.plugin_network_at(packet.address)
    if plugin is not None:
        return of_plugin(plugin.wanted)
    step = Step("by the host's own routes", StepKind.ROUTE)
    return ReachAnswer(server=Party(PartyKind.OUTSIDE, site.name), steps=(step,))


def _nobody(network: DesiredNetwork, packet: Packet) -> ReachAnswer:
    return refused(f"nobody on {network.name} has {packet.address}", StepKind.ADDRESS, network.unit)


def of_plugin(network: NetworkWanted) -> ReachAnswer:
    return not_known(f"{network.name} is its plugin's, which no spec tells of", Unit(network=network.name))


def _seen_by_host(site: Site, arrival: _Arrival) -> IPAddress | None:
    """What the host sends to itself from a gateway address is translated as what leaves there; in IPv6 into the same."""
    source, version = arrival.source, arrival.packet.version
    home = None if source is None or arrival.by is not None else site.home_of(source)
    if home is None or not is_translated(home, version):
        return source
    return home.wanted.bridge_options.source_address(version) or (None if version == 4 else source)


def _addresses(attachment: DesiredAttachment) -> tuple[IPAddress, ...]:
    return tuple(each.ip for one in attachment.endpoints for each in (one.ipv4, one.ipv6) if each is not None)


def _place(found: Publication) -> str:
    binding = found.binding
    if not binding.host_port:
        return f"{binding.target}/{binding.protocol}"
    return f"{before_port(binding.host_ip)}:{binding.host_port}/{binding.protocol}"
