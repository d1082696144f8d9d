"""The packets that have to get through a host's firewall."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.doctor.chains import ON_BRIDGE
from reconciler.doctor.place import Place
from reconciler.doctor.rules import HookPacket
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.desired import DesiredNetwork, DesiredState, PortBinding
from reconciler.model.identifiers import HOST

_BRIDGED: Final = {4: "net/bridge/bridge-nf-call-iptables", 6: "net/bridge/bridge-nf-call-ip6tables"}
_NETWORKS_MAX: Final = 500
PORTS: Final = "rcv*"
PORT: Final = "rcv0"
"""Names of the ports of our bridges, all of them and one."""


class NeededPacket(Struct, frozen=True, kw_only=True):
    """A packet that has to get through. link: what a rule for it would name. means: what is lost, in words."""

    hook: str
    link: str
    means: str
    packet: HookPacket


def packets(place: Place) -> Iterator[NeededPacket]:
    """Yield the packets that must get through: out of each network, back, to its published ports, between hosts."""
    if place.decision is None:
        return
    desired = place.decision.desired
    ports = _ports(desired)
    shown = {version for version, name in _BRIDGED.items() if read_sysctl(name) == "1"}
    for network in place.bridges[:_NETWORKS_MAX]:
        yield from _of_network(network, place.uplink, ports.get(network.name))
    on_host = [each for each in place.networks if each.is_bridged and each.ns == HOST]
    for network in on_host[:_NETWORKS_MAX]:
        if network.wanted.bridge_options.is_icc_enabled:
            yield from _within(network, shown)
    tunnels = desired.tunnels
    for peer in tunnels.peers[:1] if tunnels else ():
        for port in tunnels.own_ports if tunnels else ():
            yield NeededPacket(
                hook="input",
                link="VXLAN",
                means="nothing comes in from other hosts of overlay networks",
                packet=HookPacket(
                    version=peer.version,
                    iifname=place.underlay,
                    oifname="",
                    source=peer,
                    protocol="udp",
                    dport=port,
                    state="new",
                ),
            )


def _ports(desired: DesiredState) -> dict[str, PortBinding]:
    """Return a published port of each network that has one."""
    endpoints = [endpoint for attachment in desired.members for endpoint in attachment.endpoints]
    return {endpoint.network: endpoint.ports[0] for endpoint in endpoints if endpoint.ports}


def _of_network(network: DesiredNetwork, uplink: str, port: PortBinding | None) -> Iterator[NeededPacket]:
    link = network.link_name
    for subnet in network.subnets:
        pool = subnet.subnet
        member, far = pool[min(2, pool.num_addresses - 1)], ip_address(_FAR[pool.version])
        out = HookPacket(version=pool.version, iifname=link, oifname=uplink, source=member, destination=far, dport=443)
        back = HookPacket(
            version=pool.version, iifname=uplink, oifname=link, source=far, destination=member, state="established"
        )
        yield NeededPacket(hook="forward", link=link, means="members reach nobody outside", packet=out)
        yield NeededPacket(hook="forward", link=link, means="what is answered does not come back", packet=back)
        if port is not None:
            come = HookPacket(
                version=pool.version,
                iifname=uplink,
                oifname=link,
                source=far,
                destination=member,
                protocol=port.protocol,
                dport=port.target,
            )
            yield NeededPacket(hook="forward", link=link, means="published ports are not reached", packet=come)


def _within(network: DesiredNetwork, shown: Collection[int]) -> Iterator[NeededPacket]:
    """Yield what goes from member to member: on the bridge, and where br_netfilter shows it, at the host's hook too.

    shown: which versions of IP it does so for.
    """
    link, means = network.link_name, "members do not reach each other"
    for pool in (subnet.subnet for subnet in network.subnets):
        member, other = (pool[min(number, pool.num_addresses - 1)] for number in (2, 3))
        packet = HookPacket(
            version=pool.version, iifname=link, oifname=link, source=member, destination=other, dport=443
        )
        frame = replace(packet, iifname=PORT, oifname=PORT, bridge=link)
        yield NeededPacket(hook=ON_BRIDGE, link=link, means=means, packet=frame)
        if pool.version in shown:
            yield NeededPacket(hook="forward", link=link, means=f"{means} (br_netfilter)", packet=packet)


_FAR: Final = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
"""Addresses of nobody (RFC 5737, 3849)."""
