"""Through which of its networks a sandbox reaches everything else (docs/design/docker.md#default-route)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct

from reconciler.ipam.addresses import Chosen
from reconciler.model.desired import DesiredNetwork
from reconciler.model.objects import IPAddress, IPInterface
from reconciler.model.plugins import JoinAnswer
from reconciler.model.wanted import EndpointWanted, IpvlanMode

_NO_ANSWERS: Final[Mapping[str, JoinAnswer]] = {}


class WayOut(Struct, frozen=True, kw_only=True):
    """What a network offers one of its endpoints as default routes: the gateways, None where it offers none.

    on_link: the address families whose default route needs no gateway.
    """

    wanted: EndpointWanted
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    on_link: tuple[int, ...] = ()
    is_internal: bool = False

    def leads(self, version: int) -> bool:
        """Return whether it offers a default route for this address family."""
        return (self.ipv4 if version == 4 else self.ipv6) is not None or version in self.on_link


def ways_out(
    endpoints: Iterable[tuple[EndpointWanted, Chosen]],
    networks: Mapping[str, DesiredNetwork],
    answers: Mapping[str, JoinAnswer] = _NO_ANSWERS,
) -> tuple[WayOut, ...]:
    """Return what each network of one sandbox offers, most preferred first: per family the first offer is the one to take.

    answers: of plugins, by network; it is they who say which way out their networks offer, and before they do there is none.
    """
    offers = (_offer(e, chosen, networks[e.network], answers.get(e.network)) for e, chosen in endpoints)
    return tuple(sorted(offers, key=_preference))


def _preference(way: WayOut) -> tuple[int, bool, bool, int, int, bytes]:
    """The engine's order (moby:daemon/libnetwork/sandbox.go, Less). It knows no `priority`, which here comes before the name."""
    families = way.leads(4) + way.leads(6)
    wanted = way.wanted
    return (
        -wanted.gw_priority,
        wanted.is_gateway,
        way.is_internal,
        -families,
        -wanted.priority,
        wanted.network.encode(),
    )


def _offer(endpoint: EndpointWanted, chosen: Chosen, network: DesiredNetwork, answer: JoinAnswer | None) -> WayOut:
    """An internal network offers no way out, whatever gateway it has; an overlay's is by the gateway network.

    In the modes l3 and l3s of ipvlan the parent's namespace routes, so that there is no gateway to name.
    """
    if not network.wanted.leads_outside or network.wanted.traits.is_vxlan:
        return WayOut(wanted=endpoint, is_internal=network.wanted.is_internal)
    if network.wanted.ipvlan is not None and network.wanted.ipvlan.mode is not IpvlanMode.L2:
        on_link = tuple(each.version for each in (chosen.ipv4, chosen.ipv6) if each is not None)
        return WayOut(wanted=endpoint, on_link=on_link)
    if network.wanted.traits.is_plugin:
        answer = answer or JoinAnswer()
        return WayOut(
            wanted=endpoint,
            ipv4=answer.gateway_ipv4 if chosen.ipv4 or answer.ipv4 else None,
            ipv6=answer.gateway_ipv6 if chosen.ipv6 or answer.ipv6 else None,
        )
    ipv4, ipv6 = _gateway(network, chosen.ipv4), _gateway(network, chosen.ipv6)
    assert not isinstance(ipv4, IPv6Address)
    assert not isinstance(ipv6, IPv4Address)
    return WayOut(wanted=endpoint, ipv4=ipv4, ipv6=ipv6)


def _gateway(network: DesiredNetwork, interface: IPInterface | None) -> IPAddress | None:
    if interface is None:
        return None
    return next((subnet.default_gateway for subnet in network.subnets if subnet.subnet == interface.network), None)
