from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface, ip_network

import pytest
from msgspec.structs import replace

from reconciler.drivers import bridge
from reconciler.ipam.adopt import adopted_promises
from reconciler.ipam.assign import assign
from reconciler.ipam.promises import Promises
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Bridge, Key, Object, Seen
from reconciler.model.wanted import BridgeOptions, GatewayMode, WantedState
from tests.fakes.drivers import compiler_of
from tests.unit.ipam.builders import HOST_FACTS, attachment, network, on, wanted_state

compile_network = compiler_of(bridge)

LATER = replace(HOST_FACTS, now="2030-01-01T00:00:00.000000000Z")


def _seen(objects: Iterable[Object], *, is_ours: bool = True) -> dict[Key, Seen]:
    return {found.key: Seen(found, is_ours=is_ours) for found in objects}


def _kernel(state: DesiredState, *, is_ours: bool = True) -> dict[Key, Seen]:
    """What stands in the kernel after `state` was applied."""
    endpoints = [endpoint for found in state.attachments for endpoint in found.endpoints]
    objects = [
        found
        for net in state.networks
        for found in compile_network(net, [e for e in endpoints if e.network == net.name], state.host)
    ]
    return _seen(objects, is_ours=is_ours)


def _history() -> WantedState:
    """Two attachments whose choices differ from those a fresh start would make."""
    return wanted_state(
        [network("bridge"), network("a"), network("b", is_ipv6_enabled=True)],
        [attachment("one", "bridge", on("b", mac_address="02:00:00:00:00:01")), attachment("two", "a", "b")],
    )


def test_lost_store_is_made_up_for_by_the_kernel() -> None:
    crowded = wanted_state(
        [network("0"), *_history().networks], [attachment("0", "0", "b", "bridge"), *_history().attachments]
    )
    before = assign(crowded, HOST_FACTS, Promises())
    remaining = assign(_history(), LATER, adopted_promises(_history(), LATER, _kernel(before)))

    fresh = assign(_history(), LATER, Promises())
    kept = {a.name: a.endpoints for a in before.attachments if a.name != "0"}
    assert {a.name: a.endpoints for a in remaining.attachments} == kept
    assert {a.name: a.endpoints for a in fresh.attachments} != kept
    assert [n.subnets for n in remaining.networks] == [n.subnets for n in before.networks if n.name != "0"]
    assert {n.created for n in remaining.networks} == {LATER.now}


def test_foreign_links_are_not_adopted() -> None:
    state = assign(_history(), HOST_FACTS, Promises())

    assert adopted_promises(_history(), HOST_FACTS, _kernel(state, is_ours=False)) == Promises()


def test_nothing_is_adopted_on_a_bare_host() -> None:
    assert adopted_promises(_history(), HOST_FACTS, {}) == Promises()


def test_declared_bridge_name_is_looked_for() -> None:
    wanted = wanted_state([network("a", options=BridgeOptions(link_name="br7"))])
    objects = [
        Bridge(ns=HOST, ifname="br7", mac="02:42:00:00:00:01", mtu=1500),
        Address(ns=HOST, ifname="br7", interface=ip_interface("10.7.0.1/24")),
        Address(ns=HOST, ifname="br7", interface=ip_interface("fe80::1/64")),
    ]

    promises = adopted_promises(wanted, HOST_FACTS, _seen(objects))

    assert promises.networks["a"].link_name == "br7"
    assert promises.networks["a"].subnets == ((ip_network("10.7.0.0/24"), ip_interface("10.7.0.1/24").ip),)


def test_pool_with_members_comes_before_a_stray_address() -> None:
    wanted = wanted_state([network("a")], [attachment("x", "a")])
    state = assign(wanted, HOST_FACTS, Promises())
    stray = Address(ns=HOST, ifname=state.networks[0].link_name, interface=ip_interface("10.0.0.1/24"))

    promises = adopted_promises(wanted, HOST_FACTS, {**_seen([stray]), **_kernel(state)})

    assert promises.networks["a"].subnets[0][0] == ip_network("172.17.0.0/16")


def test_marked_address_comes_before_a_lower_foreign_one() -> None:
    wanted = wanted_state([network("a")], [attachment("x", "a")])
    state = assign(wanted, HOST_FACTS, Promises())
    foreign = Address(ns=NsRef("netns:x"), ifname="eth0", interface=ip_interface("10.0.0.1/24"))

    promises = adopted_promises(wanted, HOST_FACTS, {**_seen([foreign], is_ours=False), **_kernel(state)})

    assert promises.endpoints["a", "x"].ipv4 == ip_interface("172.17.0.2/16")


@pytest.mark.parametrize(
    "options",
    [BridgeOptions(gateway_mode_ipv4=GatewayMode.ISOLATED), BridgeOptions(is_ipv4_inhibited=True)],
    ids=["isolated", "inhibited"],
)
def test_bridge_without_address_takes_its_pool_from_its_members(options: BridgeOptions) -> None:
    crowd = [network(f"n{number}") for number in range(3)]
    net = network("x", options=options, is_internal=True)
    before = assign(wanted_state([*crowd, net], [attachment("a", "x")]), HOST_FACTS, Promises())
    wanted = wanted_state([net], [attachment("a", "x")])

    promises = adopted_promises(wanted, HOST_FACTS, _kernel(before))

    assert promises.networks["x"].subnets == ((ip_network("172.20.0.0/16"), None),)
    assert assign(wanted, HOST_FACTS, promises).attachments == before.attachments


def test_peer_out_of_sight_gives_what_the_near_side_tells() -> None:
    wanted = wanted_state([network("a")], [attachment("x", "a")])
    state = assign(wanted, HOST_FACTS, Promises())
    (pair,) = [s for s in _kernel(state).values() if s.object.kind == "VethPair"]
    hidden = replace(pair.object, peer_ns=NsRef("?"))  # type: ignore[type-var]

    promise = adopted_promises(wanted, HOST_FACTS, _seen([hidden])).endpoints["a", "x"]  # type: ignore[list-item]

    assert (promise.ifname, promise.mac, promise.ipv4) == ("eth0", "02:42:ac:11:00:02", None)
