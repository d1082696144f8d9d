from __future__ import annotations

from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from reconciler.errors import PoolExhausted, PoolOverlap
from reconciler.ipam.pools import DEFAULT_POOLS, ula_prefix
from reconciler.model.objects import Unit
from reconciler.model.wanted import BridgeOptions, NetworkWanted
from tests.unit.ipam.builders import (
    HOST_FACTS,
    failures,
    first_pass,
    network,
    network_of,
    next_pass,
    pools,
)


def _routed(*destinations: str) -> tuple:
    return tuple((ip_network(destination), "eth0") for destination in destinations)


def test_default_pools_are_the_engines_31() -> None:
    texts = [str(pool) for pool in DEFAULT_POOLS]

    assert len(texts) == 31
    assert texts[0] == "172.17.0.0/16"
    assert texts[14:16] == ["172.31.0.0/16", "192.168.0.0/20"]
    assert texts[30] == "192.168.240.0/20"


def test_bridge_chooses_first_and_others_by_name() -> None:
    state = first_pass([network("b"), network("a"), network("bridge"), network("Z")])

    assert pools(state) == {
        "Z": "172.18.0.0/16",
        "a": "172.19.0.0/16",
        "b": "172.20.0.0/16",
        "bridge": "172.17.0.0/16",
    }


def test_pools_of_declared_networks_and_host_routes_and_name_servers_are_passed_over() -> None:
    host = replace(
        HOST_FACTS,
        routes=_routed("172.18.7.0/24"),
        resolv_conf="nameserver 172.19.0.53\nnameserver garbage\nnameserver\n",
        resolved_conf="nameserver 172.20.0.53\n",
    )

    state = first_pass([network("a"), network("declared", "172.17.128.0/17")], host=host)

    assert pools(state)["a"] == "172.21.0.0/16"


@pytest.mark.parametrize("routes", [("0.0.0.0/1", "128.0.0.0/1"), ("0.0.0.0/0",)], ids=["openvpn", "default"])
def test_routes_that_say_everything_block_no_pool(routes: tuple[str, ...]) -> None:
    state = first_pass([network("a")], host=replace(HOST_FACTS, routes=_routed(*routes)))

    assert pools(state) == {"a": "172.17.0.0/16"}


def test_declared_subnet_may_meet_a_host_route_when_somebody_insists() -> None:
    insisting = network("a", "10.0.0.0/24", is_overlap_allowed=True)

    state = first_pass([insisting], host=replace(HOST_FACTS, routes=_routed("10.0.0.0/8")))

    assert pools(state) == {"a": "10.0.0.0/24"}


def test_promised_pool_is_kept_when_a_route_appears_later() -> None:
    before = first_pass([network("b")])

    state = next_pass(before, [network("a"), network("b")], host=replace(HOST_FACTS, routes=_routed("172.17.0.0/16")))

    assert pools(state) == {"a": "172.18.0.0/16", "b": "172.17.0.0/16"}


def test_pool_of_a_network_that_goes_is_the_last_resort() -> None:
    names = [f"n{number:02}" for number in range(31)]
    before = first_pass([network(name) for name in names])

    one_changed = next_pass(before, [network(name) for name in [*names[1:], "new"]])
    some_gone = next_pass(before, [network(name) for name in names[2:]])
    regrown = next_pass(some_gone, [network(name) for name in [*names[3:], "new"]])

    assert pools(one_changed)["new"] == "172.17.0.0/16"
    assert pools(regrown)["new"] == "172.17.0.0/16", "free before that of n02, which goes"


def test_exhausted_pools_fail_the_last_network_with_the_engines_words() -> None:
    state = first_pass([network(f"n{number:02}") for number in range(32)])

    assert len(state.networks) == 31
    ((unit, error),) = state.failures
    assert unit == Unit(network="n31")
    assert isinstance(error, PoolExhausted)
    assert "could not find an available, non-overlapping IPv4 address pool among the defaults" in str(error)


def test_newly_declared_subnet_fails_against_a_running_pool_naming_both() -> None:
    before = first_pass([network("running")])

    state = next_pass(before, [network("running"), network("a", "172.17.3.0/24")])

    assert pools(state) == {"running": "172.17.0.0/16"}
    ((unit, error),) = state.failures
    assert unit == Unit(network="a")
    assert isinstance(error, PoolOverlap)
    assert "subnet 172.17.3.0/24 overlaps 172.17.0.0/16 of network running" in str(error)


def test_two_networks_may_swap_their_declared_subnets() -> None:
    before = first_pass([network("a", "10.1.0.0/24"), network("b", "10.2.0.0/24")])

    state = next_pass(before, [network("a", "10.2.0.0/24"), network("b", "10.1.0.0/24")])

    assert pools(state) == {"a": "10.2.0.0/24", "b": "10.1.0.0/24"}
    assert failures(state) == {}


def test_network_that_fails_keeps_its_promised_pool_from_others() -> None:
    before = first_pass([network("x", "10.1.0.0/24"), network("y", "10.9.0.0/24")])

    state = next_pass(before, [network("x", "10.9.0.0/25"), network("y", "10.9.0.0/24"), network("a", "10.1.0.0/24")])

    assert pools(state) == {"y": "10.9.0.0/24"}
    assert "of network x" in failures(state)["network a"]
    assert "of network y" in failures(state)["network x"]


