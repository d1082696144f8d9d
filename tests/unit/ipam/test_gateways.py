from __future__ import annotations

import pytest

from reconciler.model.wanted import BridgeOptions, GatewayMode
from tests.unit.ipam.builders import (
    addresses,
    attachment,
    failures,
    first_pass,
    network,
    network_of,
    next_pass,
    subnet,
    subnet_of,
)

ISOLATED = BridgeOptions(gateway_mode_ipv4=GatewayMode.ISOLATED)
INHIBITED = BridgeOptions(is_ipv4_inhibited=True)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(subnet("10.0.0.0/16"), "10.0.0.1", id="first of the subnet"),
        pytest.param(subnet("10.0.0.0/16", ip_range="10.0.5.0/24"), "10.0.5.0", id="first of the range"),
        pytest.param(subnet("10.0.0.0/16", gateway="10.0.0.254"), "10.0.0.254", id="declared"),
        pytest.param(subnet("10.0.0.0/16", aux={"router": "10.0.0.1"}), "10.0.0.2", id="beside an auxiliary address"),
        pytest.param(subnet("10.0.0.0/31"), "10.0.0.0", id="point to point"),
        pytest.param(subnet("10.0.0.7/32"), "10.0.0.7", id="single address"),
    ],
)
def test_gateway_is_declared_or_the_first_free(entry: object, expected: str) -> None:
    state = first_pass([network("net", entry)])  # type: ignore[arg-type]

    assert str(subnet_of(state, "net").gateway) == expected


def test_declared_and_chosen_are_told_apart() -> None:
    state = first_pass(
        [network("a"), network("b", "10.1.0.0/24"), network("c", subnet("10.2.0.0/24", gateway="10.2.0.9"))]
    )

    told = {n.name: (n.subnets[0].is_declared, n.subnets[0].is_gateway_declared) for n in state.networks}
    assert told == {"a": (False, False), "b": (True, False), "c": (True, True)}


def test_promised_gateway_stays_when_a_range_is_added() -> None:
    before = first_pass([network("net", "10.0.0.0/16")])

    state = next_pass(before, [network("net", subnet("10.0.0.0/16", ip_range="10.0.5.0/24"))])

    assert str(subnet_of(state, "net").gateway) == "10.0.0.1"


def test_promised_gateway_gives_way_to_an_auxiliary_address() -> None:
    before = first_pass([network("net", "10.0.0.0/24")])

    state = next_pass(before, [network("net", subnet("10.0.0.0/24", aux={"router": "10.0.0.1"}))])

    assert str(subnet_of(state, "net").gateway) == "10.0.0.2"


@pytest.mark.parametrize(
    ("options", "is_internal", "expected"),
    [
        pytest.param(ISOLATED, True, None, id="isolated"),
        pytest.param(INHIBITED, True, None, id="inhibited and internal"),
        pytest.param(INHIBITED, False, "10.0.0.1", id="inhibited only"),
    ],
)
def test_networks_where_nobody_answers_have_no_gateway(
    options: BridgeOptions, is_internal: bool, expected: str | None
) -> None:
    state = first_pass([network("net", "10.0.0.0/24", options=options, is_internal=is_internal)])

    gateway = subnet_of(state, "net").gateway
    assert (str(gateway) if gateway else None) == expected


def test_address_without_gateway_is_free_for_endpoints_unless_declared() -> None:
    plain = first_pass([network("net", "10.0.0.0/24", options=ISOLATED, is_internal=True)], [attachment("a", "net")])
    declared = subnet("10.0.0.0/24", gateway="10.0.0.1")
    reserved = first_pass([network("net", declared, options=ISOLATED, is_internal=True)], [attachment("a", "net")])

    assert addresses(plain) == {"a": "10.0.0.1"}
    assert addresses(reserved) == {"a": "10.0.0.2"}
    assert not subnet_of(reserved, "net").is_gateway_declared


def test_isolation_of_one_family_leaves_the_other_its_gateway() -> None:
    state = first_pass([network("net", "10.0.0.0/24", "fd00:1::/64", options=ISOLATED, is_internal=True)])

    assert [str(s.gateway) for s in network_of(state, "net").subnets] == ["None", "fd00:1::1"]


def test_auxiliary_default_gateway_is_the_containers_way_out() -> None:
    aux = {"DefaultGatewayIPv4": "10.0.0.254", "DefaultGatewayIPv6": "10.0.0.253"}

    state = first_pass([network("net", subnet("10.0.0.0/24", aux=aux))])

    assert str(subnet_of(state, "net").gateway) == "10.0.0.1"
    assert str(subnet_of(state, "net").default_gateway) == "10.0.0.254"


def test_pool_without_room_for_a_gateway_fails_the_network() -> None:
    state = first_pass([network("net", subnet("10.0.0.0/30", aux={"a": "10.0.0.1", "b": "10.0.0.2"}))])

    assert "no room for a gateway" in failures(state)["network net"]
