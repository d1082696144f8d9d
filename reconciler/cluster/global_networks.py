"""Networks that the hosts of a cluster share: what this host's specs say of them, held against what the cluster has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from reconciler.cluster.declaration import declaration, declaration_digest, differences
from reconciler.errors import NetworkDiffers, NetworkUndeclared, PlanError, ReconcilerError
from reconciler.ipam.networks import GLOBAL_DRIVERS
from reconciler.model.cluster import ALONE, ClusterState, GlobalNetwork
from reconciler.model.objects import CLUSTER_UNIT
from reconciler.model.wanted import NetworkWanted, WantedState

_DECLARERS_MAX: Final = 5


def with_global_networks(
    wanted: WantedState, cluster: ClusterState, *, instance: str, is_advertised: bool
) -> tuple[WantedState, ClusterState]:
    """Give the specs with external networks as the cluster has them and the cluster's other networks listed, and the cluster's
    state with what this host cannot have of it.

    instance: of this reconciler. is_advertised: this host has an address where the others reach it.
    """
    refused: dict[str, ReconcilerError] = {}
    obstacle = _obstacle(cluster, instance, is_advertised=is_advertised)
    if obstacle is not None and cluster is not ALONE:
        refused[CLUSTER_UNIT.network] = obstacle
    networks = [_resolved(network, cluster, refused, obstacle) for network in wanted.networks]
    if networks and not wanted.has_faults:  # what could not be read may well declare one of them
        networks += _listed(cluster, {network.name for network in networks})
    joined = replace(wanted, networks=tuple(sorted(networks, key=lambda network: network.name)))
    return joined, replace(cluster, refused=refused) if refused else cluster


def followed_networks(wanted: WantedState, promised: Iterable[str]) -> frozenset[str]:
    """Give the names of the global networks that this host has to do with. promised: those that it had by its own records."""
    declared = (n.name for n in wanted.networks if n.driver in GLOBAL_DRIVERS or n.is_external)
    return frozenset((*declared, *promised))


def is_global(network: NetworkWanted) -> bool:
    """Say whether the cluster has a part in it: it is shared, or said to be declared elsewhere."""
    return network.driver in GLOBAL_DRIVERS or network.is_external


def _resolved(
    network: NetworkWanted,
    cluster: ClusterState,
    refused: dict[str, ReconcilerError],
    obstacle: ReconcilerError | None,
) -> NetworkWanted:
    """Give a network as it shall be here; where it cannot be, `refused` says why."""
    if not is_global(network):
        return network
    if obstacle is not None:
        refused[network.name] = obstacle
        return network
    known = cluster.networks.get(network.name)
    if network.is_external:
        return _joined(network, known, refused)
    mine = replace(network, declaration=declaration(network))
    if known is not None and known.declaration != mine.declaration and not _may_change(known, mine, cluster.host):
        refused[network.name] = _differs(mine, known, cluster.host)
    return mine


def _obstacle(cluster: ClusterState, instance: str, *, is_advertised: bool) -> ReconcilerError | None:
    """Say what keeps this host from having any such network."""
    if cluster is ALONE:
        return PlanError(
            "overlay and external networks are shared by the hosts of a cluster: give --cluster-store and --cluster-advertise"
        )
    if not cluster.is_known:
        return cluster.outage
    if not is_advertised:
        return PlanError(
            "the other hosts must know where to reach this one: give --cluster-advertise, an address or interface that is here"
        )
    if is_name_taken(cluster, instance):
        return PlanError(
            f"another host of the cluster, at {cluster.nodes[cluster.host].address}, is called {cluster.host} too: give this one "
            f"another name with --host, or run `reconcile node rm --force {cluster.host}` if that one is gone"
        )
    return None


def is_name_taken(cluster: ClusterState, instance: str) -> bool:
    """Say whether somebody else, alive, is in the cluster under this host's name."""
    me = cluster.nodes.get(cluster.host)
    return me is not None and me.is_alive and me.instance != instance


def _joined(network: NetworkWanted, known: GlobalNetwork | None, refused: dict[str, ReconcilerError]) -> NetworkWanted:
    if known is None:
        refused[network.name] = NetworkUndeclared(
            f"network {network.name} is external, and no host of the cluster declares it (yet)"
        )
        return network
    return replace(
        known.wanted,
        source=network.source,
        is_external=True,
        is_protected=network.is_protected,
        on_drift=network.on_drift,
        declaration=known.declaration,
    )


def _listed(cluster: ClusterState, names: Iterable[str]) -> Iterator[NetworkWanted]:
    """Give what the cluster has beside; a network of this host's own hides one of the same name."""
    for name in sorted(cluster.networks.keys() - frozenset(names)):
        known = cluster.networks[name]
        yield replace(known.wanted, is_external=True, is_listed=True, declaration=known.declaration)


def _may_change(known: GlobalNetwork, mine: NetworkWanted, host: str) -> bool:
    """The first declaration stands, until all who declare the network say the same new thing."""
    digest = declaration_digest(mine.declaration)
    return all(member.declaration in ("", digest) for member in known.members if member.host != host)


def _differs(mine: NetworkWanted, known: GlobalNetwork, host: str) -> NetworkDiffers:
    digest = declaration_digest(mine.declaration)
    others = [m.host for m in known.members if m.host != host and m.declaration not in ("", digest)]
    named = ", ".join(others[:_DECLARERS_MAX]) + (" and others" if len(others) > _DECLARERS_MAX else "")
    return NetworkDiffers(
        f"network {mine.name} is declared differently by {named}: {differences(mine.declaration, known.declaration)}; "
        "declare it alike on all hosts, or under another name"
    )
