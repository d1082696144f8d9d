"""What the macvlan and ipvlan drivers make of a network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from reconciler.compile import compile_objects
from reconciler.drivers import sublinks
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredState, ParentFact
from reconciler.model.identifiers import HOST, NsRef, own_parent_name
from reconciler.model.objects import (
    Address,
    Bridge,
    DeadEnd,
    FirewallElement,
    FirewallRules,
    Ipvlan,
    KvRecord,
    LinkUp,
    Macvlan,
    Object,
    Route,
    Sysctl,
    Unit,
    Vlan,
)
from reconciler.model.wanted import IpvlanFlag, IpvlanMode, IpvlanOptions, MacvlanMode, MacvlanOptions
from tests.fakes.desired import attachment, endpoint, host_facts, network
from tests.fakes.drivers import compiler_of

compile_network = compiler_of(sublinks)

NS = NsRef("netns:web")
UNIT = Unit(network="lan", attachment="web")


def macvlan(options: MacvlanOptions, *subnets: str, link_name: str = "") -> DesiredNetwork:
    made = network("lan", *(subnets or ("192.0.2.0/24",)), mtu=1400)
    wanted = replace(made.wanted, driver="macvlan", bridge=None, macvlan=options)
    return replace(made, wanted=wanted, link_name=link_name)


def ipvlan(options: IpvlanOptions) -> DesiredNetwork:
    made = macvlan(MacvlanOptions())
    return replace(made, wanted=replace(made.wanted, driver="ipvlan", macvlan=None, ipvlan=options))


def compiled(made: DesiredNetwork, *endpoints: DesiredEndpoint) -> list[Object]:
    return list(compile_network(made, endpoints, host_facts()))


def web(*interfaces: str, gateway: str | None = None) -> DesiredEndpoint:
    return endpoint("web", "lan", *(interfaces or ("192.0.2.10/24",)), gateway=gateway)


def test_an_endpoint_is_a_link_on_the_parent_with_addresses_and_the_declared_way_out() -> None:
    options = MacvlanOptions(parent="eth7", mode=MacvlanMode.PRIVATE)

    found = compiled(macvlan(options), web(gateway="192.0.2.1"))

    assert found == [
        Macvlan(ns=NS, ifname="eth0", parent="eth7", mode="private", mac="02:42:ac:11:00:02", mtu=1400),
        Sysctl(ns=NS, name="net/ipv6/conf/eth0/disable_ipv6", value="1"),
        LinkUp(ns=NS, ifname="eth0"),
        Address(ns=NS, ifname="eth0", interface=web().ipv4),  # type: ignore[arg-type]
        Route(ns=NS, destination=ip_network("0.0.0.0/0"), gateway=ip_address("192.0.2.1"), ifname="eth0"),
    ]
    assert {each.unit for each in found} == {UNIT}


def test_a_network_with_a_parent_has_nothing_on_the_host() -> None:
    assert compiled(macvlan(MacvlanOptions(parent="eth7"))) == []


def test_a_network_without_a_parent_has_one_that_leads_nowhere() -> None:
    name = own_parent_name("macvlan", network("lan").id)

    end, link, *_ = compiled(macvlan(MacvlanOptions(), link_name=name), web())

    assert end == DeadEnd(ns=HOST, ifname=name, mtu=1400)
    assert end.unit == Unit(network="lan")
    assert isinstance(link, Macvlan)
    assert link.parent == name


BASE = ParentFact(ifname="eth7", mtu=1500)


@pytest.mark.parametrize(
    ("parent", "parents", "vlans"),
    [
        ("eth7.10", (BASE,), [Vlan(ns=HOST, ifname="eth7.10", parent="eth7", vlan_id=10)]),
        (
            "eth7.10",
            (BASE, replace(BASE, ifname="eth7.10", is_ours=True)),
            [Vlan(ns=HOST, ifname="eth7.10", parent="eth7", vlan_id=10)],
        ),
        ("eth7.10", (BASE, replace(BASE, ifname="eth7.10")), []),
        ("eth7.10", None, []),
        ("eth7", (BASE,), []),
    ],
    ids=["to be made", "made by us", "made by others", "nobody looked", "no vlan"],
)
def test_a_vlan_is_made_where_nobody_else_has_made_it(
    parent: str, parents: tuple[ParentFact, ...] | None, vlans: list[Vlan]
) -> None:
    made = macvlan(MacvlanOptions(parent=parent))

    found = list(compile_network(made, (web(),), replace(host_facts(), parents=parents)))

    assert [each for each in found if isinstance(each, Vlan)] == vlans
    assert [each.parent for each in found if isinstance(each, Macvlan)] == [parent]


def test_an_ipvlan_endpoint_has_mode_and_flag_and_no_address_of_its_own() -> None:
    made = ipvlan(IpvlanOptions(parent="eth7", mode=IpvlanMode.L3S, flag=IpvlanFlag.VEPA))

    link, *_ = compiled(made, web())

    assert link == Ipvlan(ns=NS, ifname="eth0", parent="eth7", mode="l3s", flag="vepa", mtu=1400)


def test_a_default_route_without_gateway_is_on_link() -> None:
    made = ipvlan(IpvlanOptions(parent="eth7", mode=IpvlanMode.L3))

    found = compiled(made, replace(web(), is_default_ipv4=True))

    assert found[-1] == Route(ns=NS, destination=ip_network("0.0.0.0/0"), gateway=None, ifname="eth0")


def test_the_host_gets_no_firewall_no_forwarding_and_a_record_of_the_sandbox() -> None:
    made = macvlan(MacvlanOptions(), link_name="dm-0123456789ab")
    desired = DesiredState(host=host_facts(), networks=(made,), attachments=(attachment("web", [web()]),))

    found = compile_objects(desired, {}).values()

    assert not [each for each in found if isinstance(each, (FirewallRules, FirewallElement, Bridge))]
    assert not [each for each in found if isinstance(each, Sysctl) and each.ns == HOST]
    records = [each for each in found if isinstance(each, KvRecord) and each.path.startswith("sandbox/")]
    assert [(each.path, each.value, each.unit) for each in records] == [
        ("sandbox/web/netns%3Aweb", "{}", Unit(attachment="web"))
    ]
