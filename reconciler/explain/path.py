"""The way of a packet that arrives, in sentences: who sends, by what, through what, and who gets it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from reconciler.explain.known import known_as
from reconciler.explain.lines import Lines
from reconciler.explain.values import About, Question, Sentence
from reconciler.explain.ways import left_by, medium, said, sets_of
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.words import before_port
from reconciler.reach.site import gateway_of, interface_of, way_out
from reconciler.reach.values import Packet, Party, PartyKind, Step, StepKind
from reconciler.reach.walk import Walk
from reconciler.review.questions import Found, lined_steps

_ABOUT = {
    StepKind.ADDRESS: About.ADDRESS,
    StepKind.ROUTE: About.ROUTE,
    StepKind.NETWORK: About.NETWORK,
    StepKind.FIREWALL: About.FIREWALL,
    StepKind.PORT: About.PORT,
    StepKind.UNKNOWN: About.SPECS,
}


class Teller(Struct, frozen=True, kw_only=True):
    """Tells what came of packets. is_foreseen: no host was asked, so that what hosts choose together is not told as a fact."""

    walk: Walk
    lines: Lines
    is_foreseen: bool = True

    def path(self, question: Question, found: Found) -> Iterator[Sentence]:
        """Yield the way of a packet, from who sends it to who answers."""
        packet, server = found.packet, found.answer.server
        assert packet is not None  # it arrived
        assert server is not None
        yield from self._by_name(question, packet)
        yield from self._sent(packet)
        for sentence, step in self._steps(found):
            yield sentence
            if step.kind is StepKind.PORT and step.unit is not None:
                yield from self._translated(found, server)
            elif step.kind is StepKind.NETWORK and step.unit is not None:
                yield from self._let_pass(found, step.unit)
        yield from self._taken(found, server)

    def way(self, found: Found) -> Iterator[Sentence]:
        """Return the steps of a packet, whether it arrives or not."""
        return (sentence for sentence, _ in self._steps(found))

    def _steps(self, found: Found) -> Iterator[tuple[Sentence, Step]]:
        for step, source in lined_steps(found, self.lines.documents):
            text = step.text
            if step.kind is StepKind.NETWORK and found.answer.server is not None:
                text = f"{text}: {self._medium(step, found)}"
            elif step.kind is StepKind.ROUTE and found.packet is not None:
                text = f"{text}{self._gateway(step, found.packet)}"
            elif step.kind is StepKind.FIREWALL:
                text = f"{text}{self._translation(step, found)}"
            yield Sentence(about=_ABOUT[step.kind], text=text, source=source, unit=step.unit), step

    # --- who sends

    def _by_name(self, question: Question, packet: Packet) -> Iterator[Sentence]:
        """Yield by which name the client finds the address that it asks."""
        client = question.client
        if question.address is not None or client.kind is not PartyKind.ATTACHMENT:
            return
        for network, holder in known_as(self.walk, client, question.name):
            endpoint = self._endpoint_at(holder, network, packet.address)
            if endpoint is not None:
                address = self._address(endpoint, packet.version)
                text = f"{client} finds {question.name} as {address}, by the names of {network}"
                source = self.lines.of(endpoint.unit)
                yield Sentence(about=About.NAME, text=text, source=source)
                return

    def _endpoint_at(self, name: str, network: str, address: IPAddress) -> DesiredEndpoint | None:
        for site in self.walk.sites.values():
            member = site.members.get(name)
            for endpoint in member.endpoints if member else ():
                interface = interface_of(endpoint, address.version)
                if endpoint.network == network and interface is not None and interface.ip == address:
                    return endpoint
        return None

    def _sent(self, packet: Packet) -> Iterator[Sentence]:
        client, site = packet.client, self.walk.sites[packet.client.host]
        if client.kind is not PartyKind.ATTACHMENT:
            where = "the host itself" if client.kind is PartyKind.HOST else "whoever is outside"
            yield Sentence(about=About.ADDRESS, text=f"{where} asks {said(packet)}")
            return
        endpoint = left_by(site, packet)
        interface = None if endpoint is None else interface_of(endpoint, packet.version)
        if endpoint is not None and interface is not None:
            address = self._address(endpoint, packet.version, is_whole=True)
            text = f"{client} sends by its interface {endpoint.ifname}, as {address}"
            yield Sentence(about=About.INTERFACE, text=text, source=self.lines.of(endpoint.unit), unit=endpoint.unit)

    def _address(self, endpoint: DesiredEndpoint, version: int, *, is_whole: bool = False) -> str:
        """Return an address of an endpoint. is_whole: with the length of its prefix."""
        interface = interface_of(endpoint, version)
        assert interface is not None
        network = next(
            site.networks[endpoint.network] for site in self.walk.sites.values() if endpoint.network in site.networks
        )
        wanted = endpoint.wanted.ipv4_address if version == 4 else endpoint.wanted.ipv6_address
        if self.is_foreseen and network.scope == "global" and wanted is None:
            return (
                f"an address of {network.name}" if not network.wanted.subnets else f"an address of {interface.network}"
            )
        return str(interface if is_whole else interface.ip)

    # --- what it goes through

    def _medium(self, step: Step, found: Found) -> str:
        """Return what carries packets between members of a network."""
        assert step.unit is not None
        assert found.packet is not None
        client, server = found.packet.client, found.answer.server
        network = self.walk.sites[client.host].networks[step.unit.network]
        if network.wanted.traits.is_vxlan and server is not None and server.host != client.host:
            return f"VXLAN{self._vni(network, found.packet)} to host {server.host}"
        return medium(network)

    def _vni(self, network: DesiredNetwork, packet: Packet) -> str:
        """Return the number of a VXLAN, where it is declared or known."""
        is_declared = network.wanted.overlay is not None and network.wanted.overlay.vnis
        vnis = [subnet.vni for subnet in network.subnets if packet.address in subnet.subnet and subnet.vni is not None]
        return f" {vnis[0]}" if vnis and (is_declared or not self.is_foreseen) else ""

    def _gateway(self, step: Step, packet: Packet) -> str:
        """Return the gateway of the default route."""
        site = self.walk.sites[packet.client.host]
        if step.unit is None or not step.unit.attachment or packet.client.name != step.unit.attachment:
            return ""
        endpoint = way_out(site.members[step.unit.attachment], site.networks, packet.version)
        gateway = None if endpoint is None else gateway_of(endpoint, packet.version)
        return "" if gateway is None else f": its gateway is {gateway}"

    def _translation(self, step: Step, found: Found) -> str:
        if step.unit is None or found.answer.server is None or found.packet is None:
            return ""
        network = self.walk.sites[found.packet.client.host].networks.get(step.unit.network)
        options = None if network is None else network.wanted.bridge_options
        if options is None or not options.is_translated(found.packet.version) or "with an address" not in step.text:
            return ""
        source = options.source_address(found.packet.version)
        named_set = f"snat{found.packet.version}" if source else f"masquerade{found.packet.version}"
        return f" (set {named_set})"

    def _translated(self, found: Found, server: Party) -> Iterator[Sentence]:
        """Yield the firewall's part of a published port."""
        packet = found.packet
        assert packet is not None
        site = self.walk.sites[server.host]
        for endpoint in site.members[server.name].endpoints if server.kind is PartyKind.ATTACHMENT else ():
            for binding in endpoint.ports:
                interface = interface_of(endpoint, binding.host_ip.version)
                is_it = binding.target == found.target and binding.protocol == packet.protocol
                if is_it and interface is not None and binding.host_ip.version == packet.version:
                    text = f"the firewall leads it to {before_port(interface.ip)}:{binding.target} ({sets_of(binding)})"
                    yield Sentence(
                        about=About.FIREWALL, text=text, source=self.lines.of(endpoint.unit), unit=endpoint.unit
                    )
                    return

    def _let_pass(self, found: Found, unit: Unit) -> Iterator[Sentence]:
        """Yield the firewall's part between neighbours on a bridge of the host's."""
        assert found.packet is not None
        network = self.walk.sites[found.packet.client.host].networks[unit.network]
        if network.is_bridged and network.ns == HOST:
            is_open = network.wanted.bridge_options.is_icc_enabled
            by = "map icc" if is_open else f"set links{found.packet.version}"
            text = f"the firewall lets {'neighbours' if is_open else 'ports that are linked to'} on it pass ({by})"
            yield Sentence(about=About.FIREWALL, text=text, source=self.lines.of(unit), unit=unit)

    # --- who gets it

    def _taken(self, found: Found, server: Party) -> Iterator[Sentence]:
        packet = found.packet
        assert packet is not None
        seen = found.answer.seen_as
        is_of_hosts = self.is_foreseen and server.host != packet.client.host
        as_whom = f"; it sees {seen}" if seen is not None and server != packet.client and not is_of_hosts else ""
        if server.kind is not PartyKind.ATTACHMENT:
            who = "whoever is outside" if server.kind is PartyKind.OUTSIDE else "the host"
            yield Sentence(about=About.HOST, text=f"{who} gets it{as_whom}")
            return
        site = self.walk.sites[server.host]
        for endpoint in site.members[server.name].endpoints:
            interface = interface_of(endpoint, packet.version)
            if interface is not None and self._is_taken_by(found, endpoint, interface.ip, server):
                at = f"port {found.target or packet.port}/{packet.protocol} of " if packet.port else ""
                address = self._address(endpoint, packet.version)
                text = f"{server} gets it at {at}{address}, its interface {endpoint.ifname}{as_whom}"
                yield Sentence(
                    about=About.INTERFACE, text=text, source=self.lines.of(endpoint.unit), unit=endpoint.unit
                )
                return

    def _is_taken_by(self, found: Found, endpoint: DesiredEndpoint, address: IPAddress, server: Party) -> bool:
        packet = found.packet
        assert packet is not None
        if packet.address == address:
            return True
        is_own = packet.address in self.walk.sites[server.host].addresses_of(server.name)
        ports = {(binding.target, binding.protocol) for binding in endpoint.ports}
        return not is_own and (found.target, packet.protocol) in ports
