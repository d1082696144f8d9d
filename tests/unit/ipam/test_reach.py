"""No subnet of ours hides what the host reaches elsewhere, unless somebody insists."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from reconciler.kv.address import store_addresses
from reconciler.model.objects import Unit
from reconciler.model.wanted import BridgeOptions, GatewayMode, MacvlanOptions, NetworkWanted
from tests.fakes.desired import host_facts
from tests.unit.ipam.builders import attachment, failures, first_pass, network, next_pass, pools

HOST = replace(
    host_facts(),
    routes=(
        (ip_network("192.0.2.0/24"), "eth0"),
        (ip_network("10.8.0.0/16"), "tun0"),
        (ip_network("2001:db8::/64"), "eth0"),
        (ip_network("0.0.0.0/1"), "tun0"),
    ),
    needed=(
        (ip_address("192.0.2.7"), "the host's own address 192.0.2.7 of eth0"),
        (ip_address("203.0.113.1"), "the gateway 203.0.113.1 of the host's default route"),
        (ip_address("198.51.100.9"), "the cluster's store at 198.51.100.9"),
    ),
)
INHIBITED = BridgeOptions(is_ipv4_inhibited=True)
ISOLATED = BridgeOptions(gateway_mode_ipv4=GatewayMode.ISOLATED)
CASES = {
    "192.0.2.0/24": "covers the host's own address 192.0.2.7 of eth0",
    "192.0.0.0/16": "covers the host's own address 192.0.2.7 of eth0",
    "192.0.2.128/25": "covers the host's route to 192.0.2.0/24 by eth0",
    "203.0.113.0/28": "covers the gateway 203.0.113.1 of the host's default route",
    "198.51.100.8/30": "covers the cluster's store at 198.51.100.9",
    "10.8.9.0/24": "covers the host's route to 10.8.0.0/16 by tun0",
    "2001:db8::/80": "covers the host's route to 2001:db8::/64 by eth0",
}


@pytest.mark.parametrize("subnet", CASES)
def test_subnet_that_hides_something_is_refused_with_its_name(subnet: str) -> None:
    bad = replace(network("bad", subnet), is_ipv4_enabled=":" not in subnet)

    state = first_pass([bad, network("good", "10.9.0.0/24")], [attachment("web", "bad")], host=HOST)

    assert pools(state) == {"good": "10.9.0.0/24"}
    expected = f"network bad: subnet {subnet} {CASES[subnet]}, and the host would be cut off from there"
    assert failures(state)["network bad"].startswith(expected)
    assert "allow_overlap: true" in failures(state)["network bad"]


def test_who_insists_has_it() -> None:
    for subnet in CASES:
        bad = replace(network("bad", subnet, is_overlap_allowed=True), is_ipv4_enabled=":" not in subnet)
        assert not failures(first_pass([bad], host=HOST))
        assert not first_pass([bad], host=HOST).remarks


@pytest.mark.parametrize(
    "made",
    [
        network("net", "10.9.0.0/24"),
        network("net", "192.0.2.0/24", options=INHIBITED),
        network("net", "192.0.2.0/24", options=ISOLATED),
        network("net", "192.0.2.0/24", driver="macvlan", bridge=None, macvlan=MacvlanOptions(parent="")),
        network("net", "11.0.0.0/8"),
    ],
    ids=["elsewhere", "without the gateway's address", "isolated", "macvlan", "half the internet"],
)
def test_what_hides_nothing_from_the_host_is_fine(made: NetworkWanted) -> None:
    assert not failures(first_pass([made], host=HOST))


def test_what_runs_stays_and_is_told() -> None:
    """A route that came later, or an update of this program, takes no network away."""
    before = first_pass([network("net", "10.8.9.0/24")], [attachment("web", "net")])

    state = next_pass(before, [network("net", "10.8.9.0/24")], [attachment("web", "net")], host=HOST)

    assert not state.failures
    ((unit, text),) = state.remarks
    assert unit == Unit(network="net")
    assert text.startswith("its subnet 10.8.9.0/24 covers the host's route to 10.8.0.0/16 by tun0")
    moved = next_pass(before, [network("net", "10.8.10.0/24")], [attachment("web", "net")], host=HOST)
    assert "network net" in failures(moved)


def test_automatic_choices_keep_away_from_the_same() -> None:
    busy = tuple((ip_address(f"172.{second}.0.9"), "an address") for second in range(17, 31))

    state = first_pass([network("net")], host=replace(HOST, needed=busy))

    assert pools(state) == {"net": "172.31.0.0/16"}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", []),
        ("etcd://192.0.2.1:2379,store.example,[2001:db8::1]:2379/prefix", ["192.0.2.1", "2001:db8::1"]),
        ("consul://store", []),
    ],
)
def test_addresses_of_the_store_are_read_from_its_url(url: str, found: list[str]) -> None:
    assert [str(address) for address in store_addresses(url)] == found
