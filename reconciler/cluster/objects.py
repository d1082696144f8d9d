"""What this host has in the cluster's store: itself, the networks that it declares or joins, and its endpoints there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.cluster.declaration import declaration_digest
from reconciler.cluster.records import (
    endpoint_record,
    member_record,
    network_path,
    network_record,
    node_records,
    revision_record,
    standpoint_record,
)
from reconciler.errors import NetworkDiffers
from reconciler.model.cluster import ClusterNode, ClusterPlace, ClusterState
from reconciler.model.desired import DesiredAttachment, DesiredNetwork, DesiredState
from reconciler.model.objects import ClusterRecord, Key, Seen
from reconciler.model.wanted import WantedState
from reconciler.sandbox.names import endpoint_names


def cluster_objects(desired: DesiredState, cluster: ClusterState, place: ClusterPlace) -> dict[Key, ClusterRecord]:
    """Return all records that this host wants to be there, by key; nothing for a host without an address for the others."""
    host = desired.host
    if host.vtep is None:
        return {}
    me = ClusterNode(name=host.name, address=host.vtep, instance=place.instance, is_watched=place.is_watched)
    found = (
        *node_records(cluster, me, host.now, place.nodes_folder),
        revision_record(host.name, *place.revision),
        *_network_records(desired, cluster),
        *_endpoint_records(desired, desired.attachments),
        # What stays as it runs has its records as they stand, or anew where the store has lost them.
        *(_as_seen(record, cluster.seen) for record in _endpoint_records(desired, desired.held)),
    )
    return {record.key: record for record in found}


def standpoints(wanted: WantedState, cluster: ClusterState) -> Iterator[ClusterRecord]:
    """Yield what this host has to say of networks that others declare differently."""
    for network in wanted.networks:
        if isinstance(cluster.refused.get(network.name), NetworkDiffers):
            yield standpoint_record(network.name, cluster.host, declaration_digest(network.declaration))


def _network_records(desired: DesiredState, cluster: ClusterState) -> Iterator[ClusterRecord]:
    there = cluster.seen
    members = (*desired.attachments, *desired.held)
    joined = {endpoint.network for attachment in members for endpoint in attachment.endpoints}
    for network in desired.networks:
        if not network.wanted.is_shared or network.wanted.is_listed:
            continue
        wanted = network.wanted
        if not wanted.is_external:
            yield _network_record(network, cluster, there)
            yield member_record(network.name, desired.host.name, declaration_digest(wanted.declaration))
        elif network.name in joined:
            yield from _as_it_stands(network, there)
            yield member_record(network.name, desired.host.name, "")


def _as_it_stands(network: DesiredNetwork, there: Mapping[Key, Seen]) -> Iterator[ClusterRecord]:
    """Yield the record of a network that this host is on and does not declare: it stays, also once no other host is on it."""
    found = _seen_under((ClusterRecord.kind, network_path(network.name)), there)
    if found is not None:
        yield found


def _network_record(network: DesiredNetwork, cluster: ClusterState, there: Mapping[Key, Seen]) -> ClusterRecord:
    """Leave a record that says the same as it stands: another version of us may have written it in other words."""
    mine = network_record(network)
    known = cluster.networks.get(network.name)
    if known is None or known.declaration != network.wanted.declaration:
        return mine
    return _as_seen(mine, there)


def _as_seen(mine: ClusterRecord, there: Mapping[Key, Seen]) -> ClusterRecord:
    found = _seen_under(mine.key, there)
    return mine if found is None else found


def _seen_under(key: Key, there: Mapping[Key, Seen]) -> ClusterRecord | None:
    found = there.get(key)
    return found.object if found is not None and isinstance(found.object, ClusterRecord) else None


def _endpoint_records(desired: DesiredState, attachments: Iterable[DesiredAttachment]) -> Iterator[ClusterRecord]:
    shared = {network.name for network in desired.networks if network.wanted.is_shared}
    for attachment in attachments:
        for endpoint in attachment.endpoints:
            if endpoint.network in shared:
                yield endpoint_record(endpoint, desired.host.name, endpoint_names(attachment, endpoint))
