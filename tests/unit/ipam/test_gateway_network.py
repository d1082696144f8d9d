"""Who gets a way out of overlay networks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from reconciler.ipam.assign import assign
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.promises import Promises
from reconciler.model.identifiers import GATEWAY_NETWORK
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    GatewayMode,
    NetworkMode,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    SubnetWanted,
    WantedState,
)
from tests.fakes.desired import host_facts

OVERLAY = NetworkWanted(name="zone", driver="overlay", subnets=(SubnetWanted(subnet=ip_network("10.0.9.0/24")),))
HIDDEN = replace(OVERLAY, name="hidden", is_internal=True, subnets=(SubnetWanted(subnet=ip_network("10.0.8.0/24")),))
BRIDGE = NetworkWanted(name="lan", bridge=BridgeOptions())
ISOLATED = replace(BRIDGE, name="cell", is_internal=True, bridge=BridgeOptions(gateway_mode_ipv4=GatewayMode.ISOLATED))
IPV6_ONLY = replace(BRIDGE, name="six", is_ipv4_enabled=False, is_ipv6_enabled=True)


def attachment(*networks: str) -> AttachmentWanted:
    return AttachmentWanted(
        name="web",
        sandbox=SandboxRef(SandboxKind.NETNS, "web"),
        endpoints=tuple(
            EndpointWanted(
                network=name,
            )
            for name in networks
        ),
    )


def state(*networks: str, declared: tuple[NetworkWanted, ...] = ()) -> WantedState:
    known = (BRIDGE, ISOLATED, HIDDEN, IPV6_ONLY, OVERLAY, *declared)
    return WantedState(networks=known, attachments=(attachment(*networks),))


@pytest.mark.parametrize(
    ("networks", "is_joined"),
    [
        (("zone",), True),
        (("hidden",), False),
        (("hidden", "zone"), True),
        (("lan",), False),
        (("lan", "zone"), False),
        (("cell", "zone"), True),
        (("six", "zone"), True),
        ((), False),
    ],
    ids=["overlay", "internal overlay", "both", "bridge", "bridge and overlay", "isolated", "ipv6 only", "nothing"],
)
def test_the_gateway_network_is_joined_where_nothing_else_leads_out(
    networks: tuple[str, ...], *, is_joined: bool
) -> None:
    made = with_gateway_network(state(*networks))

    assert (GATEWAY_NETWORK in [network.name for network in made.networks]) == is_joined
    assert [e.network for e in made.attachments[0].endpoints if e.is_gateway] == [GATEWAY_NETWORK] * is_joined


def test_the_implied_network_is_as_the_engine_makes_it() -> None:
    made = with_gateway_network(state("zone"))

    network = next(network for network in made.networks if network.name == GATEWAY_NETWORK)
    assert dict(network.options) == {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.name": "docker_gwbridge",
    }
    assert network.bridge == BridgeOptions(link_name="docker_gwbridge", is_icc_enabled=False)
    assert not network.subnets


def test_a_declared_gateway_network_is_used_as_it_is() -> None:
    mine = replace(BRIDGE, name=GATEWAY_NETWORK, subnets=(SubnetWanted(subnet=ip_network("192.0.2.0/24")),))

    made = with_gateway_network(state("zone", declared=(mine,)))

    assert [network for network in made.networks if network.name == GATEWAY_NETWORK] == [mine]


def test_a_second_time_changes_nothing() -> None:
    once = with_gateway_network(state("zone"))

    assert with_gateway_network(once) is once


def test_who_declares_the_gateway_network_itself_is_on_it_like_on_any_other() -> None:
    mine = replace(BRIDGE, name=GATEWAY_NETWORK)
    wanted = state("zone", GATEWAY_NETWORK, declared=(mine,))

    assert with_gateway_network(wanted) is wanted


@pytest.mark.parametrize("mode", [NetworkMode.NONE, NetworkMode.HOST])
def test_other_modes_have_nothing_to_do_with_it(mode: NetworkMode) -> None:
    wanted = replace(state("zone"), attachments=(replace(attachment("zone"), mode=mode),))

    assert with_gateway_network(wanted) is wanted


def test_the_way_out_is_the_default_route_and_numbered_after_the_overlay() -> None:
    desired = assign(with_gateway_network(state("zone")), host_facts(), Promises())

    overlay, way_out = sorted(desired.attachments[0].endpoints, key=lambda endpoint: endpoint.ifname)
    assert (overlay.network, overlay.ifname, overlay.gateway_ipv4, overlay.is_default_ipv4) == (
        "zone",
        "eth0",
        None,
        False,
    )
    assert (way_out.network, way_out.ifname, way_out.is_default_ipv4) == (GATEWAY_NETWORK, "eth1", True)
    assert way_out.ipv4 is not None
    assert way_out.gateway_ipv4 == way_out.ipv4.network[1]


@pytest.mark.parametrize(
    ("host", "mtu"),
    [
        (host_facts(), 1450),
        (replace(host_facts(), underlay_mtu=9000), 8950),
        (replace(host_facts(), uplink_mtu=1400), 1350),
        (replace(host_facts(), vtep=ip_network("2001:db8::/64")[1]), 1430),
    ],
    ids=["ethernet", "jumbo underlay", "small uplink", "ipv6 underlay"],
)
def test_an_overlay_leaves_room_for_vxlan(host: object, mtu: int) -> None:
    desired = assign(state("zone"), host, Promises())  # type: ignore[arg-type]

    assert next(network.mtu for network in desired.networks if network.name == "zone") == mtu
