"""What each network and endpoint puts into the firewall's sets and maps (`ruleset` says what the rules make of it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from reconciler.firewall.notation import VALUE_SEPARATOR
from reconciler.firewall.ruleset import TABLE, TABLES, rules
from reconciler.model.desired import DesiredEndpoint, DesiredLink, DesiredNetwork, PortBinding
from reconciler.model.objects import FirewallElement, FirewallRules, IPNetwork, Unit
from reconciler.model.wanted import BridgeOptions, GatewayMode

_SETS_OF_MODE = {GatewayMode.ROUTED: "routed", GatewayMode.NAT_UNPROTECTED: "unprotected"}


def firewall_rules() -> Iterable[FirewallRules]:
    """Return the constant part: both tables with their chains, sets and maps."""
    return tuple(rules(family) for family in TABLES)


def network_elements(network: DesiredNetwork) -> Iterable[FirewallElement]:
    """Return what makes a bridge known, isolated, translated or internal. The network must have a bridge device."""
    unit, bridge, options = network.unit, network.link_name, network.wanted.bridge_options
    yield _inet(unit, "bridges", bridge)
    if network.adopted is not None:
        yield _inet(unit, "adopted", bridge)
    # Others on an adopted bridge go on speaking with each other; what members may not is judged at their ports.
    is_open = options.is_icc_enabled or network.adopted is not None
    yield _inet(unit, "icc", bridge, bridge, value="accept" if is_open else "drop")
    if not options.is_icc_enabled:
        yield _bridge(unit, "gateway_macs", network.bridge_mac)
    for subnet in network.subnets:
        yield _inet(unit, f"own{subnet.subnet.version}", str(subnet.subnet), bridge)
    if network.wanted.is_internal:
        yield _inet(unit, "internal", bridge)
        return
    for subnet in network.subnets if network.adopted is None else ():
        yield from _translation(unit, subnet.subnet, options)
    for version in sorted({subnet.subnet.version for subnet in network.subnets}):
        named_set = _SETS_OF_MODE.get(options.gateway_mode(version))
        if named_set:
            yield _inet(unit, named_set, f"ipv{version}", bridge)
    for ifname in options.trusted_host_interfaces:
        yield _inet(unit, "trusted", ifname, bridge)


def endpoint_elements(network: DesiredNetwork, endpoint: DesiredEndpoint) -> Iterable[FirewallElement]:
    """Return what publishes an endpoint's ports, and what bars it from its neighbours when the network's ICC is off."""
    if not _is_icc_enabled(network):
        yield _bridge(endpoint.unit, "isolated_ports", endpoint.link_name)
    if network.adopted is not None and not network.wanted.is_internal:
        # What others on the bridge send leaves as it did.
        for interface in (endpoint.ipv4, endpoint.ipv6):
            if interface is not None:
                own = ip_network(interface.ip)
                yield from _translation(endpoint.unit, own, network.wanted.bridge_options)
    addresses = {interface.version: str(interface.ip) for interface in (endpoint.ipv4, endpoint.ipv6) if interface}
    for port in endpoint.ports:
        yield from _port_elements(endpoint.unit, port, addresses[port.host_ip.version])


def _port_elements(unit: Unit, port: PortBinding, address: str) -> Iterator[FirewallElement]:
    """A port with a host port is translated, and let in when it was; one of a routed network is let in as it is."""
    version, service = port.host_ip.version, (port.protocol, str(port.target))
    if not port.host_port:
        yield _inet(unit, f"published_routed{version}", address, *service)
        return
    yield _inet(unit, f"published{version}", address, *service)
    key, value = (port.protocol, str(port.host_port)), VALUE_SEPARATOR.join((address, str(port.target)))
    if port.host_ip.is_unspecified:
        yield _inet(unit, f"published_any{version}", *key, value=value)
    else:
        yield _inet(unit, f"published_host{version}", str(port.host_ip), *key, value=value)


def link_elements(
    network: DesiredNetwork, endpoint: DesiredEndpoint, links: Iterable[DesiredLink]
) -> Iterator[FirewallElement]:
    """Yield what lets an endpoint reach the ports that those exposes whom it links to, when the network's ICC is off.

    Both tables must let it through: bridged packets meet the bridge's, and the other too where br_netfilter is on.
    """
    if _is_icc_enabled(network):
        return
    unit, bridge = endpoint.unit, network.link_name
    for link in links:
        for client, server in ((endpoint.ipv4, link.ipv4), (endpoint.ipv6, link.ipv6)):
            if client is None or server is None:
                continue
            for first, last, protocol in link.ports:
                for port in range(first, last + 1):
                    element = (str(client.ip), str(server), protocol, str(port))
                    yield _inet(unit, f"links{server.version}", bridge, *element)
                    yield _bridge(unit, f"links{server.version}", *element)


def _is_icc_enabled(network: DesiredNetwork) -> bool:
    return network.wanted.bridge is None or network.wanted.bridge.is_icc_enabled


def _translation(unit: Unit, senders: IPNetwork, options: BridgeOptions) -> Iterator[FirewallElement]:
    version, text = senders.version, str(senders)
    if not options.is_translated(version):
        return
    source = options.source_address(version)
    if source is None:
        yield _inet(unit, f"masquerade{version}", text)
    else:
        yield _inet(unit, f"snat{version}", text, value=str(source))


def _inet(unit: Unit, set_name: str, *element: str, value: str = "") -> FirewallElement:
    return FirewallElement(unit=unit, family="inet", table=TABLE, set_name=set_name, element=element, value=value)


def _bridge(unit: Unit, set_name: str, *element: str) -> FirewallElement:
    return FirewallElement(unit=unit, family="bridge", table=TABLE, set_name=set_name, element=element)
