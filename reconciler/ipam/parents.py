"""What the host's link below a macvlan or ipvlan network must be, and who may share it (docs/design/docker.md#macvlan)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

from reconciler.errors import ParentMissing, PlanError
from reconciler.ipam.promises import EndpointKey, Promises
from reconciler.model.desired import HostFacts, ParentFact
from reconciler.model.identifiers import vlan_of
from reconciler.model.wanted import AttachmentWanted, MacvlanMode, NetworkMode, NetworkWanted, WantedState

_ETHERNET_MTU: Final = 1500


def parent_failures(
    networks: Iterable[NetworkWanted], joined: Container[str], host: HostFacts, promised: Iterable[str]
) -> Mapping[str, PlanError]:
    """Return the networks whose parent cannot carry them, and why. joined: names of those that somebody is on.

    promised: names of those that were there before.

    Of several that exclude each other one that was there before stays, else the first by name.
    """
    known = frozenset(promised)
    failures: dict[str, PlanError] = {}
    holders: defaultdict[str, list[NetworkWanted]] = defaultdict(list)
    for network in sorted(networks, key=lambda n: (n.name not in known, n.name.encode())):
        if network.sublink is None or not network.sublink.parent:
            continue
        error = _unusable(network, network.sublink.parent, host)
        if error is None and network.name in joined:
            rivals = holders[network.sublink.parent]
            error = next((_excluded(network, rival) for rival in rivals if _exclude_each_other(network, rival)), None)
            rivals += [network] if error is None else []
        if error is not None:
            failures[network.name] = error
    return failures


def _unusable(network: NetworkWanted, parent: str, host: HostFacts) -> PlanError | None:
    """Return what is wrong with the link itself; nothing as long as nobody looked."""
    if host.parents is None:
        return None
    found = _base(parent, host.parents)
    if found is None:
        missing = " or ".join((parent, *(vlan_of(parent) or ())[:1]))
        return ParentMissing(f"network {network.name}: there is no link {missing} on this host: its parent must exist")
    if found.is_ours:
        return PlanError(f"network {network.name}: parent {found.ifname} is a link of ours; name one of the host's own")
    mtu = network.sublink.mtu if network.sublink else None
    if mtu is not None and mtu > found.mtu:
        return PlanError(
            f"network {network.name}: MTU {mtu} is more than that of its parent {found.ifname}, {found.mtu}"
        )
    return None


def _base(parent: str, facts: Sequence[ParentFact]) -> ParentFact | None:
    """Return the link of the host that is there already: the parent, or what a VLAN link of ours is or will be on."""
    known = {fact.ifname: fact for fact in facts}
    vlan = vlan_of(parent)
    found = known.get(parent)
    return known.get(vlan[0]) if vlan is not None and (found is None or found.is_ours) else found


def _exclude_each_other(one: NetworkWanted, other: NetworkWanted) -> bool:
    """A link bears a single macvlan in mode passthru and nothing beside it; on an ipvlan's all share one mode."""
    return _is_exclusive(one) or _is_exclusive(other)


def _is_exclusive(network: NetworkWanted) -> bool:
    return network.ipvlan is not None or is_passthru(network)


def is_passthru(network: NetworkWanted) -> bool:
    return network.macvlan is not None and network.macvlan.mode is MacvlanMode.PASSTHRU


def _excluded(network: NetworkWanted, holder: NetworkWanted) -> PlanError:
    parent = network.sublink.parent if network.sublink else ""
    exclusive = network if _is_exclusive(network) else holder
    kind = "macvlan in mode passthru" if is_passthru(exclusive) else "ipvlan"
    return PlanError(
        f"network {network.name}: network {holder.name} is already using parent interface {parent}, and {kind} does not share it"
    )


def passthru_failures(wanted: WantedState, promises: Promises) -> Mapping[EndpointKey, PlanError]:
    """Return the endpoints beyond the first on networks in mode passthru; who was there before comes first."""
    alone = {network.name for network in wanted.networks if is_passthru(network)}
    if not alone:
        return {}
    holders: dict[str, str] = {}
    failures: dict[EndpointKey, PlanError] = {}
    for key in sorted(_endpoints(wanted.attachments), key=lambda key: (key not in promises.endpoints, key)):
        network, attachment = key
        if network in alone and (holder := holders.setdefault(network, attachment)) != attachment:
            failures[key] = PlanError(
                f"attachment {attachment}: network {network} is in mode passthru, which attachment {holder} has to itself"
            )
    return failures


def _endpoints(attachments: Iterable[AttachmentWanted]) -> Iterator[EndpointKey]:
    for attachment in attachments:
        if attachment.mode is NetworkMode.NETWORKS:
            yield from ((endpoint.network, attachment.name) for endpoint in attachment.endpoints)


def parent_mtu(network: NetworkWanted, host: HostFacts) -> int:
    """Return the declared MTU, else the parent's, else Ethernet's."""
    sublink = network.sublink
    assert sublink is not None, "only macvlan and ipvlan networks have a parent"
    found = _base(sublink.parent, host.parents or ())
    return sublink.mtu or (found.mtu if found is not None else _ETHERNET_MTU)
