"""What each network and endpoint puts into the firewall's sets and maps (`ruleset` says what the rules make of it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.firewall.ruleset import TABLE, TABLES, rules
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet
from reconciler.model.objects import FirewallElement, FirewallRules, IPAddress, Unit
from reconciler.model.wanted import BridgeOptions, GatewayMode

_TRANSLATING = (GatewayMode.NAT, GatewayMode.NAT_UNPROTECTED)
_SETS_OF_MODE = {GatewayMode.ROUTED: "routed", GatewayMode.NAT_UNPROTECTED: "unprotected"}


def firewall_rules() -> Iterable[FirewallRules]:
    """Give the constant part: both tables with their chains, sets and maps."""
    return tuple(rules(family) for family in TABLES)


def network_elements(network: DesiredNetwork) -> Iterable[FirewallElement]:
    """Give what makes a bridge known, isolated, translated or internal. The network must have a bridge device."""
    unit, bridge, options = network.unit, network.link_name, network.wanted.bridge or BridgeOptions()
    yield _inet(unit, "bridges", bridge)
    yield _inet(unit, "icc", bridge, bridge, value="accept" if options.is_icc_enabled else "drop")
    if network.wanted.is_internal:
        yield _inet(unit, "internal", bridge)
        return
    for subnet in network.subnets:
        yield from _subnet_elements(network, subnet, options)
    for version in sorted({subnet.subnet.version for subnet in network.subnets}):
        named_set = _SETS_OF_MODE.get(_mode(options, version))
        if named_set:
            yield _inet(unit, named_set, f"ipv{version}", bridge)
    for ifname in options.trusted_host_interfaces:
        yield _inet(unit, "trusted", ifname, bridge)


def endpoint_elements(network: DesiredNetwork, endpoint: DesiredEndpoint) -> Iterable[FirewallElement]:
    """Give what bars an endpoint from its neighbours on the same bridge when the network's ICC is off."""
    options = network.wanted.bridge
    if options is not None and not options.is_icc_enabled:
        yield FirewallElement(
            unit=endpoint.unit, family="bridge", table=TABLE, set_name="isolated_ports", element=(endpoint.link_name,)
        )


def _subnet_elements(
    network: DesiredNetwork, subnet: DesiredSubnet, options: BridgeOptions
) -> Iterator[FirewallElement]:
    unit, version, text = network.unit, subnet.subnet.version, str(subnet.subnet)
    yield _inet(unit, f"own{version}", text, network.link_name)
    if _mode(options, version) not in _TRANSLATING or not options.is_masquerade_enabled:
        return
    source = _source_address(options, version)
    if source is None:
        yield _inet(unit, f"masquerade{version}", text)
    else:
        yield _inet(unit, f"snat{version}", text, value=str(source))


def _mode(options: BridgeOptions, version: int) -> GatewayMode:
    return options.gateway_mode_ipv4 if version == 4 else options.gateway_mode_ipv6


def _source_address(options: BridgeOptions, version: int) -> IPAddress | None:
    return options.host_ipv4 if version == 4 else options.host_ipv6


def _inet(unit: Unit, set_name: str, *element: str, value: str = "") -> FirewallElement:
    return FirewallElement(unit=unit, family="inet", table=TABLE, set_name=set_name, element=element, value=value)
