"""What a person should know of networks that are as declared and still may not carry what they should."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from reconciler.model.desired import DesiredState, HostFacts, PortBinding
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.wanted import WantedState
from reconciler.model.words import before_port


def forwarding_remarks(desired: DesiredState, foreign_drops: Sequence[str]) -> Iterator[tuple[Unit, str]]:
    """Yield a remark for every network that leads outside: other rules of the host must agree. foreign_drops: their chains."""
    chains = ", ".join(foreign_drops)
    for network in desired.networks if foreign_drops else ():
        if network.is_bridged and not network.wanted.is_internal:
            text = (
                f"the firewall of somebody else drops forwarded packets unless its own rules accept them ({chains}): "
                f"accept those from and to {network.link_name} there"
            )
            yield network.unit, text


def ipv6_remarks(desired: DesiredState) -> Iterator[tuple[Unit, str]]:
    """Yield a remark for the IPv6 networks of a host that has none, or has it switched off: IPv4 is built all the same."""
    text = _of_ipv6(desired.host)
    for network in desired.networks if text else ():
        if network.wanted.is_ipv6_enabled and network.link_name:
            yield network.unit, text


def _of_ipv6(host: HostFacts) -> str:
    if not host.has_ipv6:
        return "this kernel has no IPv6 (boot parameter ipv6.disable): members have IPv4 only, whatever addresses are listed"
    match host.ipv6_off:
        case "all":
            reach = "members reach each other and the gateway by it, but nobody outside"
        case "lo":
            reach = "members have it, but the host does not reach its own IPv6 addresses, nor ports published there"
        case _:
            return ""
    return f"IPv6 is switched off on this host: {reach}; set net.ipv6.conf.{host.ipv6_off}.disable_ipv6 to 0"


def bindable_addresses(wanted: WantedState) -> frozenset[IPAddress]:
    """Return the addresses of the host, of all that it has one each, that ports may be published on."""
    ports = [port for attachment in wanted.attachments for port in attachment.ports]
    named = {port.host_ip for port in ports}
    named |= {network.bridge_options.host_binding for network in wanted.networks if ports}
    return frozenset(each for each in named if each is not None and _is_bindable(each))


def _is_bindable(host_ip: IPAddress) -> bool:
    return not host_ip.is_unspecified and not host_ip.is_loopback


def address_remarks(desired: DesiredState, absent: Collection[IPAddress]) -> Iterator[tuple[Unit, str]]:
    """Yield a remark for who publishes on an address that the host lacks; once it comes, packets are led on without a pass."""
    for attachment, port in _bound(desired) if absent else ():
        if port.host_ip in absent:
            where = before_port(port.host_ip)
            text = f"{where}:{port.host_port}/{port.protocol} leads nowhere as long as the host has no address {port.host_ip}"
            yield Unit(attachment=attachment), text


def _bound(desired: DesiredState) -> Iterator[tuple[str, PortBinding]]:
    for attachment in desired.attachments:
        for endpoint in attachment.endpoints:
            for port in endpoint.ports:
                if port.host_port and _is_bindable(port.host_ip):
                    yield attachment.name, port
