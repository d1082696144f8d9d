"""What the compiler remembers: of many endpoints on other hosts a change touches few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address

from reconciler.compile import Compiler, compile_objects
from reconciler.model.desired import DesiredNetwork, DesiredState, RemoteEndpoint
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import FdbEntry, Key, Object
from tests.fakes.desired import attachment, endpoint, host_facts
from tests.unit.drivers.test_overlay import overlay


def far(number: int, vtep: str = "198.51.100.2") -> RemoteEndpoint:
    return RemoteEndpoint(
        network="zone",
        id=f"{number:064x}",
        name=f"far{number}",
        host="beta",
        vtep=ip_address(vtep),
        mac=f"02:42:0a:09:00:{number:02x}",
        ipv4=IPv4Interface(f"10.9.0.{number}/24"),
    )


def state(network: DesiredNetwork, address: str = "10.9.0.2/24") -> DesiredState:
    web = attachment("web", [endpoint("web", "zone", address)])
    return DesiredState(
        host=replace(host_facts(), vtep=ip_address("198.51.100.1")), networks=(network,), attachments=(web,)
    )


def zone(remote: Sequence[RemoteEndpoint]) -> DesiredNetwork:
    return overlay(("10.9.0.0/24", 300), remote=tuple(remote))


def entries(objects: dict[Key, Object]) -> dict[str, FdbEntry]:
    return {each.mac: each for each in objects.values() if isinstance(each, FdbEntry)}


def test_an_endpoint_elsewhere_that_stays_is_not_compiled_again() -> None:
    compiler = Compiler()

    before = entries(compiler(state(zone([far(3), far(4)])), {}))
    after = entries(compiler(state(zone([far(4), far(5)])), {}))

    assert set(after) == {far(4).mac, far(5).mac}
    assert after[far(4).mac] is before[far(4).mac]


def test_what_is_remembered_is_what_would_be_compiled_anew() -> None:
    compiler = Compiler()
    looks = (
        state(zone([far(3), far(4)])),
        state(zone([far(3), far(4, vtep="198.51.100.9"), far(5)])),
        state(zone([far(3), far(5)]), address="10.9.0.5/24"),
        state(replace(zone([far(3), far(5)]), ns=NsRef("netns:other"))),
        replace(state(zone([far(3)])), attachments=()),
        state(zone([])),
        state(zone([far(3)])),
    )

    for look in looks:
        assert compiler(look, {}) == compile_objects(look, {})
