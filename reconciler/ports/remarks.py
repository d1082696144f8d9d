"""What a person should know of networks that are as declared and still may not carry what they should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Address
from typing import Final

from reconciler.model.desired import DesiredState, HostFacts
from reconciler.model.objects import Unit
from reconciler.model.plugins import is_plugin
from reconciler.model.wanted import AttachmentWanted, NetworkMode, NetworkWanted, SpecWarning, WantedState

UNREACHABLE: Final = IPv6Address(1)
NOTHING_ON_LOOPBACK6: Final = (
    "nothing is published on ::1: the kernel lets nothing from there out of the loopback link; use 127.0.0.1"
)


def unpublished_ports(wanted: WantedState) -> Iterator[SpecWarning]:
    """Tell of `ports` that surely come to nothing, by the specs alone; what the cluster and plugins know is not known here."""
    networks = {network.name: network for network in wanted.networks}
    for attachment in wanted.attachments:
        if attachment.ports:
            for text in _unpublished(attachment, [networks.get(one.network) for one in attachment.endpoints]):
                yield SpecWarning(attachment.source, f"attachment {attachment.name}: {text}")


def _unpublished(attachment: AttachmentWanted, joined: Sequence[NetworkWanted | None]) -> Iterator[str]:
    known = [network for network in joined if network is not None]
    if len(known) == len(joined) and not any(map(_may_publish, known)):
        yield why_nothing_is_published(attachment.mode, known)
    elif any(port.host_ip == UNREACHABLE for port in attachment.ports):
        yield NOTHING_ON_LOOPBACK6


def _may_publish(network: NetworkWanted) -> bool:
    if network.is_internal:
        return False
    return network.driver in ("bridge", "overlay") or network.is_external or is_plugin(network.driver)


def why_nothing_is_published(mode: NetworkMode, networks: Iterable[NetworkWanted]) -> str:
    """Say why an attachment's ports come to nothing. networks: those it is on, that of its default route first."""
    if mode is NetworkMode.HOST:
        return "published ports are discarded when using host network mode: what listens there listens on the host"
    for network in networks:
        if network.sublink is not None and not network.is_internal:
            return f"no port is published: on {network.driver} network {network.name} it is reached at its own address"
    return "no port is published: none of its networks is a bridge that leads outside"


def forwarding_remarks(desired: DesiredState, foreign_drops: Sequence[str]) -> Iterator[tuple[Unit, str]]:
    """Tell every network that leads outside by the host whose rules beside ours must agree. foreign_drops: their chains."""
    chains = ", ".join(foreign_drops)
    for network in desired.networks if foreign_drops else ():
        if network.is_bridged and not network.wanted.is_internal:
            text = (
                f"the firewall of somebody else drops forwarded packets unless its own rules accept them ({chains}): "
                f"accept those from and to {network.link_name} there"
            )
            yield network.unit, text


def ipv6_remarks(desired: DesiredState) -> Iterator[tuple[Unit, str]]:
    """Tell the IPv6 networks of a host that has none, or has it switched off: IPv4 is built all the same."""
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
