"""Which tracked connections a change makes stale."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from reconciler.apply.flows import is_stale
from reconciler.firewall.elements import endpoint_elements
from reconciler.firewall.published import PublishedPorts
from reconciler.flows import StaleFlows, stale_flows
from reconciler.kernel.conntrack import Direction, TrackedConnection
from reconciler.model.desired import PortBinding
from reconciler.model.objects import Key, KvRecord, Object, Seen, Unit
from tests.fakes.desired import endpoint, network

CONTAINER, HOST, CLIENT = "172.30.1.2", "192.0.2.1", "192.0.2.2"


def binding(host_port: int, target: int, host_ip: str = "0.0.0.0", protocol: str = "tcp") -> PortBinding:
    return PortBinding(protocol=protocol, host_ip=ip_address(host_ip), host_port=host_port, target=target)


def published(*ports: PortBinding) -> list[Object]:
    made = replace(endpoint("web", "front", f"{CONTAINER}/24", "fd00::2/64"), ports=ports)
    return list(endpoint_elements(network("front", "172.30.1.0/24"), made))


def seen(objects: Iterable[Object]) -> dict[Key, Seen]:
    return {found.key: Seen(found, is_ours=True) for found in objects}


def record(ipv4: str | None, ipv6: str | None = None) -> KvRecord:
    def quoted(text: str | None) -> str:
        return f'"{text}"' if text else "null"

    return KvRecord(path="endpoint/front/web", value=f'{{"ipv4":{quoted(ipv4)},"ipv6":{quoted(ipv6)}}}')


def flow(
    original: tuple[str, int, str, int], reply: tuple[str, int, str, int] | None = None, protocol: str = "tcp"
) -> TrackedConnection:
    def direction(source: str, source_port: int, destination: str, destination_port: int) -> Direction:
        return Direction(ip_address(source), source_port, ip_address(destination), destination_port)

    there = direction(*original)
    back = direction(*reply) if reply else Direction(*there[2:], *there[:2])
    return TrackedConnection(protocol, there, back, 2, b"")


TRANSLATED = flow((CLIENT, 5000, HOST, 8080), (CONTAINER, 80, CLIENT, 5000))


def test_elements_tell_back_what_they_publish() -> None:
    ports = (binding(8080, 80), binding(8080, 80, "::"), binding(53, 53, "127.0.0.1", "udp"), binding(0, 99))

    assert PublishedPorts()(seen(published(*ports))) == {Unit(network="front", attachment="web"): ports[:3]}


def test_nothing_is_stale_when_nothing_changed() -> None:
    now = seen([*published(binding(8080, 80)), record("172.30.1.2/24")])

    assert not stale_flows(now, dict(now))


@pytest.mark.parametrize(
    ("after", "is_forgotten"),
    [
        ([], True),
        ([binding(8081, 80)], True),
        ([binding(8080, 81)], True),
        ([binding(8080, 80), binding(9, 9)], False),
    ],
    ids=["withdrawn", "another host port", "another target", "one more"],
)
def test_connections_to_a_port_that_changed_are_stale(after: list[PortBinding], is_forgotten: bool) -> None:
    stale = stale_flows(seen(published(binding(8080, 80))), seen(published(*after)))

    assert is_stale(stale, frozenset())(TRANSLATED) == is_forgotten


@pytest.mark.parametrize(
    "other",
    [
        flow((CLIENT, 5000, HOST, 8080)),
        flow((CLIENT, 5000, HOST, 8080), ("172.30.1.3", 80, CLIENT, 5000)),
        flow((CLIENT, 5000, HOST, 8081), (CONTAINER, 80, CLIENT, 5000)),
        flow((CLIENT, 5000, HOST, 8080), (CONTAINER, 80, CLIENT, 5000), "udp"),
        flow((CONTAINER, 5000, CLIENT, 8080), (CLIENT, 8080, HOST, 5000)),
    ],
    ids=["to the host itself", "to another sandbox", "by another port", "another protocol", "the sandbox's own"],
)
def test_other_connections_stay(other: TrackedConnection) -> None:
    stale = stale_flows(seen(published(binding(8080, 80))), {})

    assert not is_stale(stale, frozenset())(other)


def test_port_withdrawn_from_one_address_leaves_those_of_another() -> None:
    one, two = binding(8080, 80, HOST), binding(8080, 80, "192.0.2.7")
    stale = stale_flows(seen(published(one, two)), seen(published(one)))

    assert not is_stale(stale, frozenset())(TRANSLATED)
    assert is_stale(stale, frozenset())(flow((CLIENT, 5000, "192.0.2.7", 8080), (CONTAINER, 80, CLIENT, 5000)))


def test_datagrams_that_the_host_got_before_a_port_was_published_are_stale() -> None:
    stale = stale_flows({}, seen(published(binding(53, 53, protocol="udp"))))
    asked = is_stale(stale, frozenset({ip_address(HOST)}))

    assert asked(flow((CLIENT, 5000, HOST, 53), protocol="udp"))
    assert not asked(flow((CONTAINER, 5000, "198.51.100.1", 53), protocol="udp"))
    assert not asked(flow((CLIENT, 5000, HOST, 53)))


def test_connections_of_an_address_that_is_gone_are_stale() -> None:
    stale = stale_flows(seen([record("172.30.1.2/24", "fd00::2/64")]), seen([record("172.30.1.9/24", "fd00::2/64")]))
    asked = is_stale(stale, frozenset())

    assert stale == StaleFlows(addresses=frozenset({ip_address(CONTAINER)}))
    assert asked(TRANSLATED)
    assert asked(flow((CONTAINER, 5000, "198.51.100.1", 80), ("198.51.100.1", 80, HOST, 5000)))
    assert not asked(flow(("172.30.1.9", 5000, "198.51.100.1", 80)))


@pytest.mark.parametrize("value", ["", "[]", "{}", '{"ipv4": "x", "ipv6": null}', "[" * 100_000], ids=str.__len__)
def test_damaged_record_has_no_addresses(value: str) -> None:
    assert not stale_flows(seen([KvRecord(path="endpoint/front/web", value=value)]), {})
