from __future__ import annotations

from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from reconciler.errors import AddressTaken, PoolExhausted
from reconciler.ipam.macs import derived_mac
from reconciler.model.objects import Unit
from tests.unit.ipam.builders import (
    HOST_FACTS,
    addresses,
    attachment,
    endpoint_of,
    failures,
    first_pass,
    network,
    next_pass,
    on,
    subnet,
)

NET = network("net", "10.0.0.0/24")


def _many(count: int) -> list:
    return [attachment(f"a{number:04}", "net") for number in range(count)]


def test_lowest_free_addresses_go_out_in_order_of_names() -> None:
    state = first_pass([NET], [attachment("b", "net"), attachment("a", "net")])

    assert addresses(state) == {"a": "10.0.0.2", "b": "10.0.0.3"}
    assert endpoint_of(state, "a").ipv4 == ip_interface("10.0.0.2/24")


def test_auxiliary_addresses_are_never_given() -> None:
    state = first_pass([network("net", subnet("10.0.0.0/24", aux={"x": "10.0.0.2"}))], [attachment("a", "net")])

    assert addresses(state) == {"a": "10.0.0.3"}


def test_range_limits_automatic_choices_only() -> None:
    wanted = network("net", subnet("10.0.0.0/24", ip_range="10.0.0.64/30", gateway="10.0.0.1"))

    state = first_pass([wanted], [attachment("a", on("net", "10.0.0.9")), *_many(4)])

    assert sorted(addresses(state).values()) == ["10.0.0.64", "10.0.0.65", "10.0.0.66", "10.0.0.67", "10.0.0.9"]


@pytest.mark.parametrize(
    ("prefix", "capacity"), [("10.0.0.0/29", 5), ("10.0.0.0/30", 1), ("10.0.0.0/31", 1), ("10.0.0.0/32", 0)]
)
def test_subnet_holds_as_many_endpoints_as_the_engines(prefix: str, capacity: int) -> None:
    state = first_pass([network("net", prefix)], _many(capacity + 2))

    assert len(addresses(state)) == capacity
    assert [type(error) for _, error in state.failures] == [PoolExhausted, PoolExhausted]


def test_exhaustion_names_the_network_and_fails_the_last_attachments() -> None:
    state = first_pass([network("net", "10.0.0.0/30")], [attachment("b", "net"), attachment("a", "net")])

    assert addresses(state) == {"a": "10.0.0.2"}
    assert (
        "no available IPv4 addresses on this network's address pools: net ("
        in failures(state)["network net, attachment b"]
    )


def test_first_ipv6_address_is_not_the_routers_anycast() -> None:
    state = first_pass([network("net", "10.0.0.0/24", "fd00:1::/64")], [attachment("a", "net")])

    assert endpoint_of(state, "a").ipv6 == ip_interface("fd00:1::2/64")
    assert str(endpoint_of(state, "a").gateway_ipv6) == "fd00:1::1"


def test_second_subnet_serves_when_the_first_is_full() -> None:
    state = first_pass([network("net", "10.0.0.0/30", "10.1.0.0/30")], _many(3))

    assert addresses(state) == {"a0000": "10.0.0.2", "a0001": "10.1.0.2"}
    assert str(endpoint_of(state, "a0001").gateway_ipv4) == "10.1.0.1"


def test_statics_are_reserved_before_dynamic_choices() -> None:
    state = first_pass([NET], [attachment("a", "net"), attachment("z", on("net", "10.0.0.2"))])

    assert addresses(state) == {"a": "10.0.0.3", "z": "10.0.0.2"}


def test_promised_address_moves_when_another_declares_it() -> None:
    before = first_pass([NET], [attachment("a", "net"), attachment("b", "net")])

    state = next_pass(
        before, [NET], [attachment("a", "net"), attachment("b", "net"), attachment("z", on("net", "10.0.0.2"))]
    )

    assert addresses(state) == {"a": "10.0.0.4", "b": "10.0.0.3", "z": "10.0.0.2"}
    assert endpoint_of(state, "a").mac == "02:42:0a:00:00:04"


def test_promised_address_is_kept_when_lower_ones_become_free() -> None:
    before = first_pass([NET], [attachment("a", "net"), attachment("b", "net")])

    state = next_pass(before, [NET], [attachment("b", "net"), attachment("c", "net")])

    assert addresses(state) == {"b": "10.0.0.3", "c": "10.0.0.2"}


