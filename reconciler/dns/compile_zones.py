"""What the embedded server shall serve, from what this host shall have. Pure; the engine's side, which the server does without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reconciler.dns.zones import LISTEN_ADDRESS, NetworkZone, Ports, SandboxZone, ServedEndpoint, Zones
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    RemoteEndpoint,
)
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.sandbox.names import endpoint_names
from reconciler.sandbox.resolv_conf import ndots, uses_embedded_server


def compile_zones(
    desired: DesiredState, host_servers: Sequence[IPAddress] = (), host_options: Sequence[str] = ()
) -> Zones:
    """Return what shall be served, sorted by name. The built-in networks have no names, a sandbox on those alone no server.

    host_servers, host_options: of the host's own resolv.conf.
    """
    networks = {network.name: network for network in desired.networks}
    served: defaultdict[str, list[ServedEndpoint]] = defaultdict(list)
    for attachment in desired.attachments:
        for endpoint in attachment.endpoints:
            if endpoint.network not in BUILTIN_NETWORKS and not endpoint.wanted.is_gateway:
                served[endpoint.network].append(_served(attachment, endpoint))
    for name in served:
        served[name] += map(_served_elsewhere, networks[name].remote_endpoints)
    return Zones(
        networks=tuple(NetworkZone(name=name, endpoints=tuple(served[name])) for name in sorted(served)),
        sandboxes=tuple(
            _sandbox(attachment, networks, host_options)
            for attachment in desired.attachments
            if uses_embedded_server(attachment)
        ),
        host_servers=tuple(host_servers),
    )


def _served(attachment: DesiredAttachment, endpoint: DesiredEndpoint) -> ServedEndpoint:
    return ServedEndpoint(
        name=attachment.name,
        names=endpoint_names(attachment, endpoint),
        addresses=_addresses_of(endpoint),
        ports=_ports(attachment),
    )


def _served_elsewhere(endpoint: RemoteEndpoint) -> ServedEndpoint:
    return ServedEndpoint(name=endpoint.name, names=endpoint.names, addresses=_addresses_of(endpoint))


def _addresses_of(endpoint: DesiredEndpoint | RemoteEndpoint) -> tuple[IPAddress, ...]:
    return tuple(interface.ip for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None)


def _ports(attachment: DesiredAttachment) -> tuple[Ports, ...]:
    published = ((*port.target, port.protocol) for port in attachment.wanted.ports)
    return tuple(sorted({*published, *attachment.wanted.expose}))


def _sandbox(
    attachment: DesiredAttachment, networks: dict[str, DesiredNetwork], host_options: Sequence[str]
) -> SandboxZone:
    wanted = attachment.wanted
    named = tuple(
        endpoint.network
        for endpoint in attachment.endpoints
        if endpoint.network not in BUILTIN_NETWORKS and not endpoint.wanted.is_gateway
    )
    links = tuple(sorted((alias.lower(), target.lower()) for target, alias in wanted.links))
    return SandboxZone(
        name=attachment.name,
        ns=attachment.ns,
        networks=named,
        links=tuple((network, links) for network in named if links),
        servers=tuple(server for server in wanted.dns if server != LISTEN_ADDRESS),
        is_external=any(not networks[endpoint.network].wanted.is_internal for endpoint in attachment.endpoints),
        is_ndots_set=(ndots(wanted.dns_options or host_options) or 0) > 0,
        subnets=tuple(
            subnet for endpoint in attachment.endpoints for subnet in _private_subnets(networks[endpoint.network])
        ),
    )


def _private_subnets(network: DesiredNetwork) -> Iterator[IPNetwork]:
    return (entry.subnet for entry in network.subnets if _is_private(network, entry.subnet.version))


def _is_private(network: DesiredNetwork, version: int) -> bool:
    """Return whether addresses of this family mean nothing outside the network, so that no other server can name them.

    What is part of the physical network, is routed as it is, or is a plugin's may well have names elsewhere.
    """
    wanted = network.wanted
    if wanted.sublink is not None:
        return wanted.sublink.parent == ""
    if wanted.traits.is_plugin:
        return False
    return wanted.traits.is_vxlan or wanted.is_internal or (wanted.bridge is not None and wanted.bridge.hides(version))
