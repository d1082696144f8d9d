"""Desired values for tests, with defaults for all that a test does not speak of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_interface, ip_network

from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredSubnet,
    HostFacts,
)
from reconciler.model.identifiers import attachment_id, bridge_link_name, endpoint_id, network_id, veth_link_name
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    NetworkMode,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
)
from reconciler.status.json_text import Json
from reconciler.status.members import Members
from reconciler.status.network_document import listed_elsewhere, listed_here, network_file


def host_facts(
    *, resolv_conf: str = "nameserver 10.255.255.53\n", resolved_conf: str = "", has_ipv6: bool = True
) -> HostFacts:
    return HostFacts(
        name="alpha",
        instance="0123456789abcdef",
        hostname="alpha",
        uplink_mtu=1500,
        routes=(),
        resolv_conf=resolv_conf,
        resolved_conf=resolved_conf,
        hosts="127.0.0.1 localhost alpha",
        has_ipv6=has_ipv6,
        now="2026-11-24T00:15:43.919084008Z",
    )


def network(
    name: str, *subnets: str, is_internal: bool = False, options: BridgeOptions | None = None, mtu: int = 1500
) -> DesiredNetwork:
    """A bridge network whose gateways are the first addresses of its subnets."""
    id_ = network_id("alpha", name)
    pools = [ip_network(subnet) for subnet in subnets]
    return DesiredNetwork(
        wanted=NetworkWanted(
            name=name,
            bridge=options or BridgeOptions(),
            is_internal=is_internal,
            is_ipv6_enabled=any(pool.version == 6 for pool in pools),
        ),
        id=id_,
        created="2026-11-24T00:15:43.919084008Z",
        subnets=tuple(DesiredSubnet(subnet=p, gateway=p[1], default_gateway=p[1], is_declared=True) for p in pools),
        link_name="docker0" if name == "bridge" else bridge_link_name(id_),
        mtu=mtu,
    )


def endpoint(
    attachment: str,
    network_name: str,
    *interfaces: str,
    ifname: str = "eth0",
    gateway: str | None = None,
    is_default: bool = True,
    aliases: tuple[str, ...] = (),
    options: tuple[tuple[str, str], ...] = (),
) -> DesiredEndpoint:
    """An endpoint on a bridge network; `gateway` is that of IPv4."""
    parsed = [ip_interface(interface) for interface in interfaces]
    id_ = endpoint_id("alpha", network_name, attachment)
    return DesiredEndpoint(
        wanted=EndpointWanted(network=network_name, aliases=aliases, options=options),
        attachment=attachment,
        id=id_,
        ns=SandboxRef(SandboxKind.NETNS, attachment).ns,
        ifname=ifname,
        link_name=veth_link_name(id_),
        ipv4=next((i for i in parsed if isinstance(i, IPv4Interface)), None),
        ipv6=next((i for i in parsed if isinstance(i, IPv6Interface)), None),
        mac="02:42:ac:11:00:02",
        gateway_ipv4=IPv4Address(gateway) if gateway else None,
        is_default_ipv4=bool(gateway) and is_default,
    )


def attachment(
    name: str,
    endpoints: Sequence[DesiredEndpoint] = (),
    *,
    wanted: AttachmentWanted | None = None,
    mode: NetworkMode = NetworkMode.NETWORKS,
) -> DesiredAttachment:
    sandbox = SandboxRef(SandboxKind.NETNS, name)
    return DesiredAttachment(
        wanted=wanted or AttachmentWanted(name=name, sandbox=sandbox, mode=mode),
        id=attachment_id("alpha", name),
        ns=sandbox.ns,
        endpoints=tuple(endpoints),
    )


def inspected(network: DesiredNetwork, attachments: Sequence[DesiredAttachment] = ()) -> dict[str, Json]:
    """Return what `network inspect` prints of a network with these attachments, on it or not."""
    members = Members()
    for one in attachments:
        for endpoint in one.endpoints:
            if endpoint.network == network.name:
                members.put((False, one.id), listed_here(one, endpoint))
    for remote in network.remote_endpoints:
        members.put((True, remote.id), listed_elsewhere(remote))
    shown: list[dict[str, Json]] = json.loads(b"".join(network_file(network, members)))
    return shown[0]
