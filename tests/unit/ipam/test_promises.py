from __future__ import annotations

import json

import pytest

from reconciler.ipam.promises import (
    RECORD_MAX,
    EndpointPromise,
    NetworkPromise,
    Promises,
    SysctlPromise,
    decode_promises,
    merged,
    sysctl_record,
)
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import HOST_UNIT
from reconciler.model.wanted import NetworkMode
from tests.unit.ipam.builders import attachment, endpoint_of, first_pass, network, network_of, promised, records

ID = "a" * 64
NETWORK = {"created": "2026-11-24T00:15:43.919084008Z", "id": ID, "link_name": "br0", "subnets": []}
ENDPOINT = {
    "id": ID,
    "ifname": "eth0",
    "ipv4": "10.0.0.2/24",
    "ipv6": None,
    "link_name": "rcv0",
    "mac": "02:42:0a:00:00:02",
}


def test_records_tell_back_what_was_chosen() -> None:
    state = first_pass(
        [network("net", "10.0.0.0/24", "fd00:1::/64")], [attachment("a", "net"), attachment("h", mode=NetworkMode.HOST)]
    )

    promises = promised(state)

    net, endpoint = network_of(state, "net"), endpoint_of(state, "a")
    assert promises.networks["net"] == NetworkPromise(
        name="net",
        id=net.id,
        created=net.created,
        subnets=tuple((s.subnet, s.gateway) for s in net.subnets),
        link_name=net.link_name,
    )
    assert promises.endpoints["net", "a"] == EndpointPromise(
        network="net",
        attachment="a",
        id=endpoint.id,
        ifname="eth0",
        link_name=endpoint.link_name,
        ipv4=endpoint.ipv4,
        ipv6=endpoint.ipv6,
        mac=endpoint.mac,
    )
    assert promises.endpoints["host", "h"].ipv4 is None


