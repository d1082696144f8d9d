from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from reconciler.cluster.records import (
    claimed,
    claims,
    info_record,
    left_path,
    life_path,
    life_value,
    member_record,
    network_record,
    node_records,
    revision_record,
)
from reconciler.model.objects import CLUSTER_UNIT, ClusterRecord, Unit
from tests.fakes.cluster import NOW, decoded, endpoint, node, overlay, placed, stored, texts


def test_records_are_canonical_json_at_the_path_and_unit_of_what_they_tell() -> None:
    records = [
        network_record(overlay()),
        member_record("over", "alpha", ""),
        placed("web"),
        info_record(node("alpha")),
        revision_record("alpha", "abc", is_dirty=True),
    ]

    assert [(record.path, record.unit) for record in records] == [
        ("networks/over", Unit(network="over")),
        ("network/over/members/alpha", Unit(network="over")),
        ("network/over/endpoints/web", endpoint("web").unit),
        ("nodes/alpha/info", CLUSTER_UNIT),
        ("revisions/alpha", CLUSTER_UNIT),
    ]
    for record in records:
        assert record.value == json.dumps(json.loads(record.value), sort_keys=True, separators=(",", ":"))


def test_network_claims_its_vnis_and_the_pools_chosen_for_it() -> None:
    chosen = network_record(overlay("over", "10.0.9.0/24", "fd00:9::/64", vni=77))
    declared = network_record(overlay("over", "10.0.9.0/24", vni=77, is_declared=True))

    assert claims(chosen) == ("pools/10.0.9.0-24", "pools/fd00:9::-64", "vnis/00000077", "vnis/00000078")
    assert claims(declared) == ("vnis/00000077",)


def test_endpoint_claims_its_addresses() -> None:
    assert claims(placed("web", "10.0.9.2/24", "fd00:9::2/64")) == (
        "addresses/over/10.0.9.2",
        "addresses/over/fd00:9::2",
    )


@pytest.mark.parametrize(
    "record",
    [
        info_record(node("alpha")),
        member_record("over", "alpha", ""),
        *(
            ClusterRecord(path=path, value=value)
            for path in ("networks/over", "network/over/endpoints/web")
            for value in (
                "",
                "[]",
                "1",
                '{"subnets":[1]}',
                '{"subnets":[{"vni":"x","declared":true}]}',
                '{"ipv4":7}',
                "[" * 9999,
            )
        ),
    ],
    ids=lambda record: f"{record.path}-{record.value[:12]}",
)
def test_other_records_and_unreadable_ones_claim_nothing(record: ClusterRecord) -> None:
    assert claims(record) == ()


def test_claims_are_told_in_words() -> None:
    assert claimed("vnis/00000077") == "VNI 77"
    assert claimed("pools/10.0.9.0-24") == "pool 10.0.9.0/24"
    assert claimed("addresses/over/10.0.9.2") == "address 10.0.9.2 on network over"


def watched(host: str, address: str = "192.0.2.9") -> dict[str, str]:
    """Give the record of a host that gives signs of life, but not the sign."""
    return texts(info_record(node(host, address, is_watched=True)))


def alive(host: str) -> dict[str, str]:
    return {**watched(host), life_path("nodes/", host): life_value(f"i-{host}")}


def wanted(records: dict[str, str], host: str) -> dict[str, str]:
    me = node(host, "192.0.2.9", is_watched=True)
    return texts(*node_records(decoded(records, host), me, NOW))


def test_host_that_nobody_needs_to_tidy_up_after_writes_of_itself_only() -> None:
    assert wanted(alive("alpha"), "alpha") == watched("alpha")


def test_first_of_the_living_writes_when_the_dead_were_missed_and_nobody_else_does() -> None:
    records = {**watched("aaa"), **alive("beta"), **alive("gamma")}

    assert wanted(records, "beta") == {**watched("beta"), "nodes/aaa/left": f'{{"at":"{NOW}"}}'}
    assert wanted(records, "gamma") == watched("gamma")


def test_time_of_the_first_miss_stays_until_the_host_is_back() -> None:
    before = {left_path("nodes/", "aaa"): '{"at":"2026-11-25T11:00:00Z"}'}

    assert wanted({**watched("aaa"), **alive("beta"), **before}, "beta") == {**watched("beta"), **before}
    assert wanted({**alive("aaa"), **alive("beta"), **before}, "beta") == watched("beta")


def test_time_yet_to_come_is_put_right() -> None:
    records = {**watched("aaa"), **alive("beta"), "nodes/aaa/left": '{"at":"9999-11-25T11:00:00Z"}'}

    assert wanted(records, "beta")["nodes/aaa/left"] == f'{{"at":"{NOW}"}}'


def test_time_of_the_first_miss_goes_last_of_all_that_a_dead_host_left() -> None:
    left = {left_path("nodes/", "aaa"): '{"at":"2026-11-01T11:00:00Z"}'}
    records = {**stored("beta"), **alive("beta"), **left}

    assert "nodes/aaa/left" in wanted({**records, **texts(placed("web", host="aaa"))}, "beta")
    assert "nodes/aaa/left" not in wanted(records, "beta")


def test_folder_of_nodes_can_be_another() -> None:
    state = replace(decoded({}), nodes={"aaa": replace(node("aaa"), is_alive=False)})

    found = texts(*node_records(state, node("alpha"), NOW, "docker/nodes/"))

    assert list(found) == ["docker/nodes/alpha/info", "docker/nodes/aaa/left"]
