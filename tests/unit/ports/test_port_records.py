"""Records of host ports, and what they survive."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment, PortBinding
from reconciler.ports.promises import decode_ports, ports_record
from tests.fakes.desired import attachment, endpoint


def publishing(*ports: PortBinding) -> DesiredAttachment:
    return attachment("web", [replace(endpoint("web", "front", "172.30.1.2/24"), ports=ports)])


def binding(host_port: int, target: int, host_ip: str = "0.0.0.0", protocol: str = "tcp") -> PortBinding:
    return PortBinding(protocol=protocol, host_ip=ip_address(host_ip), host_port=host_port, target=target)


BINDINGS = st.lists(
    st.builds(
        binding,
        st.integers(1, 65535),
        st.integers(1, 65535),
        st.sampled_from(["0.0.0.0", "::", "192.0.2.1"]),
        st.sampled_from(["tcp", "udp", "sctp"]),
    ),
    min_size=1,
    max_size=20,
)


@given(BINDINGS)
def test_record_tells_back_what_was_chosen(bindings: list[PortBinding]) -> None:
    (record,) = ports_record(publishing(*bindings))

    assert decode_ports({record.path: record.value}) == ({"web": tuple(bindings)}, ())


def test_record_of_a_range_is_short() -> None:
    (record,) = ports_record(publishing(*(binding(10000 + n, 20000 + n) for n in range(10000))))

    assert record.value == '{"ports":[["tcp","0.0.0.0",10000,19999,20000]]}'


def test_attachment_without_host_ports_has_no_record() -> None:
    assert list(ports_record(publishing())) == []
    assert list(ports_record(publishing(binding(0, 80)))) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"ports": 1}',
        '{"ports": [1]}',
        '{"ports": [["tcp", "0.0.0.0", 1, 2]]}',
        '{"ports": [["icmp", "0.0.0.0", 1, 2, 3]]}',
        '{"ports": [["tcp", "nowhere", 1, 2, 3]]}',
        '{"ports": [["tcp", 1, 1, 2, 3]]}',
        '{"ports": [["tcp", "0.0.0.0", 2, 1, 3]]}',
        '{"ports": [["tcp", "0.0.0.0", 0, 1, 3]]}',
        '{"ports": [["tcp", "0.0.0.0", 1, 65536, 1]]}',
        '{"ports": [["tcp", "0.0.0.0", 1, 65535, 2]]}',
        '{"ports": [["tcp", "0.0.0.0", true, 2, 3]]}',
        '{"ports": [["tcp", "0.0.0.0", 1.0, 2, 3]]}',
        json.dumps({"ports": [["tcp", "0.0.0.0", 1, 65535, 1]] * 5}),
        "[" * 100_000,
        " " * 300_000,
    ],
)
def test_damaged_record_is_left_out_and_told(text: str) -> None:
    promised, faults = decode_ports({"ports/web": text, "ports/db": '{"ports":[["tcp","::",1,1,1]]}'})

    assert promised == {"db": (binding(1, 1, "::"),)}
    assert len(faults) == 1
    assert "ports/web" in faults[0]


def test_other_records_are_passed_over() -> None:
    assert decode_ports({"endpoint/front/web": "x", "network/front": "y"}) == ({}, ())


def test_record_of_no_name_is_left_out() -> None:
    promised, faults = decode_ports({"ports/../etc": '{"ports":[]}'})

    assert (promised, len(faults)) == ({}, 1)
