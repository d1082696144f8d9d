"""Whether packets of networks fit through the link of the default route, and those of overlay networks through the underlay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.place import Place
from reconciler.ipam.networks import VXLAN_OVERHEAD
from reconciler.model.words import some

_NAMES_MAX = 5
_SINGLE = 1280
"""The least that IPv6 takes (RFC 8200, section 5)."""


Size = tuple[str, int]
"""Of a network or link: name and MTU."""


class Mtus(Struct, frozen=True, kw_only=True):
    """bridged, overlays: name and MTU of networks that lead outside, and of overlay networks. uplink, underlay: the same of
    links. version: of IP between hosts.
    """

    bridged: tuple[Size, ...] = ()
    overlays: tuple[Size, ...] = ()
    uplink: Size | None = None
    underlay: Size | None = None
    version: int = 4


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Mtus) -> Iterator[Finding]:
    if found.underlay is not None:
        yield from _between_hosts(found.overlays, *found.underlay, VXLAN_OVERHEAD[found.version])
    if found.uplink is not None:
        yield from _outside(found.bridged, *found.uplink)
    for ifname, has in dict.fromkeys(link for link in (found.uplink, found.underlay) if link is not None):
        if has < _SINGLE:
            yield warning(f"{ifname} takes packets of {has} bytes", f"IPv6 needs {_SINGLE}", _sized(ifname, _SINGLE))


def _between_hosts(overlays: Sequence[Size], ifname: str, has: int, overhead: int) -> Iterator[Finding]:
    larger = [(name, mtu + overhead) for name, mtu in overlays if mtu + overhead > has]
    if larger:
        needs = max(mtu for _, mtu in larger)
        yield error(
            f"packets of {_networks(larger)} may have {needs} bytes between hosts, and {ifname} takes {has}",
            "larger packets to other hosts are lost while small ones arrive: connections open and then hang. Where the "
            f"network between the hosts does not carry {needs}, set `com.docker.network.driver.mtu: {has}` instead",
            _sized(ifname, needs),
        )


def _outside(bridged: Sequence[Size], ifname: str, has: int) -> Iterator[Finding]:
    larger = [(name, mtu) for name, mtu in bridged if mtu > has]
    if larger:
        needs = max(mtu for _, mtu in larger)
        yield warning(
            f"packets of {_networks(larger)} may have {needs} bytes, and {ifname}, which leads outside, takes {has}",
            "larger ones are refused with a message that firewalls on the way often drop: connections open and then hang. "
            f"Set `com.docker.network.driver.mtu: {has}`, unless the way outside carries more",
            _sized(ifname, needs),
        )


def _networks(larger: Sequence[Size]) -> str:
    return f"network{'s' * (len(larger) > 1)} {some([name for name, _ in larger], _NAMES_MAX)}"


def _sized(ifname: str, mtu: int) -> str:
    return command("ip", "link", "set", "dev", ifname, "mtu", str(mtu))


def read(place: Place) -> Mtus:
    """Networks that stay as they are have no packet size here: it is that of their links."""
    facts, decision = place.facts, place.decision
    decided = () if decision is None else decision.desired.networks
    sizes = {link.ifname: link.mtu for link in place.view.links}
    vtep = None if facts is None else facts.host.vtep
    return Mtus(
        bridged=tuple((network.name, network.mtu) for network in place.bridges if network in decided),
        overlays=tuple((network.name, network.mtu) for network in decided if network.wanted.traits.is_vxlan),
        uplink=(place.uplink, sizes[place.uplink]) if place.uplink else None,
        underlay=(place.underlay, sizes[place.underlay]) if place.underlay else None,
        version=vtep.version if vtep else 4,
    )
