"""Wanted values and passes for tests of IPAM, with defaults for all that a test does not speak of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network

from msgspec.structs import replace

from reconciler.ipam.assign import assign
from reconciler.ipam.promises import Promises, decode_promises, endpoint_record, network_record
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredState, DesiredSubnet, HostFacts
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    NetworkMode,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    SubnetWanted,
    WantedState,
)
from tests.fakes.desired import host_facts

HOST_FACTS = host_facts()


def subnet(
    text: str, *, ip_range: str | None = None, gateway: str | None = None, aux: Mapping[str, str] | None = None
) -> SubnetWanted:
    return SubnetWanted(
        subnet=ip_network(text),
        ip_range=ip_network(ip_range) if ip_range else None,
        gateway=ip_address(gateway) if gateway else None,
        aux_addresses=tuple(sorted((name, ip_address(address)) for name, address in (aux or {}).items())),
    )


def network(
    name: str, *subnets: SubnetWanted | str, options: BridgeOptions | None = None, **more: object
) -> NetworkWanted:
    entries = tuple(subnet(entry) if isinstance(entry, str) else entry for entry in subnets)
    wanted = NetworkWanted(
        name=name,
        bridge=options or BridgeOptions(),
        subnets=entries,
        is_ipv6_enabled=any(entry.subnet.version == 6 for entry in entries),
    )
    return replace(wanted, **more)  # type: ignore[arg-type]


def on(name: str, *addresses: str, **more: object) -> EndpointWanted:
    """An endpoint on the named network with static addresses."""
    by_version = {ip_address(address).version: ip_address(address) for address in addresses}
    wanted = EndpointWanted(
        network=name,
    )
    return replace(wanted, ipv4_address=by_version.get(4), ipv6_address=by_version.get(6), **more)  # type: ignore[arg-type]


def attachment(
    name: str, *endpoints: EndpointWanted | str, mode: NetworkMode = NetworkMode.NETWORKS
) -> AttachmentWanted:
    return AttachmentWanted(
        name=name,
        sandbox=SandboxRef(SandboxKind.NETNS, name),
        mode=mode,
        endpoints=tuple(on(endpoint) if isinstance(endpoint, str) else endpoint for endpoint in endpoints),
    )


def wanted_state(
    networks: Iterable[NetworkWanted], attachments: Iterable[AttachmentWanted] = (), *, has_faults: bool = False
) -> WantedState:
    return WantedState(networks=tuple(networks), attachments=tuple(attachments), has_faults=has_faults)


def first_pass(
    networks: Iterable[NetworkWanted], attachments: Iterable[AttachmentWanted] = (), *, host: HostFacts = HOST_FACTS
) -> DesiredState:
    return assign(wanted_state(networks, attachments), host, Promises())


def next_pass(
    before: DesiredState,
    networks: Iterable[NetworkWanted],
    attachments: Iterable[AttachmentWanted] = (),
    *,
    host: HostFacts = HOST_FACTS,
    has_faults: bool = False,
) -> DesiredState:
    return assign(wanted_state(networks, attachments, has_faults=has_faults), host, promised(before))


def records(state: DesiredState) -> dict[str, str]:
    made = [network_record(found) for found in state.networks]
    made += [endpoint_record(endpoint) for found in state.attachments for endpoint in found.endpoints]
    return {record.path: record.value for record in made}


def promised(state: DesiredState) -> Promises:
    """What the store holds after `state` was applied, through the records' text."""
    promises, faults = decode_promises(records(state))
    assert faults == ()
    return promises


def network_of(state: DesiredState, name: str) -> DesiredNetwork:
    return next(found for found in state.networks if found.name == name)


def subnet_of(state: DesiredState, name: str) -> DesiredSubnet:
    return network_of(state, name).subnets[0]


def pools(state: DesiredState) -> dict[str, str]:
    return {found.name: " ".join(str(s.subnet) for s in found.subnets) for found in state.networks}


def endpoint_of(state: DesiredState, attachment_name: str, network_name: str = "net") -> DesiredEndpoint:
    return next(
        e for a in state.attachments if a.name == attachment_name for e in a.endpoints if e.network == network_name
    )


def addresses(state: DesiredState, network_name: str = "net") -> dict[str, str]:
    """IPv4 addresses by attachment."""
    endpoints: Sequence[DesiredEndpoint] = [
        e for a in state.attachments for e in a.endpoints if e.network == network_name
    ]
    return {e.attachment: str(e.ipv4.ip) for e in endpoints if e.ipv4}


def failures(state: DesiredState) -> dict[str, str]:
    return {str(unit): str(error) for unit, error in state.failures}
