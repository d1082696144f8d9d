from __future__ import annotations

import json
from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from reconciler.cluster.question import ClusterQuestion
from reconciler.cluster.reading import RECORD_MAX
from reconciler.cluster.records import info_record, life_path, life_value, member_record, network_record
from reconciler.cluster.state import StateDecoder
from reconciler.model.cluster import ClusterEndpoint, ClusterNode, NetworkMember
from tests.fakes.cluster import NOW, decoded, hex_id, node, ours, overlay, placed, stored, texts


def changed(text: str, **fields: object) -> str:
    return json.dumps({**json.loads(text), **fields})


def test_everything_reads_back() -> None:
    network = overlay("over", "10.0.9.0/24", "fd00:9::/64", is_declared=True)
    records = {
        **texts(network_record(network), member_record("over", "alpha", "d" * 32), member_record("over", "beta", "")),
        **texts(placed("web", "10.0.9.2/24", "fd00:9::2/64"), placed("db", "10.0.9.3/24", host="beta")),
        **texts(info_record(node("alpha")), info_record(node("beta", "2001:db8::1"))),
    }

    state = decoded(records)

    found = state.networks["over"]
    assert state.faults == ()
    assert (found.wanted, found.id, found.created, found.subnets) == (
        network.wanted,
        network.id,
        network.created,
        network.subnets,
    )
    assert found.members == (
        NetworkMember(host="alpha", declaration="d" * 32),
        NetworkMember(host="beta", declaration=""),
    )
    assert found.endpoints[1] == ClusterEndpoint(
        network="over",
        name="web",
        id=hex_id("over", "web"),
        host="alpha",
        mac=found.endpoints[1].mac,
        ipv4=ip_interface("10.0.9.2/24"),  # type: ignore[arg-type]
        ipv6=ip_interface("fd00:9::2/64"),  # type: ignore[arg-type]
        names=("web",),
    )
    assert state.nodes == {"alpha": node("alpha"), "beta": node("beta", "2001:db8::1")}


def aliveness(host: ClusterNode, *, has_life: bool) -> bool:
    life = {life_path("nodes/", "beta"): life_value("i-beta")} if has_life else {}
    return decoded({**texts(info_record(host)), **life}).nodes["beta"].is_alive


def test_host_is_alive_by_its_sign_or_where_none_is_expected() -> None:
    watched, unwatched = node("beta", is_watched=True), node("beta")

    assert aliveness(watched, has_life=True)
    assert not aliveness(watched, has_life=False)
    assert aliveness(unwatched, has_life=False)


MALFORMED_ENDPOINTS = {
    "not json": "{",
    "no object": "[]",
    "deep": "[" * 100_000,
    "giant": json.dumps({"names": "x" * RECORD_MAX}),
    "giant number": '{"id":' + "9" * 10_000 + "}",
    "no id": {"id": None},
    "upper-case id": {"id": "A" * 64},
    "host is no name": {"host": "../x"},
    "host is a number": {"host": 7},
    "multicast mac": {"mac": "03:42:00:00:00:01"},
    "no mac": {"mac": "00:00:00:00:00:00"},
    "mac with a line break": {"mac": "02:42:00:00:00:01\n"},
    "no address": {"ipv4": None},
    "outside": {"ipv4": "10.0.8.2/24"},
    "other prefix": {"ipv4": "10.0.9.2/16"},
    "network address": {"ipv4": "10.0.9.0/24"},
    "broadcast": {"ipv4": "10.0.9.255/24"},
    "gateway": {"ipv4": "10.0.9.1/24"},
    "multicast": {"ipv4": "224.0.0.1/24"},
    "loopback": {"ipv4": "127.0.0.1/8"},
    "unspecified": {"ipv4": "0.0.0.0/0"},
    "wrong family": {"ipv4": "fd00::2/64"},
    "scoped": {"ipv6": "fe80::1%eth0/64"},
    "address is a number": {"ipv4": 167774466},
    "names is text": {"names": "web"},
    "name is no name": {"names": ["a b"]},
    "name in capitals": {"names": ["WEB"]},
    "many names": {"names": ["a"] * 257},
}


@pytest.mark.parametrize("fault", MALFORMED_ENDPOINTS.values(), ids=MALFORMED_ENDPOINTS.keys())
def test_bad_endpoint_is_left_out_and_harms_nothing_else(fault: str | dict[str, object]) -> None:
    good, bad = placed("db", "10.0.9.3/24", host="beta"), placed("web", host="beta")
    text = fault if isinstance(fault, str) else changed(bad.value, **fault)

    state = decoded({**stored("alpha", "beta"), **texts(good), bad.path: text})

    assert [endpoint.name for endpoint in state.networks["over"].endpoints] == ["db"]
    assert len(state.faults) == 1
    assert state.faults[0].startswith("record 'network/over/endpoints/web' left out: ")
    assert len(state.faults[0]) < 300
    assert bad.path not in ours(state)


