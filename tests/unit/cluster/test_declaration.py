from __future__ import annotations

import json

import pytest

from reconciler.cluster.declaration import declaration, declaration_digest, declared_network, differences
from reconciler.model.wanted import NetworkWanted
from reconciler.spec.network import NetworkSpec, network_wanted

FULL = {
    "attachable": True,
    "driver": "overlay",
    "driver_opts": {"com.docker.network.driver.overlay.vxlanid_list": "4097,4098"},
    "enable_ipv6": True,
    "internal": True,
    "ipam": {
        "config": [
            {
                "aux_addresses": {"router": "10.0.9.4"},
                "gateway": "10.0.9.1",
                "ip_range": "10.0.9.128/25",
                "subnet": "10.0.9.0/24",
            },
            {"subnet": "fd00:9::/64"},
        ],
        "options": {"a": "b"},
    },
    "labels": {"team": "web"},
}


def wanted(fields: dict[str, object], name: str = "over") -> NetworkWanted:
    found, faults = network_wanted(name, NetworkSpec.model_validate(fields))
    assert faults == []
    assert found is not None
    return found


def test_declaration_of_a_plain_network_says_only_its_driver() -> None:
    assert declaration(wanted({"driver": "overlay"})) == '{"driver":"overlay"}'


@pytest.mark.parametrize(
    "fields",
    [
        FULL,
        {"driver": "overlay"},
        {"driver": "ciao", "driver_opts": {"vlan": "7"}},
        {"driver": "overlay", "enable_ipv4": False, "enable_ipv6": True},
    ],
)
def test_declaration_reads_back_to_the_same_network(fields: dict[str, object]) -> None:
    network = wanted(fields)

    text = declaration(network)

    assert json.loads(text) == fields
    assert text == json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert declared_network("over", json.loads(text)) == network


def test_what_each_host_decides_for_itself_is_not_declared() -> None:
    mine, theirs = {"driver": "overlay", "protect": True, "onDrift": "warn"}, {"driver": "overlay"}

    assert declaration(wanted(mine)) == declaration(wanted(theirs))


def test_digest_stands_for_the_text() -> None:
    assert declaration_digest("a") == declaration_digest("a") != declaration_digest("b")


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        {},
        {"driver": "bridge"},
        {"driver": "host"},
        {"driver": "../ciao"},
        {"driver": "ciao", "ipam": {"driver": "house"}},
        {"driver": "ciao", "ipam": {"driver": "null"}},
        {"driver": "ciao", "enable_ipv4": False},
        {"driver": ["overlay"]},
        {"driver": "overlay", "external": True},
        {"driver": "overlay", "name": "other"},
        {"driver": "overlay", "protect": True},
        {"driver": "overlay", "internal": "yes"},
        {"driver": "overlay", "labels": {"a": "\ud800"}},
        {"driver": "overlay", "driver_opts": {"x": "\ud800"}},
        {"driver": "overlay", "driver_opts": {"encrypted": ""}},
        {"driver": "overlay", "driver_opts": {"com.docker.network.driver.mtu": "7"}},
        {"driver": "overlay", "ipam": {"config": [{"subnet": "10.0.0.1/24"}]}},
        {"driver": "overlay", "ipam": {"config": [{"subnet": "224.0.0.0/24"}]}},
        {"driver": "overlay", "ipam": {"config": [{"subnet": "10.0.0.0/24", "gateway": "10.1.0.1"}]}},
    ],
    ids=str,
)
def test_declaration_that_no_spec_could_make_is_refused(fields: object) -> None:
    with pytest.raises(ValueError, match="declaration"):
        declared_network("over", fields)


def test_differences_are_told_in_words() -> None:
    mine = declaration(wanted({**FULL, "ipam": {"config": [{"subnet": "10.1.0.0/24"}]}, "driver_opts": {}}))
    theirs = declaration(wanted({"driver": "overlay", "ipam": {"config": [{"subnet": "10.0.0.0/24"}]}}))

    told = differences(mine, theirs)

    assert told == (
        "attachable: here true, there not set; enable_ipv6: here true, there not set; internal: here true, there not set; "
        "ipam.config.1.subnet: here 10.1.0.0/24, there 10.0.0.0/24; labels.team: here web, there not set"
    )
    assert differences(mine, mine) == ""


def test_differences_stay_short_and_printable_whatever_is_declared() -> None:
    labels = {f"k{number:03}": "\u2028" * 1000 for number in range(200)}
    theirs = json.dumps({"driver": "overlay", "labels": labels})

    told = differences('{"driver":"overlay"}', theirs)

    assert told.endswith("; and 195 more")
    assert len(told) < 3000
    assert told.isprintable()
