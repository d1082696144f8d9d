"""Values as JSON and back."""

from __future__ import annotations

import errno
import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from reconciler.errors import KernelError, SandboxMissing
from reconciler.facts import Facts
from reconciler.model.cluster import ClusterState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Bridge, Seen, Unit
from reconciler.model.observed import BoundSocket, HostPorts, SandboxFact
from reconciler.model.wanted import SandboxKind, SandboxRef
from reconciler.snapshot.codec import decoded, encoded
from tests.fakes.desired import host_facts

UNIT = Unit(network="n", attachment="a")
ADDRESS = Address(unit=UNIT, ns=NsRef("netns:a"), ifname="eth0", interface=ip_interface("10.5.0.2/24"))
BRIDGE = Bridge(unit=Unit(network="n"), ns=HOST, ifname="br\x1b-n", mac="02:42:00:00:00:01", mtu=1500)


@pytest.mark.parametrize(
    "value",
    [
        Facts(
            host=host_facts(),
            seen={each.key: Seen(each, is_ours=True) for each in (ADDRESS, BRIDGE)},
            sandboxes={NsRef("netns:a"): SandboxFact(inode=7, is_ours=True)},
            ports=HostPorts(reserved=((1, 2),), sockets=(BoundSocket("tcp", None, 80),)),
            absent=frozenset({ip_address("192.0.2.1"), ip_address("2001:db8::1")}),
        ),
        (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_interface("2001:db8::1/64"), None, 1.5, "ü"),
        SandboxRef(SandboxKind.PID, "1"),
        {("a", 1): frozenset({("x", "y")}), "": {}},
        ClusterState(host="h", contended=frozenset({"n"})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_the_same_after_both_ways(value: object) -> None:
    again = decoded(json.loads(json.dumps(encoded(value))))

    assert again == value
    assert type(again) is type(value)


def test_units_which_are_not_compared_are_kept() -> None:
    assert decoded(encoded(ADDRESS)).unit == UNIT


@pytest.mark.parametrize("error", [SandboxMissing("gone"), KernelError(errno.EPERM, "do", "not allowed")])
def test_an_error_says_the_same_and_is_of_its_kind(error: Exception) -> None:
    again = decoded(json.loads(json.dumps(encoded(error))))

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_only_values_of_this_package_are_made() -> None:
    for name in ("Popen", "Path", "Namespaces", "type"):
        with pytest.raises(KeyError):
            decoded({"": name, "args": ["x"]})
    with pytest.raises(TypeError, match="no fact is made of object"):
        encoded(object())