def test_record_is_json_with_sorted_keys_at_the_units_path() -> None:
    state = first_pass([network("net")], [attachment("a", "net")])

    found = records(state)

    assert list(found) == ["network/net", "endpoint/net/a"]
    for text in found.values():
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize("ns", [HOST, NsRef("netns:web"), NsRef("path:/run/a b/%2F")], ids=["host", "named", "path"])
def test_setting_before_us_comes_back_for_any_namespace(ns: NsRef) -> None:
    promise = SysctlPromise(ns=ns, name="net/ipv4/ip_forward", before="0")
    record = sysctl_record(promise, HOST_UNIT)

    promises, faults = decode_promises({record.path: record.value})

    assert faults == ()
    assert promises.sysctls == {(ns, "net/ipv4/ip_forward"): promise}


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        pytest.param("network/../etc", NETWORK, None, id="path of another kind"),
        pytest.param("network/..", NETWORK, "not a name", id="dots as name"),
        pytest.param("network/" + "n" * 129, NETWORK, "not a name", id="long name"),
        pytest.param("network/n", NETWORK | {"id": "A" * 64}, "id is malformed", id="upper-case id"),
        pytest.param("network/n", NETWORK | {"id": None}, "id is not a string", id="no id"),
        pytest.param("network/n", NETWORK | {"created": "now"}, "created is malformed", id="created"),
        pytest.param("network/n", NETWORK | {"link_name": "a/b"}, "not a link name", id="link name"),
        pytest.param("network/n", NETWORK | {"subnets": {}}, "not a short list", id="subnets no list"),
        pytest.param("network/n", NETWORK | {"subnets": [None] * 65}, "not a short list", id="many subnets"),
        pytest.param("network/n", NETWORK | {"subnets": ["10.0.0.0/8"]}, "not an object", id="subnet no object"),
        pytest.param("network/n", NETWORK | {"subnets": [{"subnet": "10.0.0.1/8"}]}, "malformed", id="host bits"),
        pytest.param("network/n", NETWORK | {"subnets": [{"subnet": "0.0.0.0/0"}]}, "not a pool", id="everything"),
        pytest.param("network/n", NETWORK | {"subnets": [{"subnet": "224.0.0.0/8"}]}, "not a pool", id="multicast"),
        pytest.param(
            "network/n",
            NETWORK | {"subnets": [{"subnet": "10.0.0.0/8", "gateway": "11.0.0.1"}]},
            "outside",
            id="gateway",
        ),
        pytest.param("endpoint/n/a/b", ENDPOINT, None, id="endpoint path too long"),
        pytest.param("endpoint/n/a", ENDPOINT | {"ipv4": "fd00::1/64"}, "wrong family", id="family"),
        pytest.param("endpoint/n/a", ENDPOINT | {"ipv4": "127.0.0.1/8"}, "not an endpoint's address", id="loopback"),
        pytest.param("endpoint/n/a", ENDPOINT | {"ipv4": 1}, "ipv4 is not a string", id="number"),
        pytest.param("endpoint/n/a", ENDPOINT | {"ipv6": "fe80::1%eth0/64"}, "ipv6 has a scope", id="scope"),
        pytest.param("endpoint/n/a", ENDPOINT | {"mac": "01:00:5e:00:00:01"}, "mac is malformed", id="multicast mac"),
        pytest.param("endpoint/n/a", ENDPOINT | {"mac": "00:00:00:00:00:00"}, "all zero", id="zero mac"),
        pytest.param("endpoint/n/a", ENDPOINT | {"ifname": "x" * 16}, "not a link name", id="ifname"),
        pytest.param("sysctl//net/../kernel/core_pattern", {"before": "|x"}, "below net/", id="sysctl escapes"),
        pytest.param("sysctl//kernel/core_pattern", {"before": "|x"}, "below net/", id="sysctl elsewhere"),
        pytest.param("sysctl//net/ipv4/ip_forward", {"before": "0\n1"}, "before is malformed", id="sysctl two lines"),
        pytest.param("sysctl/a%00b/net/ipv4/ip_forward", {"before": "0"}, "not a namespace", id="zero byte"),
        pytest.param("sysctl/a\ud800/net/ipv4/ip_forward", {"before": "0"}, "not a namespace", id="half a character"),
        pytest.param("network/n", [], "not a JSON object", id="list"),
    ],
)
def test_misfit_is_left_out_and_harms_no_other(path: str, value: object, reason: str | None) -> None:
    good = json.dumps(NETWORK | {"id": "b" * 64})

    promises, faults = decode_promises({path: json.dumps(value), "network/good": good})

    assert list(promises.networks) == ["good"]
    assert not promises.endpoints
    assert not promises.sysctls
    assert (reason is None and faults == ()) or (len(faults) == 1 and str(reason) in faults[0])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 10_000, '{"a":' * 3_000, "1" * 5_000, " " * (RECORD_MAX + 1)],
    ids=["empty", "cut", "deep list", "deep object", "huge number", "long"],
)
def test_text_that_is_no_record_is_left_out(text: str) -> None:
    promises, faults = decode_promises({"network/n": text})

    assert promises == Promises()
    assert len(faults) == 1


def test_second_record_with_the_same_short_id_is_left_out() -> None:
    one, other = json.dumps(NETWORK), json.dumps(NETWORK | {"id": "a" * 12 + "b" * 52})

    promises, faults = decode_promises({"network/two": other, "network/one": one})

    assert list(promises.networks) == ["one"]
    assert faults == ("record 'network/two' left out: another record has its id",)


def test_faults_are_bounded_in_number_and_length() -> None:
    _, faults = decode_promises({f"network/{'-' * 5000}{number}": "x" for number in range(500)})

    assert len(faults) == 101
    assert faults[-1] == "400 more records left out"
    assert max(map(len, faults)) < 300


def test_kept_promises_win_over_adopted_ones() -> None:
    kept = NetworkPromise(name="a", id=ID, created="2026-11-24T00:15:43Z")
    stale, other = NetworkPromise(name="a", id=ID, created=""), NetworkPromise(name="b", id=ID, created="")

    found = merged(Promises(networks={"a": kept}), Promises(networks={"a": stale, "b": other}))

    assert found.networks == {"a": kept, "b": other}