MALFORMED_NETWORKS = {
    "no declaration": {"declaration": None},
    "local driver": {"declaration": {"driver": "bridge"}},
    "no subnets": {"subnets": []},
    "subnets is text": {"subnets": "10.0.9.0/24"},
    "created in words": {"created": "yesterday"},
    "created in February": {"created": "2026-02-31T00:00:00Z"},
    "short id": {"id": "abc"},
}
MALFORMED_SUBNETS = {
    "vni 0": {"vni": 0},
    "vni too large": {"vni": 1 << 24},
    "vni is true": {"vni": True},
    "no vni": {"vni": None},
    "multicast": {"subnet": "224.0.0.0/8"},
    "everything": {"subnet": "0.0.0.0/0", "gateway": None, "default_gateway": None},
    "host bits": {"subnet": "10.0.9.1/24"},
    "gateway outside": {"gateway": "10.1.0.1"},
    "gateway is the network": {"gateway": "10.0.9.0"},
    "range outside": {"ip_range": "10.1.0.0/25"},
    "range of another family": {"ip_range": "fd00::/120"},
    "aux outside": {"aux": {"x": "10.1.0.1"}},
    "aux is a list": {"aux": ["10.0.9.4"]},
    "flag is text": {"declared": "true"},
}


@pytest.mark.parametrize("fault", MALFORMED_NETWORKS.values(), ids=MALFORMED_NETWORKS.keys())
def test_bad_network_is_left_out(fault: dict[str, object]) -> None:
    record, other = network_record(overlay()), network_record(overlay("other", vni=5))

    state = decoded({record.path: changed(record.value, **fault), **texts(other)})

    assert list(state.networks) == ["other"]
    assert len(state.faults) == 1


@pytest.mark.parametrize("fault", MALFORMED_SUBNETS.values(), ids=MALFORMED_SUBNETS.keys())
def test_network_with_a_bad_subnet_is_left_out(fault: dict[str, object]) -> None:
    record = network_record(overlay())
    (subnet,) = json.loads(record.value)["subnets"]

    state = decoded({record.path: changed(record.value, subnets=[{**subnet, **fault}])})

    assert state.networks == {}
    assert len(state.faults) == 1


def test_network_whose_subnets_overlap_or_share_a_vni_is_left_out() -> None:
    record = network_record(overlay("over", "10.0.0.0/16", "10.1.0.0/16"))
    first, second = json.loads(record.value)["subnets"]

    for wrong in ([first, {**second, "vni": first["vni"]}], [first, {**first, "vni": 9}]):
        assert decoded({record.path: changed(record.value, subnets=wrong)}).networks == {}


def test_families_of_a_dual_stack_network_may_share_a_vni() -> None:
    record = network_record(overlay("over", "10.0.9.0/24", "fd00:9::/64"))
    first, second = json.loads(record.value)["subnets"]

    state = decoded({record.path: changed(record.value, subnets=[first, {**second, "vni": None}])})

    assert [subnet.vni for subnet in state.networks["over"].subnets] == [4097, None]


@pytest.mark.parametrize("name", ["bridge", "host", "none", "docker_gwbridge", ".x", "a b", "x" * 129])
def test_network_under_a_name_of_each_hosts_own_is_left_out(name: str) -> None:
    state = decoded({f"networks/{name}": network_record(overlay()).value})

    assert state.networks == {}
    assert len(state.faults) == 1


def test_second_network_with_an_id_or_vni_is_left_out() -> None:
    first = network_record(overlay("a"))
    same_vni, same_id = network_record(overlay("b")), network_record(overlay("c", vni=5))

    state = decoded({**texts(first, same_vni), same_id.path: changed(same_id.value, id=hex_id("a"))})

    assert list(state.networks) == ["a"]
    assert state.faults == (
        "record 'networks/b' left out: another network has one of its VNIs",
        "record 'networks/c' left out: another network has its id",
    )


@pytest.mark.parametrize(
    "second",
    [
        placed("b", "10.0.9.2/24"),
        placed("b", "10.0.9.3/24", mac=json.loads(placed("a").value)["mac"]),
    ],
    ids=["address", "mac"],
)
def test_second_endpoint_with_an_address_is_left_out(second) -> None:
    state = decoded({**stored("alpha"), **texts(placed("a"), second)})

    assert [endpoint.name for endpoint in state.networks["over"].endpoints] == ["a"]
    assert state.faults == (
        "record 'network/over/endpoints/b' left out: another endpoint has its id, MAC address or address",
    )


