"""What the plugins of remote networks are to be told, as objects, and what they answered put into the desired state. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredState, DesiredSubnet
from reconciler.model.identifiers import NsRef, derived_id, short_id
from reconciler.model.objects import (
    PluginCall,
    PluginEndpoint,
    PluginNetwork,
    PluginNode,
    PluginPorts,
    PluginScope,
    Unit,
    nodes_unit,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.plugins import JoinAnswer, Node, PluginFacts
from reconciler.model.wanted import AttachmentWanted, EndpointWanted, NetworkWanted, PortWanted, WantedState

_PREFIX: Final = "com.docker.network"
_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}
_NULL_SPACE: Final = "null"
"""The address space of networks without addresses of ours, and their pool (moby's libnetwork/ipams/null)."""
_NULL_POOL: Final = "0.0.0.0/0"
_NOTHING_LEASED: Final[Mapping[tuple[str, str], EndpointWanted]] = {}


def with_plugins(
    desired: DesiredState,
    facts: PluginFacts,
    sandboxes: Mapping[NsRef, SandboxFact],
    leased: Mapping[tuple[str, str], EndpointWanted] = _NOTHING_LEASED,
) -> DesiredState:
    """Complete endpoints on remote networks by what their plugin is to be told, and by what it answered to just that.

    sandboxes: those that exist have an inode. leased: endpoints of IPAM plugins, with the MAC that these were told. Returns
    `desired` itself where no network is remote.
    """
    networks = {network.name: network for network in desired.networks if network.wanted.traits.is_plugin}
    if not networks:
        return desired
    completion = _Completion(
        networks=networks, facts=facts, told=frozenset(facts.calls), sandboxes=sandboxes, leased=leased
    )
    return replace(
        desired,
        networks=tuple(map(completion.network, desired.networks)),
        attachments=tuple(map(completion.attachment, desired.attachments)),
    )


class _Completion(Struct, frozen=True, kw_only=True):
    """networks: the remote ones, by name. told: of the facts."""

    networks: Mapping[str, DesiredNetwork]
    facts: PluginFacts
    told: frozenset[PluginCall]
    sandboxes: Mapping[NsRef, SandboxFact]
    leased: Mapping[tuple[str, str], EndpointWanted]

    def network(self, network: DesiredNetwork) -> DesiredNetwork:
        scope = self.facts.scopes.get((network.name, network.wanted.driver))
        return replace(network, scope=scope.data) if scope is not None else network

    def attachment(self, attachment: DesiredAttachment) -> DesiredAttachment:
        if not any(endpoint.network in self.networks for endpoint in attachment.endpoints):
            return attachment
        endpoints = tuple(self._endpoint(endpoint, attachment.wanted) for endpoint in attachment.endpoints)
        return replace(attachment, endpoints=endpoints)

    def _endpoint(self, endpoint: DesiredEndpoint, attachment: AttachmentWanted) -> DesiredEndpoint:
        network = self.networks.get(endpoint.network)
        if network is None:
            return endpoint
        mac = self.leased.get((endpoint.network, attachment.name), endpoint.wanted).mac_address or ""
        sandbox = self.sandboxes.get(endpoint.ns)
        told = plugin_endpoint(network, endpoint, attachment, 0 if sandbox is None else sandbox.inode, mac)
        answer = self.facts.answers.get((told.network, told.attachment)) if told in self.told else None
        given = answer or JoinAnswer()
        return replace(
            endpoint,
            told=told,
            answer=answer,
            ipv4=endpoint.ipv4 or given.ipv4,
            ipv6=endpoint.ipv6 or given.ipv6,
            mac=mac or given.mac,
        )


def plugin_scopes(wanted: WantedState) -> Iterator[PluginScope]:
    """Yield whose plugin is to say what its scope is: the answer holds as long as the network has that driver."""
    for network in _of_plugins(wanted):
        yield PluginScope(unit=Unit(network=network.name), network=network.name, driver=network.driver)


def _of_plugins(wanted: WantedState) -> Iterator[NetworkWanted]:
    return (network for network in wanted.networks if network.traits.is_plugin and not network.is_listed)


def plugin_network(network: DesiredNetwork) -> PluginNetwork:
    """Return what CreateNetwork is told."""
    wanted = network.wanted
    options: dict[str, object] = {
        f"{_PREFIX}.enable_ipv6": wanted.is_ipv6_enabled,
        f"{_PREFIX}.generic": dict(wanted.options),
    }
    if not wanted.is_ipv4_enabled:
        options[f"{_PREFIX}.enable_ipv4"] = False
    if wanted.is_internal:
        options[f"{_PREFIX}.internal"] = True
    is_null = wanted.ipam_driver == "null"
    pools = [{"Pool": _NULL_POOL}] if is_null else [_pool(s) for s in network.subnets if s.subnet.version == 4]
    return PluginNetwork(
        unit=network.unit,
        network=network.name,
        driver=wanted.driver,
        id=network.id,
        options=_text(options),
        ipv4=_text(pools),
        ipv6=_text([_pool(subnet) for subnet in network.subnets if subnet.subnet.version == 6]),
        address_space=_NULL_SPACE if is_null else "",
    )


def _pool(subnet: DesiredSubnet) -> dict[str, object]:
    """Addresses are CIDR here, with the pool's prefix length."""
    length = subnet.subnet.prefixlen
    found: dict[str, object] = {}
    if subnet.aux_addresses:
        found["AuxAddresses"] = {name: f"{address}/{length}" for name, address in subnet.aux_addresses}
    if subnet.gateway is not None:
        found["Gateway"] = f"{subnet.gateway}/{length}"
    found["Pool"] = str(subnet.subnet)
    return found


def plugin_endpoint(
    network: DesiredNetwork, endpoint: DesiredEndpoint, attachment: AttachmentWanted, inode: int, mac: str
) -> PluginEndpoint:
    """Return what CreateEndpoint and Join are told. inode: of the sandbox, 0 while it does not exist. mac: "" for none."""
    options: dict[str, object] = dict(endpoint.wanted.options)
    if mac:
        # A []byte in the engine, which its JSON has in base64.
        options[f"{_PREFIX}.endpoint.macaddress"] = base64.b64encode(bytes.fromhex(mac.replace(":", ""))).decode()
    if attachment.dns:
        options[f"{_PREFIX}.endpoint.dnsservers"] = [str(server) for server in attachment.dns]
    ports = _port_options(attachment)
    return PluginEndpoint(
        unit=endpoint.unit,
        network=network.name,
        attachment=endpoint.attachment,
        driver=network.wanted.driver,
        network_id=network.id,
        network_told=short_id(derived_id(*map(str, plugin_network(network).attributes().values()))),
        id=endpoint.id,
        ns=endpoint.ns,
        inode=inode,
        interface=_text(
            {"Address": str(endpoint.ipv4 or ""), "AddressIPv6": str(endpoint.ipv6 or ""), "MacAddress": mac}
        ),
        options=_text(options if network.wanted.is_internal else {**options, **ports}),
        join_options=_text(ports),
    )


def plugin_ports(network: DesiredNetwork, endpoint: DesiredEndpoint, told: PluginEndpoint) -> Iterator[PluginPorts]:
    """Yield what ProgramExternalConnectivity is told, where the default route leads through; as in the engine without ports too."""
    if endpoint.is_default_ipv4 or endpoint.is_default_ipv6:
        yield PluginPorts(
            unit=endpoint.unit,
            network=network.name,
            attachment=endpoint.attachment,
            driver=network.wanted.driver,
            network_id=network.id,
            endpoint_id=endpoint.id,
            options=told.join_options,
        )


def connecting_plugins(wanted: WantedState, facts: PluginFacts) -> frozenset[str]:
    """Name the plugins whose networks reach over hosts: these are told which there are, whether or not a network can be had."""
    scopes = ((network.driver, facts.scopes.get((network.name, network.driver))) for network in _of_plugins(wanted))
    return frozenset(driver for driver, scope in scopes if scope is not None and scope.connectivity == "global")


def plugin_nodes(
    plugins: Iterable[str], nodes: Iterable[Node] | None, facts: PluginFacts, incarnations: Mapping[str, str]
) -> Iterator[PluginNode]:
    """Yield the hosts that each of the plugins is to know of: while nobody knows them (nodes None), those that it was told of.

    incarnations: by plugin, what tells the one that runs from those before it, "" while none runs. The engine tells each driver
    that registers of all hosts: so one that was started anew is told again. That we were started anew repeats nothing.
    """
    told = {each.key: each for each in facts.calls if isinstance(each, PluginNode)}
    for driver in sorted(plugins):
        kept = (each for each in told.values() if each.driver == driver)
        for each in kept if nodes is None else (_node(driver, node) for node in nodes):
            before = told.get(each.key)
            incarnation = incarnations.get(driver) or (before.incarnation if before else "")
            yield replace(each, unit=nodes_unit(driver), incarnation=incarnation)


def _node(driver: str, node: Node) -> PluginNode:
    return PluginNode(driver=driver, address=node.address, bind_address=node.bind_address, is_self=node.is_self)


def _port_options(attachment: AttachmentWanted) -> dict[str, object]:
    """Return exposed and published ports as the engine has them, empty lists too."""
    published = [binding for port in attachment.ports for binding in _bindings(port)]
    exposed = {(port, protocol) for first, last, protocol in attachment.expose for port in range(first, last + 1)}
    exposed |= {
        (number, port.protocol) for port in attachment.ports for number in range(port.target[0], port.target[1] + 1)
    }
    return {
        f"{_PREFIX}.endpoint.exposedports": [
            {"Proto": _PROTOCOLS[protocol], "Port": port} for port, protocol in sorted(exposed)
        ],
        f"{_PREFIX}.portmap": published,
    }


def _bindings(port: PortWanted) -> Iterator[dict[str, object]]:
    first, last = port.target
    for offset in range(last - first + 1):
        host_first, host_last = port.published
        if first != last and host_first:
            host_first = host_last = host_first + offset
        yield {
            "Proto": _PROTOCOLS[port.protocol],
            "IP": "",
            "Port": first + offset,
            "HostIP": str(port.host_ip or ""),
            "HostPort": host_first,
            "HostPortEnd": host_last,
        }


def _text(value: object) -> str:
    """Maps of the engine go out sorted, its structures in the order of their members: those here are built in it."""
    return json.dumps(dict(sorted(value.items())) if isinstance(value, dict) else value, separators=(",", ":"))
