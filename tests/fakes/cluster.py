"""Global networks, endpoints and records for tests, with defaults for all that a test does not speak of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network

from reconciler.cluster.records import endpoint_record, info_record, member_record, network_record
from reconciler.cluster.state import decode_state
from reconciler.model.cluster import ClusterNode, ClusterState
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import ClusterRecord
from reconciler.model.wanted import EndpointWanted, NetworkWanted, OverlayOptions, SubnetWanted

CREATED = "2026-11-24T00:15:43.919084008Z"
NOW = "2026-11-25T12:00:00.000000000Z"


def hex_id(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def node(name: str, address: str = "192.0.2.1", instance: str = "", *, is_watched: bool = False) -> ClusterNode:
    return ClusterNode(name=name, address=ip_address(address), instance=instance or f"i-{name}", is_watched=is_watched)


def overlay(name: str = "over", *subnets: str, vni: int = 4097, is_declared: bool = False) -> DesiredNetwork:
    """An overlay network; each subnet's gateway is its first address."""
    pools = [ip_network(subnet) for subnet in subnets or ("10.0.9.0/24",)]
    return DesiredNetwork(
        wanted=NetworkWanted(
            name=name,
            driver="overlay",
            overlay=OverlayOptions(),
            ipam_options=(),
            subnets=tuple(SubnetWanted(subnet=pool) for pool in pools) if is_declared else (),
            is_ipv6_enabled=any(pool.version == 6 for pool in pools),
        ),
        id=hex_id(name),
        created=CREATED,
        subnets=tuple(
            DesiredSubnet(
                subnet=pool, gateway=pool[1], default_gateway=pool[1], is_declared=is_declared, vni=vni + number
            )
            for number, pool in enumerate(pools)
        ),
        scope="global",
    )


def endpoint(attachment: str, *interfaces: str, network: str = "over", mac: str = "") -> DesiredEndpoint:
    parsed = [ip_interface(text) for text in interfaces or ("10.0.9.2/24",)]
    id_ = hex_id(network, attachment)
    return DesiredEndpoint(
        wanted=EndpointWanted(
            network=network,
        ),
        attachment=attachment,
        id=id_,
        ns=NsRef(f"netns:{attachment}"),
        ipv4=next((one for one in parsed if one.version == 4), None),
        ipv6=next((one for one in parsed if one.version == 6), None),
        mac=mac or "02:42:" + ":".join(id_[i : i + 2] for i in range(0, 8, 2)),
    )


def placed(
    attachment: str, *interfaces: str, host: str = "alpha", network: str = "over", mac: str = ""
) -> ClusterRecord:
    """Give the record of an endpoint that answers to its attachment's name."""
    return endpoint_record(endpoint(attachment, *interfaces, network=network, mac=mac), host, [attachment])


def texts(*records: ClusterRecord) -> dict[str, str]:
    return {record.path: record.value for record in records}


def stored(*hosts: str) -> dict[str, str]:
    """Give what the store holds of the network `over` that these hosts are members of, none of them watched."""
    infos = [info_record(node(host, f"192.0.2.{number}")) for number, host in enumerate(hosts, 1)]
    return texts(network_record(overlay()), *infos, *(member_record("over", host, "") for host in hosts))


def decoded(
    records: Mapping[str, str],
    host: str = "alpha",
    followed: tuple[str, ...] = ("over",),
    instance: str = "",
    now: str = NOW,
    grace_s: float = 86_400,
) -> ClusterState:
    return decode_state(
        records,
        host=host,
        instance=instance or f"i-{host}",
        followed=followed,
        now=now,
        grace_s=grace_s,
        nodes_folder="nodes/",
    )


def ours(state: ClusterState) -> set[str]:
    """Give the paths that the host may change."""
    return {key[1] for key, seen in state.seen.items() if seen.is_ours}
