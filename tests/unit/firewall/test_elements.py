"""Which elements each option of a network becomes."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

import pytest

from reconciler.firewall.elements import endpoint_elements, firewall_rules, network_elements
from reconciler.firewall.notation import element_text
from reconciler.firewall.ruleset import TABLES
from reconciler.model.identifiers import bridge_mac
from reconciler.model.objects import FirewallElement, Object, Unit
from reconciler.model.wanted import BridgeOptions, GatewayMode
from tests.fakes.desired import endpoint, network

V4, V6 = "172.30.1.0/24", "fd30:1::/64"


def written(elements: Iterable[FirewallElement]) -> list[str]:
    """Give `set: element` as nft will read it, without comments, and BR for the bridge's name."""
    bridge = network("net").link_name
    found = []
    for element in elements:
        text = element_text(TABLES[element.family].sets_by_name[element.set_name], element)
        plain = text.replace(' comment "net"', "").replace(bridge, "BR")
        found.append(f"{element.set_name}: {plain}")
    return found


ALWAYS = ['bridges: "BR"']
ICC = ['icc: "BR" . "BR" : accept']
OWN = [f'own4: {V4} . "BR"', f'own6: {V6} . "BR"']


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(BridgeOptions(), [*ICC, *OWN, f"masquerade4: {V4}", f"masquerade6: {V6}"], id="defaults"),
        pytest.param(BridgeOptions(is_masquerade_enabled=False), [*ICC, *OWN], id="no masquerade"),
        pytest.param(
            BridgeOptions(is_icc_enabled=False, is_masquerade_enabled=False),
            ['icc: "BR" . "BR" : drop', f"gateway_macs: {bridge_mac(network('net').id)}", *OWN],
            id="no icc",
        ),
        pytest.param(
            BridgeOptions(host_ipv4=IPv4Address("192.0.2.7")),
            [*ICC, *OWN, f"snat4: {V4} : 192.0.2.7", f"masquerade6: {V6}"],
            id="host_ipv4",
        ),
        pytest.param(
            BridgeOptions(host_ipv6=IPv6Address("2001:db8::7")),
            [*ICC, *OWN, f"masquerade4: {V4}", f"snat6: {V6} : 2001:db8::7"],
            id="host_ipv6",
        ),
        pytest.param(
            BridgeOptions(host_ipv4=IPv4Address("192.0.2.7"), is_masquerade_enabled=False),
            [*ICC, *OWN],
            id="host_ipv4 without masquerade",
        ),
        pytest.param(
            BridgeOptions(gateway_mode_ipv4=GatewayMode.ROUTED),
            [*ICC, *OWN, f"masquerade6: {V6}", 'routed: ipv4 . "BR"'],
            id="routed IPv4",
        ),
        pytest.param(
            BridgeOptions(gateway_mode_ipv6=GatewayMode.NAT_UNPROTECTED),
            [*ICC, *OWN, f"masquerade4: {V4}", f"masquerade6: {V6}", 'unprotected: ipv6 . "BR"'],
            id="unprotected IPv6",
        ),
        pytest.param(
            BridgeOptions(trusted_host_interfaces=("vxlan.1", "eth1"), is_masquerade_enabled=False),
            [*ICC, *OWN, 'trusted: "vxlan.1" . "BR"', 'trusted: "eth1" . "BR"'],
            id="trusted interfaces",
        ),
    ],
)
def test_option_becomes_elements(options: BridgeOptions, expected: list[str]) -> None:
    found = network_elements(network("net", V4, V6, options=options))

    assert sorted(written(found)) == sorted([*ALWAYS, *expected])


def test_internal_network_is_never_translated() -> None:
    options = BridgeOptions(host_ipv4=IPv4Address("192.0.2.7"), gateway_mode_ipv6=GatewayMode.NAT_UNPROTECTED)

    found = network_elements(network("net", V4, V6, is_internal=True, options=options))

    assert sorted(written(found)) == sorted([*ALWAYS, *ICC, *OWN, 'internal: "BR"'])


def test_elements_carry_the_unit_they_are_for() -> None:
    options = BridgeOptions(is_icc_enabled=False)
    net = network("net", V4, options=options)

    assert {element.unit for element in network_elements(net)} == {Unit(network="net")}
    assert [element.unit for element in endpoint_elements(net, endpoint("web", "net"))] == [
        Unit(network="net", attachment="web")
    ]


@pytest.mark.parametrize(("is_icc_enabled", "expected"), [(True, []), (False, ["isolated_ports"])], ids=["on", "off"])
def test_port_is_isolated_only_without_icc(is_icc_enabled: bool, expected: list[str]) -> None:
    net = network("net", V4, options=BridgeOptions(is_icc_enabled=is_icc_enabled))
    web = endpoint("web", "net", "172.30.1.2/24")

    found = list(endpoint_elements(net, web))

    assert [element.set_name for element in found] == expected
    assert all(element.element == (web.link_name,) for element in found)


def test_keys_of_two_networks_never_meet() -> None:
    networks = (network("a", V4, V6), network("b", "172.30.2.0/24"))
    objects: list[Object] = [*firewall_rules(), *(item for net in networks for item in network_elements(net))]

    assert len({item.key for item in objects}) == len(objects)
