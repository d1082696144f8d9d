"""Which hosts exchange VXLAN with this one, and on which UDP ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Set

from reconciler.model.cluster import ClusterState
from reconciler.model.desired import HostFacts, Tunnels
from reconciler.model.wanted import NetworkWanted


def tunnels(
    host: HostFacts, networks: Iterable[NetworkWanted], joined: Set[str], cluster: ClusterState
) -> Tunnels | None:
    """Return what the firewall lets through; None where nothing of the cluster's VXLAN is known, or this host leaves the cluster.

    networks: that are declared or listed. joined: names of those that have endpoints here, held or published ones too.
    Hosts count dead or alive: one that lost the store goes on sending. A network that this host cannot have as its specs declare it
    counts too where it still has a part here.
    """
    networks = tuple(networks)
    if not joined and all(network.is_listed for network in networks):
        return None
    wanted = {network.name: network for network in networks if network.traits.is_vxlan}
    wanted |= {name: known.wanted for name, known in cluster.networks.items() if known.wanted.traits.is_vxlan}
    if host.vtep is None or not wanted:
        return None
    peers = {node.address for node in cluster.nodes.values() if node.name != cluster.host} - {host.vtep}
    return Tunnels(
        local=host.vtep,
        peers=tuple(sorted(peers, key=lambda peer: (peer.version, int(peer)))),
        ports=_ports(wanted.values(), host),
        own_ports=_ports((each for name, each in wanted.items() if name in joined), host),
    )


def _ports(networks: Iterable[NetworkWanted], host: HostFacts) -> tuple[int, ...]:
    given = (each.overlay.port if each.overlay else None for each in networks)
    return tuple(sorted({port or host.vxlan_port for port in given}))
