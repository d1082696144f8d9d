"""What of VXLAN comes in and goes out: between the cluster's hosts only, on the link that leads to the other one.

Whoever may send to the UDP port of a VXLAN device sends frames into the networks behind it, whose VNIs are their only secret. So a
host takes them from addresses of the cluster's hosts alone, to its own address there, by the link that leads back to the sender
and from no bridge; and it lets no sandbox send to those ports of the other hosts: masquerading would make it the host's own packet.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.firewall.ruleset import TABLE
from reconciler.model.desired import Tunnels
from reconciler.model.objects import CLUSTER_UNIT, FirewallElement


def tunnel_elements(tunnels: Tunnels | None) -> Iterator[FirewallElement]:
    """Yield the addresses and ports of the cluster's VXLAN; nothing where no network of it is known."""
    if tunnels is None or not tunnels.ports:
        return
    for port in tunnels.own_ports:
        yield _element("tunnel_ports", str(port))
    yield _element(f"vtep{tunnels.local.version}", str(tunnels.local))
    for peer in tunnels.peers:
        for port in tunnels.ports:
            yield _element(f"peers{peer.version}", str(peer), str(port))


def _element(set_name: str, *element: str) -> FirewallElement:
    return FirewallElement(unit=CLUSTER_UNIT, family="inet", table=TABLE, set_name=set_name, element=element)