@pytest.mark.parametrize(
    ("has_faults", "expected"), [(True, {}), (False, {"a": "172.17.0.0/24"})], ids=["faults", "clean"]
)
def test_undeclared_networks_pool_is_held_only_while_specs_are_unreadable(
    has_faults: bool, expected: dict[str, str]
) -> None:
    before = first_pass([network("gone")])

    state = next_pass(before, [network("a", "172.17.0.0/24")], has_faults=has_faults)

    assert pools(state) == expected


def test_ipv6_without_a_subnet_gets_a_piece_of_the_instances_ula() -> None:
    alone = first_pass([network("a", is_ipv6_enabled=True)])
    among_others = first_pass([network(name, is_ipv6_enabled=True) for name in ("0", "1", "a", "bridge")])
    elsewhere = first_pass([network("a", is_ipv6_enabled=True)], host=replace(HOST_FACTS, instance="other"))

    ipv4, ipv6 = network_of(alone, "a").subnets
    assert ipv4.subnet == ip_network("172.17.0.0/16")
    assert ipv6.subnet.prefixlen == 64
    assert ipv6.subnet.subnet_of(ula_prefix(HOST_FACTS.instance))
    assert str(ipv6.subnet).startswith("fd")
    assert ipv6.gateway == ipv6.subnet[1]
    assert network_of(among_others, "a").subnets[1].subnet == ipv6.subnet
    assert network_of(elsewhere, "a").subnets[1].subnet != ipv6.subnet
    assert len({found.subnets[1].subnet for found in among_others.networks}) == 4


def test_ula_prefix_is_fd_and_the_low_40_bits_of_the_hash_of_the_instance() -> None:
    # sha256("0123456789abcdef") = 9f9f5111f7b27a78...
    assert str(ula_prefix("0123456789abcdef")) == "fd11:f7b2:7a78::/48"


def test_ipv6_subnet_is_left_aside_when_ipv6_is_off() -> None:
    state = first_pass([network("a", "10.0.0.0/24", "fd00::/64", is_ipv6_enabled=False)])

    assert pools(state) == {"a": "10.0.0.0/24"}


def test_ipv6_only_network_has_no_ipv4_pool() -> None:
    state = first_pass([network("a", "fd00:1::/64", is_ipv4_enabled=False)])

    assert pools(state) == {"a": "fd00:1::/64"}


def test_unmanaged_networks_get_no_pool_and_no_link() -> None:
    state = first_pass([NetworkWanted(name="none", driver="null"), NetworkWanted(name="host", driver="host")])

    assert pools(state) == {"host": "", "none": ""}
    assert {found.link_name for found in state.networks} == {""}


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        pytest.param(network("a", ipam_driver="null"), "ipv4 pool is empty", id="null ipam"),
        pytest.param(
            network("a", ipam_driver="null", is_ipv4_enabled=False, is_ipv6_enabled=True),
            "ipv6 pool is empty",
            id="null ipam v6",
        ),
        pytest.param(network("a", is_ipv4_enabled=False), "IPv4 or IPv6 must be enabled", id="no family"),
    ],
)
def test_bridge_network_without_addresses_is_refused(wanted: NetworkWanted, text: str) -> None:
    state = first_pass([wanted, network("b")])

    assert pools(state) == {"b": "172.17.0.0/16"}
    assert text in failures(state)["network a"]


def test_two_networks_of_one_bridge_name_fail_the_later() -> None:
    options = BridgeOptions(link_name="br0")

    state = first_pass([network("b", options=options), network("a", options=options)])

    assert network_of(state, "a").link_name == "br0"
    assert "networks have same bridge name" in failures(state)["network b"]


def test_bridge_name_stays_with_the_network_that_runs_on_it() -> None:
    options = BridgeOptions(link_name="br0")
    before = first_pass([network("b", options=options)])

    state = next_pass(before, [network("b", options=options), network("a", options=options)])

    assert network_of(state, "b").link_name == "br0"
    assert list(failures(state)) == ["network a"]


@pytest.mark.parametrize(
    ("declared", "uplink", "is_ipv6_enabled", "expected"),
    [
        pytest.param(9000, 1400, False, 9000, id="declared"),
        pytest.param(None, 1400, False, 1400, id="narrow uplink"),
        pytest.param(None, 9000, False, 1500, id="jumbo uplink"),
        pytest.param(None, None, False, 1500, id="no uplink"),
        pytest.param(0, 1400, False, 1400, id="zero is unset"),
        pytest.param(None, 1000, True, 1280, id="least for IPv6"),
    ],
)
def test_mtu_is_declared_or_follows_the_uplink(
    declared: int | None, uplink: int | None, is_ipv6_enabled: bool, expected: int
) -> None:
    wanted = network("a", options=BridgeOptions(mtu=declared), is_ipv6_enabled=is_ipv6_enabled)

    state = first_pass([wanted], host=replace(HOST_FACTS, uplink_mtu=uplink))

    assert network_of(state, "a").mtu == expected


def test_created_and_id_are_those_of_the_first_pass_even_under_another_host_name() -> None:
    before = first_pass([network("a")])

    state = next_pass(
        before, [network("a")], host=replace(HOST_FACTS, name="beta", now="2030-01-01T00:00:00.000000000Z")
    )

    assert network_of(state, "a").created == HOST_FACTS.now
    assert network_of(state, "a").id == network_of(before, "a").id
    assert network_of(state, "a").link_name == f"br-{network_of(before, 'a').id[:12]}"


def test_default_bridge_is_docker0_unless_named() -> None:
    plain = first_pass([network("bridge")])
    named = first_pass([network("bridge", options=BridgeOptions(link_name="br0"))])

    assert network_of(plain, "bridge").link_name == "docker0"
    assert network_of(named, "bridge").link_name == "br0"