def test_endpoints_of_unknown_networks_are_left_out_and_of_unknown_hosts_kept() -> None:
    state = decoded({**stored("alpha"), **texts(placed("a", host="stranger"), placed("b", network="nowhere"))})

    assert [endpoint.host for endpoint in state.networks["over"].endpoints] == ["stranger"]
    assert "stranger" not in state.nodes
    assert state.faults == ("record 'network/nowhere/endpoints/b' left out: its network is not known",)


MALFORMED_INFOS = {
    "no address": {"address": None},
    "loopback": {"address": "127.0.0.1"},
    "multicast": {"address": "224.0.0.1"},
    "unspecified": {"address": "::"},
    "broadcast": {"address": "255.255.255.255"},
    "link-local": {"address": "fe80::1"},
    "scoped": {"address": "fe80::1%eth0"},
    "instance": {"instance": "a b"},
    "watched": {"watched": 1},
}


@pytest.mark.parametrize("fault", MALFORMED_INFOS.values(), ids=MALFORMED_INFOS.keys())
def test_bad_host_is_left_out_and_told(fault: dict[str, object]) -> None:
    bad = info_record(node("beta"))

    state = decoded({**stored("alpha"), bad.path: changed(bad.value, **fault)})

    assert list(state.nodes) == ["alpha"]
    assert len(state.faults) == 1


def test_faults_are_bounded() -> None:
    state = decoded({f"networks/n{number:03}": "{" for number in range(250)})

    assert len(state.faults) == 101
    assert state.faults[-1] == "150 more records left out"


def test_own_records_are_ours_and_others_are_not() -> None:
    records = {
        **stored("alpha", "beta"),
        **texts(placed("a"), placed("b", "10.0.9.3/24", host="beta")),
        "revisions/alpha": "{}",
        "revisions/beta": "{}",
    }

    assert ours(decoded(records)) == {
        "network/over/endpoints/a",
        "network/over/members/alpha",
        "nodes/alpha/info",
        "revisions/alpha",
    }


def test_own_record_that_is_no_good_is_ours_to_put_right() -> None:
    text = changed(placed("a").value, mac="x")

    state = decoded({"network/over/endpoints/a": text, "nodes/alpha/info": "{", **texts(network_record(overlay()))})

    assert ours(state) >= {"network/over/endpoints/a", "nodes/alpha/info"}


@pytest.mark.parametrize("text", ["{", "{}", '{"host":7}'])
def test_record_that_says_nothing_is_seen_as_anothers(text: str) -> None:
    state = decoded({**stored("alpha"), "network/over/endpoints/a": text})

    assert [seen.is_ours for key, seen in state.seen.items() if key[1] == "network/over/endpoints/a"] == [False]


def test_network_is_ours_while_no_other_host_has_to_do_with_it() -> None:
    network = texts(network_record(overlay()))

    assert "networks/over" in ours(decoded(network))
    assert "networks/over" in ours(decoded({**network, **texts(member_record("over", "alpha", ""), placed("a"))}))
    assert "networks/over" not in ours(decoded({**network, **texts(member_record("over", "beta", ""))}))
    assert "networks/over" not in ours(decoded({**network, **texts(placed("b", "10.0.8.1/24", host="beta"))}))
    assert "networks/over" not in ours(decoded(network, followed=()))


def test_nothing_is_ours_while_another_host_lives_under_our_name() -> None:
    state = decoded({**stored("alpha"), **texts(placed("a"))}, instance="another")

    assert state.nodes["alpha"].instance == "i-alpha"
    assert (
        ours(state) & {"nodes/alpha/info", "network/over/members/alpha", "network/over/endpoints/a", "networks/over"}
        == set()
    )


def test_sign_of_life_tells_which_of_two_hosts_with_one_name_lives() -> None:
    mine = texts(info_record(node("alpha", is_watched=True)))

    state = decoded({**mine, "nodes/alpha/life": life_value("another")})

    assert (state.nodes["alpha"].instance, state.nodes["alpha"].is_alive) == ("another", True)


def test_endpoints_on_other_hosts_are_reached_while_these_are_alive() -> None:
    records = {
        **stored("alpha"),
        **texts(placed("web"), placed("db", "10.0.9.3/24", host="beta"), placed("ab", "10.0.9.4/24", host="gone")),
        **texts(info_record(node("beta", "192.0.2.7", is_watched=True))),
    }
    alive = decoded({**records, life_path("nodes/", "beta"): life_value("i-beta")}).networks["over"].remote_endpoints

    assert [(one.name, one.host, str(one.vtep)) for one in alive] == [("db", "beta", "192.0.2.7")]
    assert decoded(records).networks["over"].remote_endpoints == ()


