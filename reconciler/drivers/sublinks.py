"""The macvlan and ipvlan drivers: each endpoint is a link of its own on a link of the host, the parent.

Nothing passes the host's bridges or its firewall. A network without a parent has one of ours that leads nowhere: its endpoints
reach each other, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.drivers.sandbox_side import sandbox_side
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.identifiers import HOST, vlan_of
from reconciler.model.objects import DeadEnd, Ipvlan, Macvlan, Object, Vlan
from reconciler.model.wanted import IpvlanOptions, MacvlanOptions


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Return the parent where it is ours."""
    options = network.wanted.sublink
    assert options is not None, "a macvlan or ipvlan network has options"
    if network.link_name:
        yield DeadEnd(unit=network.unit, ns=HOST, ifname=network.link_name, mtu=network.mtu)
    vlan = own_vlan(options.parent, host)
    if vlan is not None:
        parent, vlan_id = vlan
        yield Vlan(unit=network.unit, ns=HOST, ifname=options.parent, parent=parent, vlan_id=vlan_id)


def compile_endpoint(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterable[Object]:
    """Return its link, addresses and default routes."""
    options = network.wanted.sublink
    assert options is not None, "a macvlan or ipvlan network has options"
    yield _link(endpoint, options, network.link_name or options.parent, network.mtu)
    yield from sandbox_side(endpoint, host, network.mtu)


def own_vlan(parent: str, host: HostFacts) -> tuple[str, int] | None:
    """Return parent and number of the VLAN link that is ours to make; None where somebody else has made it, or nobody looked."""
    vlan = None if host.parents is None else vlan_of(parent)
    is_made = any(fact.ifname == parent and not fact.is_ours for fact in host.parents or ())
    return None if is_made else vlan


def _link(
    endpoint: DesiredEndpoint, options: MacvlanOptions | IpvlanOptions, parent: str, mtu: int
) -> Macvlan | Ipvlan:
    match options:
        case MacvlanOptions():
            return Macvlan(
                unit=endpoint.unit,
                ns=endpoint.ns,
                ifname=endpoint.ifname,
                parent=parent,
                mode=str(options.mode),
                mac=endpoint.mac,
                mtu=mtu,
            )
        case IpvlanOptions():
            return Ipvlan(
                unit=endpoint.unit,
                ns=endpoint.ns,
                ifname=endpoint.ifname,
                parent=parent,
                mode=str(options.mode),
                flag=str(options.flag),
                mtu=mtu,
            )