def test_promised_address_outside_a_new_range_moves() -> None:
    before = first_pass([NET], [attachment("a", "net")])

    state = next_pass(
        before, [network("net", subnet("10.0.0.0/24", ip_range="10.0.0.64/26"))], [attachment("a", "net")]
    )

    assert addresses(state) == {"a": "10.0.0.64"}


def test_address_survives_a_wider_subnet() -> None:
    before = first_pass([NET], [attachment("a", "net"), attachment("b", "net")])

    state = next_pass(before, [network("net", "10.0.0.0/16")], [attachment("b", "net")])

    assert endpoint_of(state, "b").ipv4 == ip_interface("10.0.0.3/16")


def test_swapped_statics_are_no_conflict() -> None:
    before = first_pass([NET], [attachment("a", on("net", "10.0.0.5")), attachment("b", on("net", "10.0.0.6"))])

    state = next_pass(before, [NET], [attachment("a", on("net", "10.0.0.6")), attachment("b", on("net", "10.0.0.5"))])

    assert addresses(state) == {"a": "10.0.0.6", "b": "10.0.0.5"}
    assert failures(state) == {}


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("10.0.0.1", "it is the gateway of network net"),
        ("10.0.0.7", "it is the auxiliary address x of network net"),
        ("10.0.0.255", "it is a reserved address of 10.0.0.0/24"),
        ("10.0.0.0", "it is a reserved address of 10.0.0.0/24"),
        ("10.9.0.1", "no configured subnet contains IP address 10.9.0.1"),
        ("fd00::5", "no configured subnet contains IP address fd00::5"),
    ],
)
def test_static_that_cannot_be_had_fails_its_attachment_alone(address: str, text: str) -> None:
    net = network("net", subnet("10.0.0.0/24", aux={"x": "10.0.0.7"}))

    state = first_pass([net], [attachment("a", on("net", address)), attachment("b", "net")])

    assert list(addresses(state)) == ["b"]
    assert list(failures(state)) == ["network net, attachment a"]
    assert text in failures(state)["network net, attachment a"]


def test_address_declared_twice_stays_with_the_attachment_that_runs_on_it() -> None:
    before = first_pass([NET], [attachment("b", on("net", "10.0.0.5"))])

    state = next_pass(before, [NET], [attachment("a", on("net", "10.0.0.5")), attachment("b", on("net", "10.0.0.5"))])

    assert addresses(state) == {"b": "10.0.0.5"}
    ((unit, error),) = state.failures
    assert unit == Unit(network="net", attachment="a")
    assert isinstance(error, AddressTaken)
    assert "Address already in use: attachment b has it" in str(error)


def test_failed_attachment_keeps_all_it_was_promised() -> None:
    other = network("other", "10.1.0.0/24")
    before = first_pass([NET, other], [attachment("x", "net", "other")])
    broken = attachment("x", on("net", "10.0.0.1"), "other")

    state = next_pass(
        before, [NET, other], [broken, attachment("a", "other"), attachment("b", on("other", "10.1.0.2"))]
    )

    assert addresses(state, "other") == {"a": "10.1.0.3"}
    assert set(failures(state)) == {"network net, attachment x", "network other, attachment b"}
    assert "attachment x has it" in failures(state)["network other, attachment b"]


def test_failed_attachments_static_moves_nobody_but_is_spared_by_new_choices() -> None:
    before = first_pass([NET], [attachment("r", "net")])
    broken = attachment("x", on("net", "10.0.0.2"), on("nowhere"))
    broken_too = attachment("y", on("net", "10.0.0.3"), on("nowhere"))

    state = next_pass(before, [NET], [attachment("r", "net"), attachment("s", "net"), broken, broken_too])

    assert addresses(state) == {"r": "10.0.0.2", "s": "10.0.0.4"}


def test_attachment_without_room_on_one_network_takes_nobodys_place_on_another() -> None:
    full, scarce = network("full", "10.1.0.0/32"), network("scarce", "10.2.0.0/30")

    state = first_pass([full, scarce], [attachment("a", "scarce", "full"), attachment("b", "scarce")])

    assert addresses(state, "scarce") == {"b": "10.2.0.2"}
    assert list(failures(state)) == ["network full, attachment a"]


