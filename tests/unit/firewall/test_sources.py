"""What an endpoint may send as, and which addresses come by which link."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from reconciler.firewall.notation import element_text, read_element
from reconciler.firewall.ruleset import TABLES
from reconciler.firewall.sources import endpoint_sources, network_sources, overlay_sources
from reconciler.model.identifiers import NsRef, bridge_mac, link_local, overlay_bridge_mac
from reconciler.model.objects import FirewallElement, Object, Unit
from reconciler.model.wanted import BridgeOptions, OverlayOptions
from tests.fakes.desired import endpoint, host_facts, network

V4, V6 = "172.30.1.0/24", "fd30:1::/64"
MAC = "02:42:ac:11:00:02"
FREE = BridgeOptions(is_source_validated=False)


def told(elements: Iterable[Object]) -> set[str]:
    """Give set and key of elements that nft takes and tells back as the same."""
    found = set()
    for element in elements:
        assert isinstance(element, FirewallElement)
        spec = TABLES[element.family].sets_by_name[element.set_name]
        assert element_text(spec, element)
        found.add(" ".join((element.set_name, *element.element)))
    return found


def test_an_endpoint_sends_from_its_own_addresses() -> None:
    web = endpoint("web", "net", "172.30.1.2/24", "fd30:1::2/64")
    given = ("169.254.3.4", "fe80::1:2")
    web = replace(web, wanted=replace(web.wanted, link_local_ips=tuple(map(ip_address, given))))
    port, own = web.link_name, "fe80::42:acff:fe11:2"

    elements = list(endpoint_sources(network("net", V4, V6), web))

    assert told(elements) == {
        f"macs {port} {MAC}",
        f"sources4 {port} {MAC} 172.30.1.2",
        f"sources4 {port} {MAC} 169.254.3.4",
        *(f"sources6 {port} {MAC} {address}" for address in ("fd30:1::2", "fe80::1:2", own)),
        *(f"link_locals {address}" for address in ("fe80::1:2", own)),
    }
    assert {element.unit for element in elements} == {Unit(network="net", attachment="web")}


def test_an_ipv4_endpoint_costs_two_elements() -> None:
    web = endpoint("web", "net", "172.30.1.2/24")

    assert len(list(endpoint_sources(network("net", V4), web))) == 2


def test_an_endpoint_whose_network_has_routers_sends_as_anybody() -> None:
    web = endpoint("web", "net", "172.30.1.2/24")
    net = network("net", V4, options=FREE)

    assert told(endpoint_sources(net, web)) == {f"any_source {web.link_name}"}
    assert f"any_source {net.link_name}" in told(network_sources(net, host_facts()))


@pytest.mark.parametrize("is_internal", [False, True], ids=["open", "internal"])
def test_a_network_has_its_subnets_and_its_gateway_to_itself(is_internal: bool) -> None:
    net = network("net", V4, V6, is_internal=is_internal)

    found = told(network_sources(net, host_facts()))

    assert found == {f"subnets4 {V4}", f"subnets6 {V6}", f"link_locals {link_local(bridge_mac(net.id))}"}


def test_addresses_that_the_host_has_another_way_to_come_by_that() -> None:
    """Whoever insists on a subnet with a VPN's or an uplink's in it goes on reaching these."""
    given = ("172.30.1.64/26", "172.30.1.64/30", "172.30.0.0/16", V4, "fd30:1::/72", "10.0.0.0/8")
    host = replace(host_facts(), routes=tuple((ip_network(route), "tun0") for route in given))

    found = told(network_sources(network("net", V4, V6), host))

    assert {each for each in found if each.startswith("subnets4")} == {
        "subnets4 172.30.1.0/26",
        "subnets4 172.30.1.128/25",
    }
    assert "subnets6 fd30:1:0:0:100::/72" in found
    assert f"subnets6 {V6}" not in found


def test_an_overlay_network_is_guarded_in_its_own_namespace() -> None:
    ns = NsRef("netns:ov-x")
    net = network("net", V4, V6)
    net = replace(net, ns=ns, link_name="", wanted=replace(net.wanted, driver="overlay", bridge=None))
    rules, gateway = overlay_sources(net, host_facts())
    found = [*endpoint_sources(net, endpoint("web", "net", "172.30.1.2/24")), gateway]

    assert rules.key == ("FirewallRules", ns, "bridge", "reconciler")
    assert told([gateway]) == {f"link_locals {link_local(overlay_bridge_mac('alpha', net.id, 0))}"}
    assert {element.key[1] for element in found} == {ns}
    free = replace(net, wanted=replace(net.wanted, overlay=OverlayOptions(is_source_validated=False)))
    assert {e.set_name for e in endpoint_sources(free, endpoint("web", "net", "172.30.1.2/24"))} == {"any_source"}


@pytest.mark.parametrize("listed", ["0xfe800000000000000042acfffe110002", int(ip_address("fe80::42:acff:fe11:2"))])
def test_an_address_without_a_name_in_nft_is_a_number(listed: object) -> None:
    spec = TABLES["bridge"].sets_by_name["link_locals"]
    element = FirewallElement(family="bridge", table="t", set_name=spec.name, element=("fe80::42:acff:fe11:2",))

    assert element_text(spec, element) == "0xfe800000000000000042acfffe110002"
    assert read_element(spec, listed) == (element.element, "", "")
