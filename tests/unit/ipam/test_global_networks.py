"""Pools and VNIs of networks that hosts share: the first choice stands, and nobody gets what another network has."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from msgspec.structs import replace

from reconciler.errors import AddressTaken, NameConflict, PoolOverlap
from reconciler.ipam.assign import assign
from reconciler.ipam.promises import EndpointPromise, NetworkPromise, Promises, decode_promises, network_record
from reconciler.model.cluster import ALONE, ClusterEndpoint, ClusterNode, ClusterState, GlobalNetwork
from reconciler.model.desired import DesiredState, DesiredSubnet
from reconciler.model.identifiers import HOST as HOST_NS
from reconciler.model.identifiers import VNI_MAX, endpoint_id, global_network_id, overlay_ns
from reconciler.model.objects import Unit
from reconciler.model.plugins import Node
from reconciler.model.wanted import NetworkWanted, OverlayOptions, SubnetWanted
from tests.fakes.desired import host_facts
from tests.unit.ipam.builders import attachment, network, on, promised, wanted_state

HOST = replace(host_facts(), vtep=ip_address("198.51.100.1"))


def overlay(name: str, *subnets: str, vnis: tuple[int, ...] = (), is_ipv6: bool = False) -> NetworkWanted:
    return NetworkWanted(
        name=name,
        driver="overlay",
        overlay=OverlayOptions(vnis=vnis),
        subnets=tuple(SubnetWanted(subnet=ip_network(subnet)) for subnet in subnets),
        is_ipv6_enabled=is_ipv6,
        declaration=f"of {name}",
        is_shared=True,
    )


def known(
    network: NetworkWanted, *subnets: tuple[str, int], endpoints: tuple[ClusterEndpoint, ...] = ()
) -> GlobalNetwork:
    return GlobalNetwork(
        wanted=network,
        id=global_network_id(network.name),
        created="2026-01-01T00:00:00Z",
        declaration=network.declaration,
        subnets=tuple(
            DesiredSubnet(subnet=ip_network(s), gateway=ip_network(s)[1], default_gateway=ip_network(s)[1], vni=vni)
            for s, vni in subnets
        ),
        endpoints=endpoints,
    )


def there(network: str, name: str, address: str, host: str = "beta") -> ClusterEndpoint:
    return ClusterEndpoint(
        network=network,
        name=name,
        id=endpoint_id(host, network, name),
        host=host,
        mac="02:42:" + ip_interface(address).ip.packed.hex(":"),
        ipv4=ip_interface(address),  # type: ignore[arg-type]  # IPv4 in these tests
        names=(name,),
    )


def cluster(
    *networks: GlobalNetwork, contended: frozenset[str] = frozenset(), is_beta_alive: bool = True
) -> ClusterState:
    beta = ClusterNode(name="beta", address=ip_address("198.51.100.2"), instance="b", is_alive=is_beta_alive)
    return ClusterState(
        host=HOST.name, nodes={"beta": beta}, networks={n.name: n for n in networks}, contended=contended
    )


def chosen(state: DesiredState, network: str) -> list[tuple[str, int | None]]:
    found = next(each for each in state.networks if each.name == network)
    return [(str(subnet.subnet), subnet.vni) for subnet in found.subnets]


def drawn(state: DesiredState, *networks: str) -> list[int]:
    found = [vni for network in networks for _, vni in chosen(state, network)]
    assert all(vni is not None and 256 <= vni <= VNI_MAX for vni in found)
    return [vni for vni in found if vni is not None]


def test_the_first_networks_get_the_lowest_pools() -> None:
    state = assign(wanted_state([overlay("a"), overlay("b", is_ipv6=True)]), HOST, Promises(), cluster())

    assert [pool for pool, _ in chosen(state, "a")] == ["10.0.0.0/24"]
    ipv4, ipv6 = [pool for pool, _ in chosen(state, "b")]
    assert ipv4 == "10.0.1.0/24"
    assert ip_network(ipv6).subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]  # both IPv6
    found = state.networks[0]
    assert (found.id, found.scope, found.ns) == (
        global_network_id("a"),
        "global",
        overlay_ns(global_network_id("a"), HOST.instance),
    )


def test_vnis_are_drawn_from_all_there_are_and_another_host_draws_others() -> None:
    names = [f"n{number}" for number in range(40)]
    specs = wanted_state([overlay(name) for name in names])
    mine, again, theirs = (
        drawn(assign(specs, HOST, Promises(), replace(cluster(), seed=seed)), *names) for seed in ("a", "a", "b")
    )

    assert mine == again
    assert len({*mine, *theirs}) == 80
    quarters = {(vni << 2) // (VNI_MAX + 1) for vni in mine}
    assert quarters == {0, 1, 2, 3}
    assert "secret" not in repr(replace(cluster(), seed="secret"))


def test_a_drawn_vni_that_another_network_has_is_not_taken() -> None:
    (first,) = drawn(assign(wanted_state([overlay("a")]), HOST, Promises(), cluster()), "a")

    state = assign(wanted_state([overlay("a")]), HOST, Promises(), cluster(known(overlay("z"), ("10.9.0.0/24", first))))

    assert drawn(state, "a") != [first]


def test_what_the_cluster_has_stands() -> None:
    declared = overlay("a")

    state = assign(wanted_state([declared]), HOST, Promises(), cluster(known(declared, ("10.9.0.0/24", 4711))))

    assert chosen(state, "a") == [("10.9.0.0/24", 4711)]
    assert state.networks[0].created == "2026-01-01T00:00:00Z"


def test_other_networks_pools_and_the_hosts_routes_are_kept_clear_of() -> None:
    others = cluster(known(overlay("z"), ("10.0.0.0/23", 256)))
    host = replace(HOST, routes=((ip_network("10.0.2.0/24"), "eth0"),))

    state = assign(wanted_state([overlay("a")]), host, Promises(), others)

    assert [pool for pool, _ in chosen(state, "a")] == ["10.0.3.0/24"]


def test_a_declared_subnet_may_be_another_overlay_networks_too() -> None:
    others = cluster(known(overlay("z", "10.0.9.0/24"), ("10.0.9.0/24", 256)))

    state = assign(wanted_state([overlay("a", "10.0.9.0/24")]), HOST, Promises(), others)

    assert [pool for pool, _ in chosen(state, "a")] == ["10.0.9.0/24"]
    assert state.failures == ()


def test_nobody_is_on_two_networks_with_one_subnet() -> None:
    both = attachment("web", "a", "b")

    state = assign(
        wanted_state([overlay("a", "10.0.9.0/24"), overlay("b", "10.0.9.0/25")], [both]), HOST, Promises(), cluster()
    )

    assert [(unit.attachment, type(error)) for unit, error in state.failures] == [("web", PoolOverlap)]


def test_declared_vnis_are_taken_and_another_networks_are_refused() -> None:
    others = cluster(known(overlay("z"), ("10.1.0.0/24", 300)))
    specs = wanted_state(
        [overlay("a", "10.2.0.0/24", "10.3.0.0/24", vnis=(7, 8)), overlay("b", "10.4.0.0/24", vnis=(300,))]
    )

    state = assign(specs, HOST, Promises(), others)

    assert chosen(state, "a") == [("10.2.0.0/24", 7), ("10.3.0.0/24", 8)]
    assert [(unit, "vni 300 is that of network z" in str(error)) for unit, error in state.failures] == [
        (Unit(network="b"), True)
    ]


def test_a_lost_store_is_given_back_what_was_promised() -> None:
    state = assign(wanted_state([overlay("a"), overlay("b")]), HOST, Promises(), cluster())

    again = assign(wanted_state([overlay("b")]), HOST, promised(state), cluster())

    assert chosen(again, "b") == chosen(state, "b") != []


@pytest.mark.parametrize("vni", ['"7"', "0", "16777216", "true", "null", "[]"])
def test_a_promised_vni_that_is_none_harms_its_record_only(vni: str) -> None:
    state = assign(wanted_state([overlay("a")]), HOST, Promises(), cluster())
    record = network_record(state.networks[0])

    kept, faults = decode_promises({record.path: record.value.replace(f'"vni":{drawn(state, "a")[0]}', f'"vni":{vni}')})

    assert kept.networks == {}
    assert len(faults) == 1


def test_addresses_on_other_hosts_are_left_alone_dead_or_alive() -> None:
    for is_alive in (True, False):
        net = overlay("a", "10.0.9.0/24")
        others = cluster(
            known(net, ("10.0.9.0/24", 256), endpoints=(there("a", "db", "10.0.9.2/24"),)), is_beta_alive=is_alive
        )

        state = assign(wanted_state([net], [attachment("web", "a")]), HOST, Promises(), others)

        assert str(state.attachments[0].endpoints[0].ipv4) == "10.0.9.3/24"


def test_an_address_that_another_host_got_meanwhile_is_given_up() -> None:
    net = overlay("a", "10.0.9.0/24")
    promised = EndpointPromise(
        network="a",
        attachment="web",
        id=endpoint_id(HOST.name, "a", "web"),
        ipv4=ip_interface("10.0.9.2/24"),  # type: ignore[arg-type]
    )
    promises = Promises(
        networks={"a": NetworkPromise(name="a", id=global_network_id("a"), created="")},
        endpoints={("a", "web"): promised},
    )
    others = cluster(known(net, ("10.0.9.0/24", 256), endpoints=(there("a", "db", "10.0.9.2/24"),)))

    state = assign(wanted_state([net], [attachment("web", "a")]), HOST, promises, others)

    assert str(state.attachments[0].endpoints[0].ipv4) == "10.0.9.3/24"


@pytest.mark.parametrize(
    ("name", "addresses", "error"),
    [("db", (), NameConflict), ("web", ("10.0.9.2",), AddressTaken)],
    ids=["name", "address"],
)
def test_an_endpoint_is_withdrawn_when_another_host_has_its_name_or_declared_address(
    name: str, addresses: tuple[str, ...], error: type[Exception]
) -> None:
    net = overlay("a", "10.0.9.0/24")
    others = cluster(known(net, ("10.0.9.0/24", 256), endpoints=(there("a", "db", "10.0.9.2/24"),)))
    mine = attachment(name, on("a", *addresses), "lan")

    state = assign(wanted_state([net, network("lan")], [mine]), HOST, Promises(), others)

    assert [(unit, type(why)) for unit, why in state.withdrawn] == [(Unit(network="a", attachment=name), error)]
    assert [each.network for each in state.attachments[0].endpoints] == ["lan"]
    assert state.failures == ()


def test_after_a_lost_race_hosts_look_in_different_places() -> None:
    net = overlay("a", "10.8.0.0/16")
    addresses = set()
    for host in ("alpha", "beta", "gamma"):
        others = replace(cluster(known(net, ("10.8.0.0/16", 256)), contended=frozenset(("a",))), host=host)
        state = assign(wanted_state([net], [attachment("web", "a")]), HOST, Promises(), others)
        addresses.add(state.attachments[0].endpoints[0].ipv4)

    assert len(addresses) == 3


def test_a_shared_network_of_a_plugin_has_a_pool_of_the_clusters_and_no_vni() -> None:
    fabric = replace(overlay("a"), driver="ciao", overlay=None)
    state = assign(wanted_state([fabric, overlay("b")], [attachment("web", "a")]), HOST, Promises(), cluster())

    assert chosen(state, "a") == [("10.0.0.0/24", None)]
    assert len(drawn(state, "b")) == 1
    found = state.networks[0]
    assert (found.id, found.scope, found.ns) == (global_network_id("a"), "global", HOST_NS)
    assert str(state.attachments[0].endpoints[0].ipv4) == "10.0.0.2/24"
    promises, _ = decode_promises({record.path: record.value for record in map(network_record, state.networks)})
    assert {name: each.is_shared for name, each in promises.networks.items() if each.is_shared} == {
        "a": True,
        "b": True,
    }


def test_plugins_are_told_of_the_living_and_of_this_host_whatever_its_sign_says() -> None:
    def nodes(state: ClusterState) -> object:
        return assign(wanted_state([network("lan")]), HOST, Promises(), state).nodes

    here = ClusterNode(name=HOST.name, address=ip_address("198.51.100.1"), instance="a", is_alive=False)
    for is_beta_alive in (True, False):
        state = cluster(is_beta_alive=is_beta_alive)
        state = replace(state, nodes={**state.nodes, HOST.name: here})
        beta = (Node(address="198.51.100.2", is_self=False),) if is_beta_alive else ()
        assert nodes(state) == (*beta, Node(address="198.51.100.1", is_self=True))
    assert nodes(ClusterState(host=HOST.name, is_known=False)) is None
    assert nodes(ALONE) == ()
