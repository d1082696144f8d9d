"""What the codec of the cluster's records keeps for any network, and for whatever others may have written."""

from __future__ import annotations

import json
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.cluster.declaration import declaration, declared_network, differences
from reconciler.cluster.records import claims, endpoint_record, info_record, member_record, network_record
from reconciler.model.cluster import ClusterEndpoint, ClusterNode, ClusterState, GlobalNetwork, NetworkMember
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet
from reconciler.model.objects import ClusterRecord
from reconciler.model.wanted import SubnetWanted
from tests.fakes.cluster import decoded, endpoint, node, overlay, stored, texts

IPV4_POOLS = ("10.0.0.0/29", "10.0.8.0/24", "172.16.0.0/31")
IPV6_POOLS = ("fd00:1::/64", "fd00:2::/120")
POOLS = (
    st.lists(st.sampled_from(IPV4_POOLS), min_size=1, unique=True)
    | st.lists(st.sampled_from(IPV6_POOLS), min_size=1, unique=True)
    | st.tuples(st.sampled_from(IPV4_POOLS), st.sampled_from(IPV6_POOLS))
)
"""An overlay network has several subnets of one family, or one of each."""
HOSTS = ("alpha", "beta", "gamma")


@st.composite
def networks(draw: st.DrawFn) -> DesiredNetwork:
    pools = [ip_network(text) for text in draw(POOLS)]
    versions = {pool.version for pool in pools}
    base = overlay(draw(st.sampled_from(("over", "x.y", "a_b"))))
    subnets = []
    for number, pool in enumerate(pools):
        gateway = draw(st.sampled_from((None, pool[1])))
        is_declared = draw(st.booleans())
        subnets.append(
            DesiredSubnet(
                subnet=pool,
                gateway=gateway,
                default_gateway=gateway,
                ip_range=draw(st.sampled_from((None, *pool.subnets()))),
                aux_addresses=(("router", pool[-2]),) if pool.num_addresses > 2 and draw(st.booleans()) else (),
                is_declared=is_declared,
                is_gateway_declared=is_declared and gateway is not None,
                vni=draw(st.integers(0, 1000)) * 10 + number + 1,
            )
        )
    wanted = replace(
        base.wanted,
        subnets=tuple(SubnetWanted(subnet=one.subnet, gateway=one.gateway) for one in subnets if one.is_declared),
        is_internal=draw(st.booleans()),
        is_attachable=draw(st.booleans()),
        is_ipv6_enabled=6 in versions or draw(st.booleans()),
        is_ipv4_enabled=4 in versions or draw(st.booleans()),
        labels=tuple(sorted(draw(st.dictionaries(st.sampled_from("abc"), st.text("xyz {}\"'ü", max_size=5))).items())),
    )
    return replace(base, wanted=wanted, subnets=tuple(subnets))


@st.composite
def places(draw: st.DrawFn) -> list[tuple[DesiredEndpoint, str]]:
    """Endpoints on `over`, each with its host."""
    hosts = draw(st.lists(st.integers(2, 254), max_size=6, unique=True))
    return [(endpoint(f"a{n:03}", f"10.0.9.{n}/24"), draw(st.sampled_from(HOSTS))) for n in hosts]


@given(networks())
def test_networks_read_back_as_they_were_written(network: DesiredNetwork) -> None:
    state = decoded(texts(network_record(network)), followed=(network.name,))

    assert state.faults == ()
    assert state.networks == {
        network.name: GlobalNetwork(
            wanted=network.wanted,
            id=network.id,
            created=network.created,
            subnets=network.subnets,
            declaration=declaration(network.wanted),
        )
    }
    assert declared_network(network.name, json.loads(declaration(network.wanted))) == network.wanted
    assert len(claims(network_record(network))) == sum(1 + (not one.is_declared) for one in network.subnets)


@given(networks(), networks())
def test_declarations_differ_exactly_when_something_can_be_told(one: DesiredNetwork, other: DesiredNetwork) -> None:
    mine, theirs = declaration(one.wanted), declaration(other.wanted)

    assert bool(differences(mine, theirs)) == (mine != theirs)


@given(places())
def test_endpoints_read_back_as_they_were_written(found: list[tuple[DesiredEndpoint, str]]) -> None:
    records = [endpoint_record(one, host, (one.attachment, "www")) for one, host in found]

    state = decoded({**stored("alpha"), **texts(*records)})

    assert state.faults == ()
    assert [(e.name, e.host, e.id, e.mac, e.ipv4, e.ipv6, e.names) for e in state.networks["over"].endpoints] == [
        (one.attachment, host, one.id, one.mac, one.ipv4, one.ipv6, (one.attachment, "www"))
        for one, host in sorted(found, key=lambda pair: pair[0].attachment)
    ]


@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.booleans(), st.sampled_from(("", "0" * 32))), max_size=3))
def test_hosts_and_members_read_back_as_they_were_written(hosts: list[tuple[str, bool, str]]) -> None:
    nodes = {name: replace(node(name, is_watched=is_watched), is_alive=not is_watched) for name, is_watched, _ in hosts}
    digests = {name: digest for name, _, digest in hosts}

    state = decoded(
        texts(
            network_record(overlay()),
            *map(info_record, nodes.values()),
            *(member_record("over", name, digest) for name, digest in digests.items()),
        )
    )

    assert state.nodes == nodes
    assert state.networks["over"].members == tuple(
        NetworkMember(host=name, declaration=digest) for name, digest in sorted(digests.items())
    )


SEGMENTS = st.sampled_from(
    (
        *"nN/ .",
        "nodes",
        "networks",
        "network",
        "members",
        "endpoints",
        "revisions",
        "info",
        "life",
        "left",
        "over",
        "alpha",
    )
)
PATHS = st.lists(SEGMENTS, max_size=5).map("/".join) | st.text(max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from((*IPV4_POOLS, *IPV6_POOLS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=5,
)
FIELDS = (
    *(
        "address",
        "instance",
        "watched",
        "at",
        "id",
        "created",
        "declaration",
        "subnets",
        "host",
        "mac",
        "ipv4",
        "ipv6",
        "names",
    ),
    *("driver", "driver_opts", "ipam", "labels", "subnet", "gateway", "vni", "aux", "declared", "ip_range"),
)
RECORDS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6).map(json.dumps)


@given(st.dictionaries(PATHS, RECORDS | JSON.map(json.dumps) | st.text(max_size=40), max_size=3))
def test_whatever_others_wrote_harms_nothing_that_is_well_formed(strange: dict[str, str]) -> None:
    good = {**stored("beta"), **texts(endpoint_record(endpoint("web"), "beta", ["web"]))}

    state = decoded({**strange, **good})

    assert isinstance(state, ClusterState)
    assert state.nodes["beta"] == node("beta")
    assert isinstance(state.nodes["beta"], ClusterNode)
    assert [one.name for one in state.networks["over"].endpoints if isinstance(one, ClusterEndpoint)] == ["web"]


@given(st.sampled_from(("networks/over", "network/over/endpoints/web")), st.data())
def test_one_field_gone_wrong_never_raises(path: str, data: st.DataObject) -> None:
    good = {**stored("alpha"), **texts(endpoint_record(endpoint("web"), "alpha", ["web"]))}
    fields = json.loads(good[path])
    name = data.draw(st.sampled_from(sorted(fields)))
    text = json.dumps({**fields, name: data.draw(JSON)})

    assert isinstance(decoded({**good, path: text}), ClusterState)
    assert isinstance(claims(ClusterRecord(path=path, value=text)), tuple)
