"""Networks that the hosts of a cluster share: what this host's specs say of them, held against what the cluster has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.cluster.declaration import declaration, declaration_digest, differences
from reconciler.cluster.records import FORMAT
from reconciler.errors import AddressesAwaited, NetworkDiffers, NetworkUndeclared, PlanError, ReconcilerError
from reconciler.model.cluster import ALONE, ClusterState, GlobalNetwork
from reconciler.model.objects import CLUSTER_UNIT, Unit
from reconciler.model.plugins import Scope
from reconciler.model.wanted import NetworkWanted, WantedState

_NAMED_MAX: Final = 5

Scopes = Mapping[tuple[str, str], Scope]
"""What plugins said of their scope, by network and driver."""


def with_global_networks(
    wanted: WantedState, cluster: ClusterState, scopes: Scopes, *, instance: str, is_advertised: bool
) -> tuple[WantedState, ClusterState]:
    """Return the specs with those networks marked that hosts share, external ones as the cluster has them and the cluster's other
    networks listed, and the cluster's state with what this host cannot have of it.

    Overlay networks are shared, and those of a plugin of global scope: each is told by every host that declares or joins it, as in
    a swarm, with the same id and pools. Plugins run per host and have nowhere else to learn these from. In no cluster there is
    nobody to share with: a plugin's networks are the host's own.

    instance: of this reconciler. is_advertised: this host has an address where the others reach it.
    """
    refused: dict[str, ReconcilerError] = {}
    obstacle = _obstacle(cluster, instance, is_advertised=is_advertised)
    if obstacle is not None and cluster is not ALONE:
        refused[CLUSTER_UNIT.network] = obstacle
    resolution = _Resolution(cluster=cluster, scopes=scopes, obstacle=obstacle, refused=refused)
    networks = [resolution.network(network) for network in wanted.networks]
    if networks and not wanted.has_faults:  # what could not be read may well declare one of them
        networks += _listed(cluster, {network.name for network in networks})
    joined = replace(wanted, networks=tuple(sorted(networks, key=lambda network: network.name)))
    return joined, replace(cluster, refused=refused) if refused else cluster


def followed_networks(wanted: WantedState, scopes: Scopes, promised: Iterable[str]) -> frozenset[str]:
    """Return the names of the global networks that this host has to do with. promised: those that it had by its own records."""
    declared = (network.name for network in wanted.networks if is_global(network, scopes))
    return frozenset((*declared, *promised))


def ended_endpoints(wanted: WantedState, cluster: ClusterState, promised: Iterable[tuple[str, str]]) -> Iterator[Unit]:
    """Yield the endpoints that specs withdraw from networks that others declare differently: nothing is in the way of that.

    promised: networks and attachments of the endpoints that this host had.
    """
    differing = {network for network, error in cluster.refused.items() if isinstance(error, NetworkDiffers)}
    declared = {attachment.name: attachment for attachment in wanted.attachments} if differing else {}
    for network, name in promised if differing else ():
        if network not in differing:
            continue
        attachment = declared.get(name)
        is_read = attachment is not None or not wanted.has_faults
        if is_read and (attachment is None or all(one.network != network for one in attachment.endpoints)):
            yield Unit(network=network, attachment=name)


def is_global(network: NetworkWanted, scopes: Scopes) -> bool:
    """Return whether the cluster has a part in it: it is shared, or said to be declared elsewhere."""
    return network.traits.is_vxlan or network.is_external or _scope(network, scopes) == "global"


def _scope(network: NetworkWanted, scopes: Scopes) -> str:
    """Return what the network's plugin said, "" where it has none or was not asked yet."""
    said = scopes.get((network.name, network.driver)) if network.traits.is_plugin else None
    return said.data if said is not None else ""


