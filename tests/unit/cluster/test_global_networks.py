"""What specs say of shared networks, held against what the cluster has: the first declaration stands until all agree on another."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from reconciler.cluster.declaration import declaration, declaration_digest
from reconciler.cluster.global_networks import (
    Scopes,
    ended_endpoints,
    followed_networks,
    is_name_taken,
    with_global_networks,
)
from reconciler.cluster.objects import standpoints
from reconciler.errors import AddressesAwaited, KvUnavailable, NetworkDiffers, NetworkUndeclared, PlanError
from reconciler.model.cluster import ALONE, ClusterNode, ClusterState, GlobalNetwork, NetworkMember
from reconciler.model.objects import CLUSTER_UNIT
from reconciler.model.plugins import Scope
from reconciler.model.wanted import NetworkWanted, OverlayOptions, SubnetWanted, WantedState
from tests.unit.ipam.builders import attachment

NOT_ASKED: Scopes = {}
GLOBAL: Scopes = {("net", "ciao"): Scope(data="global", connectivity="global")}
LOCAL: Scopes = {("net", "ciao"): Scope(data="local", connectivity="global")}


def overlay(name: str = "net", **more: object) -> NetworkWanted:
    made = NetworkWanted(name=name, driver="overlay", overlay=OverlayOptions(), ipam_options=())
    return replace(made, **more)  # type: ignore[arg-type]


def external(name: str = "net") -> NetworkWanted:
    return NetworkWanted(name=name, is_external=True)


def known(wanted: NetworkWanted, **members: NetworkWanted | None) -> GlobalNetwork:
    """What the cluster has; members: what each host declares, None for one that only joined."""
    return GlobalNetwork(
        wanted=replace(
            wanted,
        ),
        id="a" * 64,
        created="2026-01-01T00:00:00Z",
        subnets=(),
        declaration=declaration(wanted),
        members=tuple(
            NetworkMember(host=host, declaration="" if said is None else declaration_digest(declaration(said)))
            for host, said in sorted(members.items())
        ),
    )


def cluster(*networks: GlobalNetwork, **more: object) -> ClusterState:
    state = ClusterState(host="alpha", networks={network.name: network for network in networks})
    return replace(state, **more)  # type: ignore[arg-type]


def joined(
    *networks: NetworkWanted,
    to: ClusterState,
    scopes: Scopes = NOT_ASKED,
    is_advertised: bool = True,
    has_faults: bool = False,
) -> tuple[WantedState, ClusterState]:
    wanted = WantedState(networks=networks, attachments=(), has_faults=has_faults)
    return with_global_networks(wanted, to, scopes, instance="mine", is_advertised=is_advertised)


def test_a_host_in_no_cluster_is_told_what_it_takes() -> None:
    lan = NetworkWanted(
        name="lan",
    )

    wanted, state = joined(lan, overlay(), external("other"), to=ALONE)

    assert {name: "--cluster-store" in str(error) for name, error in state.refused.items()} == {
        "net": True,
        "other": True,
    }
    assert lan in wanted.networks


@pytest.mark.parametrize(
    ("state", "is_advertised", "error"),
    [
        (ClusterState(host="alpha", is_known=False, outage=KvUnavailable("no answer")), True, KvUnavailable),
        (ClusterState(host="alpha"), False, PlanError),
    ],
    ids=["store never answered", "no address for the others"],
)
def test_without_the_cluster_nothing_of_it_is_tried(
    state: ClusterState, is_advertised: bool, error: type[Exception]
) -> None:
    _, told = joined(overlay(), to=state, is_advertised=is_advertised)

    assert {name: type(why) for name, why in told.refused.items()} == {"net": error, CLUSTER_UNIT.network: error}


@pytest.mark.parametrize(("is_alive", "is_refused"), [(True, True), (False, False)], ids=["alive", "dead"])
def test_another_living_host_of_the_same_name_is_not_pushed_aside(is_alive: bool, is_refused: bool) -> None:
    node = ClusterNode(name="alpha", address=ip_address("198.51.100.9"), instance="other", is_alive=is_alive)
    state = cluster(nodes={"alpha": node})

    _, told = joined(overlay(), to=state)

    assert is_name_taken(state, "mine") is is_refused
    assert {name: "198.51.100.9" in str(why) for name, why in told.refused.items()} == (
        {"net": True, CLUSTER_UNIT.network: True} if is_refused else {}
    )


def test_a_new_network_is_declared() -> None:
    wanted, state = joined(overlay(), to=cluster())

    assert state.refused == {}
    assert wanted.networks[0].declaration == declaration(overlay())


def test_the_first_declaration_stands_and_the_difference_is_told() -> None:
    theirs, mine = overlay(is_internal=True), overlay(labels=(("team", "web"),))

    _, state = joined(mine, to=cluster(known(theirs, beta=theirs, gamma=None)))

    (error,) = state.refused.values()
    assert isinstance(error, NetworkDiffers)
    assert "declared differently by beta: " in str(error)
    assert "internal" in str(error)
    assert "gamma" not in str(error)


@pytest.mark.parametrize(
    "members",
    [{"alpha": overlay(is_internal=True)}, {"alpha": overlay(is_internal=True), "beta": overlay(), "gamma": None}],
    ids=["the only one who declares it", "all others say the new thing already"],
)
def test_a_declaration_changes_when_all_who_declare_it_agree(members: dict[str, NetworkWanted | None]) -> None:
    wanted, state = joined(overlay(), to=cluster(known(overlay(is_internal=True), **members)))

    assert state.refused == {}
    assert wanted.networks[0].declaration == declaration(overlay())


def test_an_external_network_is_what_the_cluster_has() -> None:
    theirs = overlay(is_internal=True, labels=(("team", "web"),))

    wanted, state = joined(replace(external(), is_protected=True), to=cluster(known(theirs, beta=theirs)))

    (network,) = wanted.networks
    assert state.refused == {}
    assert (network.driver, network.is_internal, network.labels) == ("overlay", True, (("team", "web"),))
    assert (network.is_external, network.is_protected, network.is_listed) == (True, True, False)


def test_an_external_network_that_nobody_declares_is_waited_for() -> None:
    _, state = joined(external(), to=cluster())

    (error,) = state.refused.values()
    assert isinstance(error, NetworkUndeclared)
    assert error.is_retryable


def test_what_the_cluster_has_beside_is_listed_unless_specs_are_unreadable_or_the_host_leaves() -> None:
    lan, state = (
        NetworkWanted(
            name="lan",
        ),
        cluster(known(overlay()), known(overlay("lan"))),
    )

    assert [(n.name, n.is_listed) for n in joined(lan, to=state)[0].networks] == [("lan", False), ("net", True)]
    assert [n.name for n in joined(lan, to=state, has_faults=True)[0].networks] == ["lan"]
    assert joined(to=state)[0].networks == ()


def test_networks_of_before_are_followed_too() -> None:
    specs = WantedState(
        networks=(
            overlay("a"),
            external("b"),
            NetworkWanted(
                name="c",
            ),
        ),
        attachments=(),
    )

    assert followed_networks(specs, NOT_ASKED, ["gone"]) == {"a", "b", "gone"}


def test_subnets_are_part_of_the_declaration() -> None:
    wider = overlay(subnets=(SubnetWanted(subnet=ip_network("10.0.9.0/24")),))

    assert declaration(wider) != declaration(overlay())


def of_plugin(**more: object) -> NetworkWanted:
    return replace(NetworkWanted(name="net", driver="ciao", ipam_options=()), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scopes", "is_shared"), [(GLOBAL, True), (LOCAL, False)], ids=["global", "local"])
def test_a_plugins_network_is_shared_if_the_plugin_says_so(scopes: Scopes, is_shared: bool) -> None:
    wanted, state = joined(of_plugin(), to=cluster(), scopes=scopes)

    (network,) = wanted.networks
    assert (network.is_shared, state.refused) == (is_shared, {})
    assert network.declaration == ('{"driver":"ciao"}' if is_shared else "")
    assert followed_networks(wanted, scopes, []) == ({"net"} if is_shared else set())


@pytest.mark.parametrize(
    "scopes",
    [NOT_ASKED, {("net", "before"): GLOBAL["net", "ciao"], ("other", "ciao"): GLOBAL["net", "ciao"]}],
    ids=["nobody was asked", "others were asked"],
)
def test_a_plugin_that_was_not_asked_for_its_scope_is_waited_for(scopes: Scopes) -> None:
    for network in (of_plugin(), external()):
        wanted, state = joined(network, to=cluster(known(of_plugin(), beta=of_plugin())), scopes=scopes)

        assert [each.driver for each in wanted.networks] == ["ciao"]
        assert isinstance(state.refused["net"], AddressesAwaited)


@pytest.mark.parametrize("scopes", [NOT_ASKED, GLOBAL], ids=["not asked", "global"])
def test_in_no_cluster_a_plugins_networks_are_the_hosts_own(scopes: Scopes) -> None:
    wanted, state = joined(of_plugin(), to=ALONE, scopes=scopes)

    assert (wanted.networks, state.refused) == ((of_plugin(),), {})


def test_without_the_cluster_networks_of_local_plugins_go_on() -> None:
    state = ClusterState(host="alpha", is_known=False, outage=KvUnavailable("no answer"))

    assert set(joined(of_plugin(), to=state, scopes=GLOBAL)[1].refused) == {"net", CLUSTER_UNIT.network}
    assert set(joined(of_plugin(), to=state, scopes=LOCAL)[1].refused) == {CLUSTER_UNIT.network}


@pytest.mark.parametrize(("scopes", "is_refused"), [(GLOBAL, False), (LOCAL, True)], ids=["global", "local"])
def test_a_plugins_network_is_joined_where_the_plugin_is_of_global_scope_too(scopes: Scopes, is_refused: bool) -> None:
    theirs = of_plugin(is_internal=True)

    wanted, state = joined(external(), to=cluster(known(theirs, beta=theirs)), scopes=scopes)

    (network,) = wanted.networks
    assert (network.driver, network.is_internal, network.is_external, network.is_shared) == ("ciao", True, True, True)
    assert [type(error) for error in state.refused.values()] == ([PlanError] if is_refused else [])


def test_a_local_network_hides_one_of_the_cluster() -> None:
    wanted, state = joined(of_plugin(), to=cluster(known(overlay(), beta=overlay())), scopes=LOCAL)

    assert ([(n.driver, n.is_shared) for n in wanted.networks], state.refused) == ([("ciao", False)], {})


@pytest.mark.parametrize("driver", ["house", "null"])
def test_a_shared_network_has_its_addresses_from_the_cluster(driver: str) -> None:
    _, state = joined(of_plugin(ipam_driver=driver), to=cluster(), scopes=GLOBAL)

    assert f"leave out ipam driver '{driver}'" in str(state.refused["net"])


def test_networks_of_plugins_are_listed_like_others() -> None:
    lan = NetworkWanted(
        name="lan",
    )

    listed = joined(lan, to=cluster(known(of_plugin())))[0].networks[1]

    assert (listed.name, listed.is_listed, listed.is_shared) == ("net", True, True)


def test_hosts_that_stay_out_say_what_they_declare_and_so_come_to_agree() -> None:
    old, new = overlay(), overlay(is_internal=True)
    wanted, first = joined(new, to=cluster(known(old, alpha=old, beta=old)))
    assert isinstance(first.refused["net"], NetworkDiffers)

    (said,) = standpoints(wanted, first)

    assert (said.path, said.unit) == ("network/net/members/alpha", CLUSTER_UNIT)
    assert json.loads(said.value) == {"declaration": declaration_digest(declaration(new))}
    for host in ("alpha", "beta"):  # once both have said so, be it in turn or at once, each may change it
        both = known(old, alpha=new, beta=new)
        wanted, agreed = joined(new, to=replace(cluster(both), host=host))
        assert agreed.refused == {}
        assert list(standpoints(wanted, agreed)) == []


def test_what_is_withdrawn_from_a_network_that_others_declare_differently_goes() -> None:
    old, new = overlay(), overlay(is_internal=True)
    promised = [("net", "web"), ("net", "db"), ("lan", "web")]
    for has_faults, ended in ((False, {"db"}), (True, set())):
        wanted, state = joined(new, to=cluster(known(old, alpha=old, beta=old)), has_faults=has_faults)
        wanted = replace(wanted, attachments=(attachment("web", "net"),))

        assert {unit.attachment for unit in ended_endpoints(wanted, state, promised)} == ended
    wanted, state = joined(old, to=cluster(known(old, alpha=old, beta=old)))
    assert list(ended_endpoints(wanted, state, promised)) == []


def test_hosts_of_a_later_format_keep_this_one_out_of_shared_networks_and_nothing_else() -> None:
    nodes = {
        name: ClusterNode(name=name, address=ip_address("192.0.2.9"), instance=name, format=2)
        for name in ("beta", "gamma")
    }
    dead = {name: replace(node, is_alive=False) for name, node in nodes.items()}

    _, state = joined(overlay(), to=cluster(nodes=nodes))
    assert str(state.refused["net"]).startswith(
        "beta, gamma of the cluster run a later version, whose records this one"
    )
    _, state = joined(NetworkWanted(name="own"), to=cluster(nodes=nodes))
    assert "own" not in state.refused
    _, state = joined(overlay(), to=cluster(nodes=dead))
    assert "net" not in state.refused
