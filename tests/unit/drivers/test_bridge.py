"""What the bridge driver makes of a network."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

import pytest
from msgspec.structs import replace

from reconciler.drivers import bridge
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Bridge, LinkUp, Object, Route, Sysctl, Unit, VethPair
from reconciler.model.wanted import BridgeOptions
from tests.fakes.desired import endpoint, host_facts, network
from tests.fakes.drivers import compiler_of

compile_network = compiler_of(bridge)


def of_kind(kind: type[Object], found: list[Object]) -> list[Object]:
    return [each for each in found if isinstance(each, kind)]


def test_a_network_without_endpoints_is_a_bridge_with_its_gateway() -> None:
    lan = network("lan", "172.18.0.0/16", mtu=1400)

    found = list(compile_network(lan, [], host_facts()))

    mac = "02:42:" + ":".join(lan.id[i : i + 2] for i in (0, 2, 4, 6))
    assert found == [
        Bridge(ns=HOST, ifname=lan.link_name, mac=mac, mtu=1400),
        Address(ns=HOST, ifname=lan.link_name, interface=ip_interface("172.18.0.1/16")),
    ]
    assert {each.unit for each in found} == {Unit(network="lan")}


def test_an_endpoint_is_a_pair_with_address_and_default_route() -> None:
    lan = network("lan", "172.18.0.0/16")
    web = endpoint("web", "lan", "172.18.0.2/16", gateway="172.18.0.1")

    found = [each for each in compile_network(lan, [web], host_facts()) if each.unit == web.unit]

    ns = NsRef("netns:web")
    assert found == [
        VethPair(
            ns=HOST,
            ifname=web.link_name,
            master=lan.link_name,
            mtu=1500,
            peer_ns=ns,
            peer_ifname="eth0",
            peer_mac="02:42:ac:11:00:02",
        ),
        Sysctl(ns=ns, name="net/ipv6/conf/eth0/disable_ipv6", value="1"),
        LinkUp(ns=ns, ifname="eth0"),
        Address(ns=ns, ifname="eth0", interface=ip_interface("172.18.0.2/16")),
        Route(ns=ns, destination=ip_network("0.0.0.0/0"), gateway=IPv4Address("172.18.0.1"), ifname="eth0"),
    ]


def test_an_endpoint_that_is_not_the_default_has_no_route() -> None:
    lan = network("lan", "172.18.0.0/16")
    web = endpoint("web", "lan", "172.18.0.2/16", gateway="172.18.0.1", is_default=False)

    assert not of_kind(Route, list(compile_network(lan, [web], host_facts())))


def test_inhibit_ipv4_leaves_the_gateway_address_off_the_bridge() -> None:
    lan = network("lan", "172.18.0.0/16", "fd00::/64", options=BridgeOptions(is_ipv4_inhibited=True))

    addresses = of_kind(Address, list(compile_network(lan, [], host_facts())))

    assert addresses == [Address(ns=HOST, ifname=lan.link_name, interface=ip_interface("fd00::1/64"))]


@pytest.mark.parametrize("subnets", [("172.18.0.0/16",), ("fd00::/64",), ("172.18.0.0/16", "fd00::/64")])
def test_a_bridge_has_ipv6_where_its_network_has_and_heeds_no_router(subnets: tuple[str, ...]) -> None:
    lan = network("lan", *subnets)

    (bridge,) = [b for b in compile_network(lan, [], host_facts()) if isinstance(b, Bridge)]

    has_ipv6 = "fd00::/64" in subnets
    assert (bridge.has_ipv6, bridge.has_link_local, bridge.heeds_routers) == (has_ipv6, has_ipv6, False)


def test_a_host_without_ipv6_gets_no_ipv6_settings() -> None:
    lan = network("lan", "172.18.0.0/16")
    web = endpoint("web", "lan", "172.18.0.2/16")

    assert not of_kind(Sysctl, list(compile_network(lan, [web], host_facts(has_ipv6=False))))


def test_endpoint_sysctls_name_the_interface() -> None:
    lan = network("lan", "172.18.0.0/16")
    option = (
        "com.docker.network.endpoint.sysctls",
        "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.mcast_solicit=5",
    )
    web = endpoint("web", "lan", "172.18.0.2/16", ifname="lan.0", options=(option,))

    sysctls = {s.name: s.value for s in compile_network(lan, [web], host_facts()) if isinstance(s, Sysctl)}

    assert sysctls == {
        "net/ipv6/conf/lan.0/disable_ipv6": "1",
        "net/ipv4/conf/lan.0/log_martians": "1",
        "net/ipv4/neigh/lan.0/mcast_solicit": "5",
    }


def test_link_local_addresses_stand_beside_the_endpoints_own() -> None:
    lan = network("lan", "172.18.0.0/16")
    web = endpoint("web", "lan", "172.18.0.2/16")
    given = (ip_address("169.254.7.7"), ip_address("fe80::7"))
    web = replace(web, wanted=replace(web.wanted, link_local_ips=given))

    found = [each for each in compile_network(lan, [web], host_facts()) if each.unit == web.unit]

    addresses = [str(each.interface) for each in found if isinstance(each, Address)]
    assert addresses == ["172.18.0.2/16", "169.254.7.7/16", "fe80::7/64"]
    assert {s.name: s.value for s in found if isinstance(s, Sysctl)} == {
        "net/ipv6/conf/eth0/disable_ipv6": "0",
        "net/ipv6/conf/eth0/accept_ra": "0",
    }
