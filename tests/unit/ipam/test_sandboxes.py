"""Interface names, default routes and modes: what is chosen per sandbox."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.ipam.ifnames import IFNAME_OPTION
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST
from reconciler.model.wanted import BridgeOptions, EndpointWanted, NetworkMode
from tests.unit.ipam.builders import attachment, endpoint_of, failures, first_pass, network, next_pass, on

NETWORKS = [network(name, f"10.{number}.0.0/24") for number, name in enumerate(("Z", "a", "net10", "net2"))]
DUAL = network("dual", "10.8.0.0/24", "fd00:8::/64")
INTERNAL = network("internal", "10.9.0.0/24", is_internal=True)


def _ifnames(state: DesiredState, name: str = "x") -> dict[str, str]:
    return {e.network: e.ifname for a in state.attachments if a.name == name for e in a.endpoints}


def _order(state: DesiredState) -> list[str]:
    return [e.network for e in state.attachments[0].endpoints]


def test_interfaces_are_numbered_by_priority_then_network_name() -> None:
    state = first_pass(NETWORKS, [attachment("x", "net2", "a", "Z", on("net10", priority=5))])

    assert _ifnames(state) == {"net10": "eth0", "Z": "eth1", "a": "eth2", "net2": "eth3"}


@pytest.mark.parametrize(
    "declared",
    [on("net2", interface_name="eth0"), on("net2", options=((IFNAME_OPTION, "eth0"),))],
    ids=["interface_name", "option"],
)
def test_declared_interface_name_is_taken_and_passed_over_by_others(declared: EndpointWanted) -> None:
    state = first_pass(NETWORKS, [attachment("x", "a", declared)])

    assert _ifnames(state) == {"net2": "eth0", "a": "eth1"}


def test_prefix_of_the_network_counts_for_itself() -> None:
    prefixed = network("p", "10.7.0.0/24", options=BridgeOptions(container_iface_prefix="wan"))

    state = first_pass([*NETWORKS, prefixed], [attachment("x", "a", "p")])

    assert _ifnames(state) == {"a": "eth0", "p": "wan0"}


def test_interface_keeps_its_name_when_another_comes_before_it() -> None:
    before = first_pass(NETWORKS, [attachment("x", "net2")])

    state = next_pass(before, NETWORKS, [attachment("x", "net2", "a")])

    assert _ifnames(state) == {"net2": "eth0", "a": "eth1"}


def test_interface_is_renamed_when_its_network_gets_another_prefix() -> None:
    before = first_pass([network("p")], [attachment("x", "p")])

    state = next_pass(
        before, [network("p", options=BridgeOptions(container_iface_prefix="wan"))], [attachment("x", "p")]
    )

    assert _ifnames(state) == {"p": "wan0"}


@pytest.mark.parametrize(
    "endpoints",
    [
        (on("a", interface_name="lan"), on("Z", interface_name="lan")),
        (on("a", interface_name="lo"),),
        (on("a", interface_name="much-too-long-name"),),
    ],
    ids=["twice", "loopback", "too long"],
)
def test_interface_name_that_cannot_be_had_fails_the_attachment(endpoints: tuple[EndpointWanted, ...]) -> None:
    state = first_pass(NETWORKS, [attachment("x", *endpoints), attachment("y", "a")])

    assert list(failures(state)) == ["attachment x"]
    assert [a.name for a in state.attachments] == ["y"]


@pytest.mark.parametrize(
    ("endpoints", "winner"),
    [
        pytest.param(("net2", "net10", "a", "Z"), "Z", id="names in byte order"),
        pytest.param(("a", on("net2", priority=1)), "net2", id="priority before name"),
        pytest.param((on("a", priority=9), on("net2", gw_priority=1)), "net2", id="gw_priority before priority"),
        pytest.param((on("a", gw_priority=-1), "net2"), "net2", id="negative gw_priority"),
        pytest.param(("net2", on("internal", priority=9)), "net2", id="internal never"),
        pytest.param(("a", on("net2", priority=9), "half"), "net2", id="one family of either kind"),
    ],
)
def test_default_route_goes_through_the_most_preferred_network(
    endpoints: tuple[EndpointWanted | str, ...], winner: str
) -> None:
    half = network("half", "10.6.0.0/24", "fd00:6::/64", is_internal=True)
    state = first_pass([*NETWORKS, INTERNAL, half], [attachment("x", *endpoints)])

    assert _order(state)[0] == winner
    assert [e.network for e in state.attachments[0].endpoints if e.is_default_ipv4] == [winner]
    assert not any(e.is_default_ipv6 for e in state.attachments[0].endpoints)


def test_each_family_has_its_own_winner() -> None:
    state = first_pass([*NETWORKS, DUAL], [attachment("x", on("a", gw_priority=1), "dual")])

    a, dual = endpoint_of(state, "x", "a"), endpoint_of(state, "x", "dual")
    assert (a.is_default_ipv4, a.is_default_ipv6) == (True, False)
    assert (dual.is_default_ipv4, dual.is_default_ipv6) == (False, True)
    assert (str(dual.gateway_ipv4), str(dual.gateway_ipv6)) == ("10.8.0.1", "fd00:8::1")


def test_network_of_both_families_comes_before_priority_and_name() -> None:
    state = first_pass([*NETWORKS, DUAL], [attachment("x", "Z", on("a", priority=9), "dual")])

    assert _order(state) == ["dual", "a", "Z"]
    assert [e.network for e in state.attachments[0].endpoints if e.is_default_ipv4 or e.is_default_ipv6] == ["dual"]


def test_internal_network_with_gw_priority_is_asked_first_and_leads_nowhere() -> None:
    state = first_pass([*NETWORKS, INTERNAL], [attachment("x", on("internal", gw_priority=1), "net2")])

    assert _order(state) == ["internal", "net2"]
    assert [e.network for e in state.attachments[0].endpoints if e.is_default_ipv4] == ["net2"]


def test_internal_network_offers_no_gateway_and_comes_last() -> None:
    state = first_pass([*NETWORKS, INTERNAL], [attachment("x", "internal", "net2")])

    assert _order(state) == ["net2", "internal"]
    assert endpoint_of(state, "x", "internal").gateway_ipv4 is None


def test_attachment_on_internal_networks_alone_has_no_default_route() -> None:
    state = first_pass([INTERNAL], [attachment("x", "internal")])

    assert not endpoint_of(state, "x", "internal").is_default_ipv4


@pytest.mark.parametrize(
    ("mode", "ns"), [(NetworkMode.HOST, HOST), (NetworkMode.NONE, "netns:x")], ids=["host", "none"]
)
def test_modes_without_networks_have_one_empty_endpoint_for_inspect(mode: NetworkMode, ns: str) -> None:
    state = first_pass([], [attachment("x", mode=mode)])

    (endpoint,) = state.attachments[0].endpoints
    assert state.attachments[0].ns == endpoint.ns == ns
    assert (endpoint.network, endpoint.ifname, endpoint.link_name, endpoint.ipv4, endpoint.mac) == (
        mode.value,
        "",
        "",
        None,
        "",
    )
    assert len(endpoint.id) == 64


def test_bridge_switched_off_leaves_its_attachments_without_that_network() -> None:
    state = first_pass(NETWORKS, [attachment("x", "bridge"), attachment("y", "bridge", "a")])

    assert failures(state) == {}
    assert {a.name: [e.network for e in a.endpoints] for a in state.attachments} == {"x": [], "y": ["a"]}


def test_bridge_that_failed_is_not_switched_off() -> None:
    state = first_pass([network("bridge", ipam_driver="null")], [attachment("x", "bridge")])

    assert state.attachments == ()
    assert set(failures(state)) == {"network bridge", "network bridge, attachment x"}


def test_attachment_on_an_unknown_network_fails() -> None:
    state = first_pass(NETWORKS, [attachment("x", "nowhere")])

    assert failures(state) == {"network nowhere, attachment x": "attachment x: network nowhere is not declared"}


def test_order_of_the_input_is_irrelevant() -> None:
    attachments = [attachment("x", "a", "Z"), attachment("y", "Z", on("net2", "10.3.0.9"))]
    turned = [replace(a, endpoints=a.endpoints[::-1]) for a in attachments[::-1]]

    one, other = first_pass(NETWORKS, attachments), first_pass(NETWORKS[::-1], turned)

    assert one.networks == other.networks
    assert [a.endpoints for a in one.attachments] == [a.endpoints for a in other.attachments]
