"""What an attachment's `ports` come to, given the networks that it is on (docs/design/docker.md#published-ports)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct, field

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, PortBinding
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import GatewayMode, NetworkMode, PortWanted

ANY: Final[Mapping[int, IPAddress]] = {4: IPv4Address(0), 6: IPv6Address(0)}
"""The unspecified address of each family."""


class PortDemand(Struct, frozen=True, kw_only=True):
    """One port that needs a host port, the same number on each of `host_ips`.

    choices: first and last that will do, equal where there is no choice; None: any of the host's ephemeral ones.
    """

    protocol: str
    target: int
    host_ips: tuple[IPAddress, ...]
    choices: tuple[int, int] | None

    @property
    def is_fixed(self) -> bool:
        return self.choices is not None and self.choices[0] == self.choices[1]


class Demands(Struct, kw_only=True):
    """What one attachment publishes. routed: needs no host port, the network is reached as it is. remarks: what cannot be had."""

    attachment: str
    open: list[PortDemand] = field(default_factory=list)
    routed: list[PortBinding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)


def demands(attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork]) -> Demands:
    """Return what host ports an attachment needs: those of its `ports`, at the endpoints that provide its default routes.

    So it is in the engine too: nothing is published through internal networks, and IPv4 and IPv6 may lead through different ones.
    """
    found = Demands(attachment=attachment.name)
    ways = dict(_ways_in(attachment, networks))
    if attachment.wanted.ports and not ways:
        if not _is_left_to_a_plugin(attachment, networks):
            found.remark(_why_nothing(attachment, networks))
        return found
    for wanted in attachment.wanted.ports:
        _add(found, wanted, ways)
    return found


def ports_needed(wanted: PortWanted) -> int:
    """Return for how many ports of the sandbox this stands."""
    return wanted.target[1] - wanted.target[0] + 1


def _ways_in(
    attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork]
) -> Iterator[tuple[int, DesiredNetwork]]:
    """Yield by address family the network through which the attachment is reached."""
    for endpoint in attachment.endpoints:
        network = networks[endpoint.network]
        if network.is_bridged and network.ns == HOST and not network.wanted.is_internal:
            yield from ((version, network) for version in default_families(endpoint))


def _is_left_to_a_plugin(attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork]) -> bool:
    """Return whether the ports go to the plugin of a network, which publishes them or not."""
    found = (networks[endpoint.network].wanted for endpoint in attachment.endpoints)
    return any(network.traits.is_plugin and not network.is_internal for network in found)


def default_families(endpoint: DesiredEndpoint) -> Iterator[int]:
    """Yield the address families whose default route leads through here."""
    if endpoint.is_default_ipv4 and endpoint.ipv4 is not None:
        yield 4
    if endpoint.is_default_ipv6 and endpoint.ipv6 is not None:
        yield 6


def _why_nothing(attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork]) -> str:
    if attachment.wanted.mode is NetworkMode.HOST:
        return "published ports are discarded when using host network mode: what listens there listens on the host"
    for endpoint in attachment.endpoints:
        network = networks[endpoint.network].wanted
        if network.traits.has_parent and any(default_families(endpoint)):
            return (
                f"no port is published: on {network.driver} network {endpoint.network} it is reached at its own address"
            )
    return "no port is published: none of its networks is a bridge that leads outside"


def _add(found: Demands, wanted: PortWanted, ways: Mapping[int, DesiredNetwork]) -> None:
    host_ips = [ip for ip in _host_ips(found, wanted, ways) if _is_reachable(found, ip)]
    translated = tuple(ip for ip in host_ips if _mode(ways, ip) is not GatewayMode.ROUTED)
    for ip in host_ips:
        if ip not in translated:
            _add_routed(found, wanted, ip, ways[ip.version])
    if not translated:
        return
    for offset in range(ports_needed(wanted)):
        demand = PortDemand(
            protocol=wanted.protocol,
            target=wanted.target[0] + offset,
            host_ips=translated,
            choices=_choices(wanted, offset),
        )
        found.open.append(demand)


def _choices(wanted: PortWanted, offset: int) -> tuple[int, int] | None:
    first, last = wanted.published
    if not first:
        return None
    return (first + offset, first + offset) if ports_needed(wanted) > 1 else (first, last)


def _host_ips(found: Demands, wanted: PortWanted, ways: Mapping[int, DesiredNetwork]) -> Iterator[IPAddress]:
    """Yield the host addresses to publish on: as declared, else as the network binds that leads in by a family, else all of that.

    `0.0.0.0` of a network stands for both families, as in the engine; another address, `::` too, for its own alone.
    """
    if wanted.host_ip is not None:
        if wanted.host_ip.version in ways:
            yield wanted.host_ip
        else:
            family = f"IPv{wanted.host_ip.version}"
            found.remark(f"nothing is published on {wanted.host_ip}: no {family} default route leads into the sandbox")
        return
    for version, network in ways.items():
        binding = network.wanted.bridge_options.host_binding
        if binding is None or binding == ANY[4]:
            yield ANY[version]
        elif binding.version == version:
            yield binding


def _is_reachable(found: Demands, host_ip: IPAddress) -> bool:
    if host_ip != IPv6Address(1):
        return True
    found.remark(
        "nothing is published on ::1: the kernel lets nothing from there out of the loopback link; use 127.0.0.1"
    )
    return False


def _add_routed(found: Demands, wanted: PortWanted, host_ip: IPAddress, network: DesiredNetwork) -> None:
    if wanted.published[0]:
        found.remark(
            f"host port {wanted.published[0]} is ignored: network {network.name} is routed, "
            f"its ports are reached at the sandbox's own address"
        )
    for target in range(wanted.target[0], wanted.target[1] + 1):
        binding = PortBinding(protocol=wanted.protocol, host_ip=ANY[host_ip.version], host_port=0, target=target)
        found.routed.append(binding)


def _mode(ways: Mapping[int, DesiredNetwork], host_ip: IPAddress) -> GatewayMode:
    return ways[host_ip.version].wanted.bridge_options.gateway_mode(host_ip.version)
