"""The records that a host writes into the cluster's store, and the keys that are claimed along with them.

Paths are those below the store's prefix. Values are JSON with sorted keys, so that equal records are equal texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from typing import Final

from msgspec.structs import replace

from reconciler.cluster.aliveness import is_reaper
from reconciler.cluster.declaration import declared_fields
from reconciler.incremental import indexed
from reconciler.model.cluster import ClusterNode, ClusterState
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet
from reconciler.model.objects import CLUSTER_UNIT, ClusterRecord, Key, Seen, Unit

NODES_FOLDER: Final = "nodes/"
"""Where hosts are unless `kv.path` says otherwise."""

NETWORKS_FOLDER: Final = "networks/"
REVISIONS_FOLDER: Final = "revisions/"

OWN_FOLDERS: Final = ("addresses", "leaving", "network", "networks", "pools", "revisions", "vnis")
"""First segments of paths that are not those of nodes."""

FORMAT: Final = 1
"""Of all records; 0.1.0 says none, which is 1. There is a later one only for what readers would misread, not for new members."""

_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def network_folder(network: str) -> str:
    """Return the folder of what hosts have to do with a network; its own record is `networks/<name>`."""
    return f"network/{network}/"


def network_path(network: str) -> str:
    return f"{NETWORKS_FOLDER}{network}"


def turn_path(network: str) -> str:
    """Return the key that everybody writes who joins or leaves a network; called after the latter, as 0.2.0 wrote it then alone."""
    return f"leaving/{network}"


def members_folder(network: str) -> str:
    return f"{network_folder(network)}members/"


def info_path(nodes_folder: str, host: str) -> str:
    return f"{nodes_folder}{host}/info"


def life_path(nodes_folder: str, host: str) -> str:
    return f"{nodes_folder}{host}/life"


def left_path(nodes_folder: str, host: str) -> str:
    return f"{nodes_folder}{host}/left"


def network_record(network: DesiredNetwork) -> ClusterRecord:
    """Return the record of a global network."""
    value = {
        "created": network.created,
        "declaration": declared_fields(network.wanted),
        "id": network.id,
        "subnets": [_subnet_fields(subnet) for subnet in network.subnets],
    }
    return _record(network.unit, network_path(network.name), value)


def member_record(network: str, host: str, declaration: str) -> ClusterRecord:
    """Return the record that a host has to do with a network. declaration: digest of what it declares, "" if it only joins."""
    path = f"{members_folder(network)}{host}"
    return _record(Unit(network=network), path, {"declaration": declaration})


def standpoint_record(network: str, host: str, declaration: str) -> ClusterRecord:
    """Return the same for a host that stays out, as others declare it differently still: by it they know when they agree.

    It is not the network's, nothing of which is touched.
    """
    return replace(member_record(network, host, declaration), unit=CLUSTER_UNIT)


def endpoint_record(endpoint: DesiredEndpoint, host: str, names: Sequence[str]) -> ClusterRecord:
    """Return the record of an endpoint on a global network. names: all that it answers to there, its own first."""
    value = {
        "host": host,
        "id": endpoint.id,
        "ipv4": None if endpoint.ipv4 is None else str(endpoint.ipv4),
        "ipv6": None if endpoint.ipv6 is None else str(endpoint.ipv6),
        "mac": endpoint.mac,
        "names": list(names),
    }
    return _record(endpoint.unit, f"{network_folder(endpoint.network)}endpoints/{endpoint.attachment}", value)


def node_records(
    state: ClusterState, me: ClusterNode, now: str, nodes_folder: str = NODES_FOLDER
) -> Iterator[ClusterRecord]:
    """Yield this host's own record and, where it is the reaper, since when others are dead.

    That stays until nothing of the dead host is left, so that whoever tidies up after it can be stopped at any time.
    """
    yield info_record(me, nodes_folder)
    if not is_reaper(state.nodes, state.host):
        return
    dead = {node.name: node.left or now for node in state.nodes.values() if not node.is_alive and node.name != me.name}
    missed = indexed(state.seen, _missed).keys() - state.nodes.keys()
    for host in sorted(missed & _hosts_with_records(state)) if missed else ():
        found = state.seen.get((ClusterRecord.kind, left_path(nodes_folder, host)))
        if found is not None and isinstance(found.object, ClusterRecord):
            yield replace(found.object, unit=CLUSTER_UNIT)
    for host, at in dead.items():
        yield _record(CLUSTER_UNIT, left_path(nodes_folder, host), {"at": at})


def info_record(node: ClusterNode, nodes_folder: str = NODES_FOLDER) -> ClusterRecord:
    value = {"address": str(node.address), "format": FORMAT, "instance": node.instance, "watched": node.is_watched}
    return _record(CLUSTER_UNIT, info_path(nodes_folder, node.name), value)


def life_value(instance: str) -> str:
    """Return what a host's sign of life says."""
    return _ENCODER.encode({"instance": instance})


