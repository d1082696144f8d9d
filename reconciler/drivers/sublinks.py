"""The macvlan and ipvlan drivers: each endpoint is a link of its own on a link of the host, the parent.

Nothing passes the host's bridges or its firewall. A network without a parent has one of ours that leads nowhere: its endpoints
reach each other, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.drivers.sandbox_side import sandbox_side
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.identifiers import HOST
from reconciler.model.objects import DeadEnd, Ipvlan, Macvlan, Object
from reconciler.model.wanted import IpvlanOptions, MacvlanOptions


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Give the parent where it is ours, and for each endpoint its link, addresses and default routes."""
    options = network.wanted.sublink
    assert options is not None, "a macvlan or ipvlan network has options"
    if network.link_name:
        yield DeadEnd(unit=network.unit, ns=HOST, ifname=network.link_name, mtu=network.mtu)
    for endpoint in endpoints:
        yield _link(endpoint, options, network.link_name or options.parent, network.mtu)
        yield from sandbox_side(endpoint, host, network.mtu)


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