def test_attachment_on_a_failed_network_stays_as_it_is_everywhere() -> None:
    bad = network("bad", "10.0.0.0/25")

    state = first_pass([NET, network("ok", "10.2.0.0/24"), bad], [attachment("a", "bad", "ok"), attachment("b", "ok")])

    # `bad` comes before `net` by name and so has the subnet.
    assert list(addresses(state, "ok")) == ["a", "b"]
    swapped = first_pass(
        [network("a-net", "10.0.0.0/24"), bad, network("ok", "10.2.0.0/24")],
        [attachment("a", "bad", "ok"), attachment("b", "ok")],
    )
    assert addresses(swapped, "ok") == {"b": "10.2.0.2"}
    assert failures(swapped)["network bad, attachment a"] == "attachment a: stays as it is until network bad can be had"


@pytest.mark.parametrize(("has_faults", "expected"), [(True, "10.0.0.3"), (False, "10.0.0.2")], ids=["faults", "clean"])
def test_address_of_an_undeclared_attachment_is_held_only_while_specs_are_unreadable(
    has_faults: bool, expected: str
) -> None:
    before = first_pass([NET], [attachment("gone", "net")])

    state = next_pass(before, [NET], [attachment("new", "net")], has_faults=has_faults)

    assert addresses(state) == {"new": expected}


def test_address_that_a_declared_attachment_left_is_free_even_while_other_specs_are_unreadable() -> None:
    other = network("other", "10.1.0.0/24")
    before = first_pass([NET, other], [attachment("a", "net")])

    state = next_pass(
        before, [NET, other], [attachment("a", "other"), attachment("b", on("net", "10.0.0.2"))], has_faults=True
    )

    assert addresses(state) == {"b": "10.0.0.2"}


def test_mac_is_made_of_the_ipv4_address() -> None:
    state = first_pass([network("net", "172.18.0.0/16")], [attachment("a", "net")])

    assert endpoint_of(state, "a").mac == "02:42:ac:12:00:02"


def test_declared_mac_wins_and_stays_when_no_longer_declared() -> None:
    before = first_pass([NET], [attachment("a", on("net", mac_address="02:00:00:00:00:01"))])

    state = next_pass(before, [NET], [attachment("a", "net")])

    assert endpoint_of(before, "a").mac == endpoint_of(state, "a").mac == "02:00:00:00:00:01"


def test_mac_made_of_an_address_is_not_kept_when_the_address_went_to_another() -> None:
    before = first_pass([NET], [attachment("a", "net")])

    state = next_pass(before, [NET], [attachment("a", on("net", "10.0.0.9")), attachment("b", "net")])

    assert endpoint_of(state, "a").mac == "02:42:0a:00:00:09"
    assert endpoint_of(state, "b").mac == "02:42:0a:00:00:02"


def test_mac_without_ipv4_is_local_unicast_and_fixed() -> None:
    net = network("net", "fd00:1::/64", is_ipv4_enabled=False)

    state = first_pass([net], [attachment("a", "net"), attachment("b", "net")])

    mac = endpoint_of(state, "a").mac
    assert mac == derived_mac(endpoint_of(state, "a").id) != endpoint_of(state, "b").mac
    assert int(mac[:2], 16) & 0b11 == 0b10


def test_mac_declared_by_one_is_not_made_for_another() -> None:
    state = first_pass([NET], [attachment("a", "net"), attachment("b", on("net", mac_address="02:42:0a:00:00:02"))])

    assert endpoint_of(state, "a").mac == derived_mac(endpoint_of(state, "a").id)


def test_mac_declared_twice_fails_the_later_attachment() -> None:
    twice = on("net", mac_address="02:00:00:00:00:01")

    state = first_pass([NET], [attachment("b", twice), attachment("a", twice)])

    assert list(addresses(state)) == ["a"]
    assert "is that of attachment a" in failures(state)["network net, attachment b"]


def test_endpoint_id_and_link_name_outlive_a_change_of_the_hosts_name() -> None:
    before = first_pass([NET], [attachment("a", "net")])

    state = next_pass(before, [NET], [attachment("a", "net")], host=replace(HOST_FACTS, name="beta"))

    assert endpoint_of(state, "a") == endpoint_of(before, "a")