def revision_record(host: str, commit: str, is_dirty: bool) -> ClusterRecord:
    """Return which revision of its specs a host has in force."""
    return _record(CLUSTER_UNIT, f"{REVISIONS_FOLDER}{host}", {"commit": commit, "dirty": is_dirty})


def _missed(key: Key, _seen: Seen) -> Iterator[str]:
    """Yield the host that a record says is missed."""
    *_, host, kind = ("", *key[-1].split("/"))
    if kind == "left":
        yield host


def _hosts_with_records(state: ClusterState) -> frozenset[str]:
    members = {member.host for network in state.networks.values() for member in network.members}
    return frozenset(members | {one.host for network in state.networks.values() for one in network.endpoints})


def _record(unit: Unit, path: str, value: Mapping[str, object]) -> ClusterRecord:
    return ClusterRecord(unit=unit, path=path, value=_ENCODER.encode(value))


def _subnet_fields(subnet: DesiredSubnet) -> dict[str, object]:
    return {
        "aux": {name: str(address) for name, address in subnet.aux_addresses},
        "declared": subnet.is_declared,
        "default_gateway": None if subnet.default_gateway is None else str(subnet.default_gateway),
        "gateway": None if subnet.gateway is None else str(subnet.gateway),
        "gateway_declared": subnet.is_gateway_declared,
        "ip_range": None if subnet.ip_range is None else str(subnet.ip_range),
        "subnet": str(subnet.subnet),
        "vni": subnet.vni,
    }


def claims(record: ClusterRecord) -> tuple[str, ...]:
    """Return the keys that are claimed together with a record, sorted: none for one that cannot be read.

    A network claims its VNIs, and those pools that were chosen for it; an endpoint its addresses.
    """
    try:
        fields = json.loads(record.value)
        match record.path.split("/"):
            case ["networks", _]:
                return tuple(sorted({key for subnet in fields["subnets"] for key in _subnet_claims(subnet)}))
            case ["network", network, "endpoints", _]:
                found = [str(fields[family]) for family in ("ipv4", "ipv6") if fields[family] is not None]
                return tuple(sorted({f"addresses/{network}/{ip_interface(text).ip}" for text in found}))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return ()


def _subnet_claims(fields: Mapping[str, object]) -> Iterator[str]:
    if fields["vni"] is not None:
        yield f"vnis/{int(str(fields['vni'])):08}"
    if fields["declared"] is False:
        pool = ip_network(str(fields["subnet"]))
        yield f"pools/{pool.network_address}-{pool.prefixlen}"


def claimed(claim: str) -> str:
    """Return in words what a claim is for."""
    match claim.split("/"):
        case ["vnis", digits]:
            return f"VNI {int(digits)}"
        case ["pools", pool]:
            return f"pool {pool.replace('-', '/')}"
        case ["addresses", network, address]:
            return f"address {address} on network {network}"
    return claim
