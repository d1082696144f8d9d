"""Whether packets of networks fit through the link of the default route, and those of overlay networks through the underlay."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.place import Place
from reconciler.ipam.networks import VXLAN_OVERHEAD

_SINGLE = 1280
"""The least that IPv6 takes (RFC 8200, section 5)."""


class Mtus(Struct, frozen=True, kw_only=True):
    """bridged, overlays: name and MTU of networks that lead outside, and of overlay networks. uplink, underlay: the same of
    links. version: of IP between hosts.
    """

    bridged: tuple[tuple[str, int], ...] = ()
    overlays: tuple[tuple[str, int], ...] = ()
    uplink: tuple[str, int] | None = None
    underlay: tuple[str, int] | None = None
    version: int = 4


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Mtus) -> Iterator[Finding]:
    for name, mtu in found.overlays if found.underlay else ():
        assert found.underlay is not None
        ifname, has = found.underlay
        needs = mtu + VXLAN_OVERHEAD[found.version]
        if needs > has:
            yield error(
                f"packets of network {name} may have {mtu} bytes, {needs} between hosts, and {ifname} takes {has}",
                "larger packets to other hosts are lost while small ones arrive: connections open and then hang. Where the "
                f"network between the hosts does not carry {needs}, set `com.docker.network.driver.mtu: {has}` instead",
                command("ip", "link", "set", "dev", ifname, "mtu", str(needs)),
            )
    for name, mtu in found.bridged if found.uplink else ():
        assert found.uplink is not None
        ifname, has = found.uplink
        if mtu > has:
            yield warning(
                f"packets of network {name} may have {mtu} bytes, and {ifname}, which leads outside, takes {has}",
                "larger ones are refused with a message that firewalls on the way often drop: connections open and then hang. "
                f"Set `com.docker.network.driver.mtu: {has}`, unless the way outside carries more",
                command("ip", "link", "set", "dev", ifname, "mtu", str(mtu)),
            )
    for ifname, has in dict.fromkeys(link for link in (found.uplink, found.underlay) if link is not None):
        if has < _SINGLE:
            yield warning(
                f"{ifname} takes packets of {has} bytes",
                f"IPv6 needs {_SINGLE}",
                command("ip", "link", "set", "dev", ifname, "mtu", str(_SINGLE)),
            )


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
