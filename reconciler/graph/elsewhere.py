"""Hosts that a cluster's store tells of: as much of them as is known, to be asked who reaches whom on shared networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredState, RemoteEndpoint
from reconciler.model.wanted import AttachmentWanted, EndpointWanted, SandboxKind, SandboxRef


def with_hosts_elsewhere(desired: DesiredState) -> Sequence[DesiredState]:
    """Return a host, and those whose endpoints it knows: of these only their places on the networks that all of them share."""
    shared = tuple(replace(network, remote_endpoints=()) for network in desired.networks if network.scope == "global")
    found: defaultdict[str, defaultdict[str, list[RemoteEndpoint]]] = defaultdict(lambda: defaultdict(list))
    for network in desired.networks:
        for one in network.remote_endpoints:
            found[one.host][one.name].append(one)
    found.pop(desired.host.name, None)
    return [desired, *(_host(desired, name, shared, found[name]) for name in sorted(found))]


def _host(
    asker: DesiredState, name: str, networks: tuple[DesiredNetwork, ...], members: dict[str, list[RemoteEndpoint]]
) -> DesiredState:
    return DesiredState(
        host=replace(asker.host, name=name),
        networks=networks,
        attachments=tuple(_attachment(member, members[member]) for member in sorted(members)),
    )


def _attachment(name: str, places: Sequence[RemoteEndpoint]) -> DesiredAttachment:
    sandbox = SandboxRef(SandboxKind.NETNS, name)
    return DesiredAttachment(
        wanted=AttachmentWanted(name=name, sandbox=sandbox),
        id=name,
        ns=sandbox.ns,
        endpoints=tuple(
            DesiredEndpoint(
                wanted=EndpointWanted(network=one.network),
                attachment=name,
                id=one.id,
                ns=sandbox.ns,
                mac=one.mac,
                ipv4=one.ipv4,
                ipv6=one.ipv6,
            )
            for one in places
        ),
    )