def test_dead_namesake_is_succeeded() -> None:
    before = texts(info_record(node("alpha", instance="before", is_watched=True)))

    state = decoded({**before, **texts(placed("a"))})

    assert not state.nodes["alpha"].is_alive
    assert ours(state) >= {"nodes/alpha/info", "network/over/endpoints/a"}


LEFT = {"nodes/beta/left": '{"at":"2026-11-24T11:00:00.123456789Z"}'}
BETAS = {
    "nodes/beta/info",
    "nodes/beta/left",
    "network/over/members/beta",
    "network/over/endpoints/b",
    "revisions/beta",
}


def after_death(host: str, grace_s: float, **more: str) -> set[str]:
    records = {
        **stored("alpha", "gamma"),
        **texts(info_record(node("beta", is_watched=True)), member_record("over", "beta", "")),
        **texts(placed("b", host="beta")),
        "revisions/beta": "{}",
        "nodes/alpha/life": life_value("i-alpha"),
        **texts(info_record(node("alpha", is_watched=True))),
        **LEFT,
    }
    return ours(decoded({**records, **more}, host, grace_s=grace_s)) & BETAS


def test_what_a_dead_host_left_is_the_reapers_after_the_grace_period() -> None:
    assert after_death("alpha", 86_400) == BETAS
    assert after_death("alpha", 100_000) == {"nodes/beta/left"}
    assert after_death("gamma", 86_400) == set()


def test_host_that_is_back_is_nobodys_to_tidy_up() -> None:
    assert after_death("alpha", 1, **{"nodes/beta/life": life_value("i-beta")}) == {"nodes/beta/left"}


def test_unchanged_records_are_not_read_again() -> None:
    question = ClusterQuestion(
        host="alpha", instance="i-alpha", followed=frozenset(("over",)), now=NOW, grace_s=1, nodes_folder="nodes/"
    )
    decoder, records = StateDecoder(), {**stored("alpha"), **texts(placed("a"))}

    first = decoder(records, question)
    second = decoder({**records, **texts(placed("b", "10.0.9.3/24"))}, question)

    assert second.networks["over"].endpoints[0] is first.networks["over"].endpoints[0]
    assert decoder(records, question) == first


def test_network_that_nothing_changed_in_is_the_same_value() -> None:
    question = ClusterQuestion(
        host="alpha", instance="i-alpha", followed=frozenset(("over",)), now=NOW, grace_s=1, nodes_folder="nodes/"
    )
    decoder, records = StateDecoder(), {**stored("alpha"), **texts(placed("a"))}
    first = decoder(records, question)

    second = decoder({**records, **texts(info_record(node("beta")))}, question)

    assert second.networks["over"] is first.networks["over"]


def test_endpoints_are_asked_again_when_the_subnets_of_their_network_change() -> None:
    question = ClusterQuestion(
        host="alpha", instance="i-alpha", followed=frozenset(("over",)), now=NOW, grace_s=1, nodes_folder="nodes/"
    )
    decoder, records = StateDecoder(), {**stored("alpha"), **texts(placed("a"))}
    assert len(decoder(records, question).networks["over"].endpoints) == 1

    moved = decoder({**records, **texts(network_record(overlay("over", "10.0.8.0/24")))}, question)

    assert moved.networks["over"].endpoints == ()
    assert decoder(records, question).networks["over"].endpoints != ()


def test_network_of_a_plugin_has_no_vni_and_its_endpoints_may_have_no_mac() -> None:
    network = overlay("over", vni=7)
    fabric = replace(
        network,
        wanted=replace(network.wanted, driver="ciao", overlay=None),
        subnets=tuple(replace(subnet, vni=None) for subnet in network.subnets),
    )
    nameless = [placed(name, f"10.0.9.{number}/24") for number, name in enumerate(("web", "db"), 2)]
    texts_ = {record.path: changed(record.value, mac="") for record in nameless}
    records = {**stored("alpha"), **texts(network_record(fabric)), **texts_}

    state = decoded(records)

    assert state.faults == ()
    assert [(one.name, one.mac) for one in state.networks["over"].endpoints] == [("db", ""), ("web", "")]
    numbered = changed(network_record(network).value, declaration={"driver": "ciao"})
    assert "over" not in decoded({**records, "networks/over": numbered}).networks
    assert decoded({**records, "networks/over": network_record(network).value}).networks["over"].endpoints == ()