class _Resolution(Struct, frozen=True, kw_only=True):
    """obstacle: what keeps this host from having any network of the cluster. refused: filled with why it cannot have some."""

    cluster: ClusterState
    scopes: Scopes
    obstacle: ReconcilerError | None
    refused: dict[str, ReconcilerError]

    def network(self, network: NetworkWanted) -> NetworkWanted:
        """Return a network as it shall be here; where it cannot be, `refused` says why."""
        if network.is_external:
            return self._external(network)
        if network.traits.is_plugin:
            return self._of_plugin(network)
        return self._shared(network) if network.traits.is_vxlan else network

    def _of_plugin(self, network: NetworkWanted) -> NetworkWanted:
        if self.cluster is ALONE:
            return network
        match _scope(network, self.scopes):
            case "":
                return self._awaiting(network)
            case "global":
                return self._shared(network)
        return network

    def _shared(self, network: NetworkWanted) -> NetworkWanted:
        mine = replace(network, is_shared=True, declaration=declaration(network))
        if self.obstacle is not None:
            return self._refuse(mine, self.obstacle)
        if network.ipam_driver != "default":
            return self._refuse(mine, _foreign_addresses(network))
        known = self.cluster.networks.get(network.name)
        if (
            known is not None
            and known.declaration != mine.declaration
            and not _may_change(known, mine, self.cluster.host)
        ):
            return self._refuse(mine, _differs(mine, known, self.cluster.host))
        return mine

    def _external(self, network: NetworkWanted) -> NetworkWanted:
        network = replace(network, is_shared=True)
        if self.obstacle is not None:
            return self._refuse(network, self.obstacle)
        known = self.cluster.networks.get(network.name)
        if known is None:
            text = f"network {network.name} is external, and no host of the cluster declares it (yet)"
            return self._refuse(network, NetworkUndeclared(text))
        joined = replace(_of_cluster(known), is_protected=network.is_protected, on_drift=network.on_drift)
        if not joined.traits.is_plugin or (scope := _scope(joined, self.scopes)) == "global":
            return joined
        return self._refuse(joined, _local_here(joined)) if scope else self._awaiting(joined)

    def _awaiting(self, network: NetworkWanted) -> NetworkWanted:
        text = f"network {network.name}: plugin {network.driver!r} has yet to say whether hosts share its networks"
        return self._refuse(network, AddressesAwaited(text))

    def _refuse(self, network: NetworkWanted, error: ReconcilerError) -> NetworkWanted:
        self.refused[network.name] = error
        return network


def _of_cluster(known: GlobalNetwork) -> NetworkWanted:
    return replace(known.wanted, is_external=True, is_shared=True, declaration=known.declaration)


def _foreign_addresses(network: NetworkWanted) -> PlanError:
    return PlanError(
        f"network {network.name}: plugin {network.driver!r} is of global scope, and addresses of networks that hosts share are the "
        f"cluster's: leave out ipam driver {network.ipam_driver!r}"
    )


def _local_here(network: NetworkWanted) -> PlanError:
    return PlanError(
        f"network {network.name} is shared by the hosts of the cluster, but here plugin {network.driver!r} says that its scope is "
        "local: run the same plugin on all hosts"
    )


def _obstacle(cluster: ClusterState, instance: str, *, is_advertised: bool) -> ReconcilerError | None:
    """Return what keeps this host from having any such network."""
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
    later = [node for node in cluster.nodes.values() if node.is_alive and node.format > FORMAT]
    if later:
        return PlanError(
            f"{_named([node.name for node in later])} of the cluster run a later version, whose records this one does not read "
            f"(format {max(node.format for node in later)}, this one knows {FORMAT}): upgrade this host; what runs here stays"
        )
    return None


def is_name_taken(cluster: ClusterState, instance: str) -> bool:
    """Return whether somebody else, alive, is in the cluster under this host's name."""
    me = cluster.nodes.get(cluster.host)
    return me is not None and me.is_alive and me.instance != instance


def _listed(cluster: ClusterState, names: Iterable[str]) -> Iterator[NetworkWanted]:
    """Yield what the cluster has beside; a network of this host's own hides one of the same name."""
    for name in sorted(cluster.networks.keys() - frozenset(names)):
        yield replace(_of_cluster(cluster.networks[name]), is_listed=True)


def _may_change(known: GlobalNetwork, mine: NetworkWanted, host: str) -> bool:
    """The first declaration stands, until all who declare the network say the same new thing."""
    digest = declaration_digest(mine.declaration)
    return all(member.declaration in ("", digest) for member in known.members if member.host != host)


def _differs(mine: NetworkWanted, known: GlobalNetwork, host: str) -> NetworkDiffers:
    digest = declaration_digest(mine.declaration)
    others = [m.host for m in known.members if m.host != host and m.declaration not in ("", digest)]
    return NetworkDiffers(
        f"network {mine.name} is declared differently by {_named(others)}: {differences(mine.declaration, known.declaration)}; "
        "declare it alike on all hosts, or under another name"
    )


def _named(hosts: Sequence[str]) -> str:
    return ", ".join(hosts[:_NAMED_MAX]) + (" and others" if len(hosts) > _NAMED_MAX else "")
