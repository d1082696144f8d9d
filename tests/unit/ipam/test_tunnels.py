"""Which hosts and ports of VXLAN the firewall lets through."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_address

from msgspec.structs import replace

from reconciler.ipam.tunnels import tunnels
from reconciler.model.cluster import ClusterState
from reconciler.model.desired import Tunnels
from reconciler.model.wanted import NetworkWanted, OverlayOptions
from tests.fakes.cluster import decoded, stored
from tests.fakes.desired import host_facts

LISTED = NetworkWanted(name="over", driver="overlay", overlay=OverlayOptions(), is_shared=True, is_listed=True)
LOCAL = NetworkWanted(name="lan")
HOST = replace(host_facts(), vtep=ip_address("192.0.2.1"))


def found(cluster: ClusterState, *networks: NetworkWanted, joined: Set[str] = frozenset()) -> Tunnels | None:
    return tunnels(HOST, networks, joined, cluster)


def test_host_that_has_only_networks_of_its_own_knows_the_others() -> None:
    assert found(decoded(stored("beta", "gamma")), LISTED, LOCAL) == Tunnels(
        local=ip_address("192.0.2.1"), peers=(ip_address("192.0.2.2"),), ports=(4789,), own_ports=()
    )


def test_host_that_has_left_knows_nobody() -> None:
    assert found(decoded(stored("beta", "gamma")), LISTED) is None


def test_host_that_leaves_knows_the_others_until_its_last_endpoint_is_gone() -> None:
    assert found(decoded(stored("alpha", "beta")), LISTED, joined={"over"}) is not None
