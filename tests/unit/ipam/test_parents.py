"""What macvlan and ipvlan networks get from IPAM, and what their parents must be."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from reconciler.errors import ParentMissing
from reconciler.ipam.assign import assign
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.promises import NetworkPromise, Promises, decode_promises, sandbox_record
from reconciler.model.desired import DesiredState, ParentFact
from reconciler.model.identifiers import HOST, NsRef, derived_id, vlan_of
from reconciler.model.objects import Unit
from reconciler.model.wanted import (
    AttachmentWanted,
    IpvlanMode,
    IpvlanOptions,
    MacvlanMode,
    MacvlanOptions,
    NetworkWanted,
    SubnetWanted,
)
from tests.unit.ipam.builders import HOST_FACTS, attachment, network, on, subnet, wanted_state

ETH7 = ParentFact(ifname="eth7", mtu=9000)
LAN = subnet("192.0.2.0/24", gateway="192.0.2.1")


def macvlan(
    name: str, *subnets: SubnetWanted, parent: str = "eth7", mode: MacvlanMode = MacvlanMode.BRIDGE, **more: object
) -> NetworkWanted:
    options = MacvlanOptions(parent=parent, mode=mode, mtu=more.pop("mtu", None))  # type: ignore[arg-type]
    return network(name, *subnets, driver="macvlan", macvlan=options, **{"bridge": None, **more})


def ipvlan(name: str, *subnets: SubnetWanted, mode: IpvlanMode = IpvlanMode.L2) -> NetworkWanted:
    return network(name, *subnets, driver="ipvlan", bridge=None, ipvlan=IpvlanOptions(parent="eth7", mode=mode))


def assigned(
    *networks: NetworkWanted,
    attachments: tuple[AttachmentWanted, ...] = (),
    parents: tuple[ParentFact, ...] | None = (ETH7,),
    before: Promises | None = None,
) -> DesiredState:
    host = replace(HOST_FACTS, parents=parents)
    return assign(wanted_state(networks, attachments), host, before or Promises())


def failures(desired: DesiredState) -> dict[Unit, str]:
    return {unit: str(error) for unit, error in desired.failures}


def test_only_a_declared_gateway_counts_and_no_address_is_kept_for_one() -> None:
    with_gateway, without = macvlan("a", LAN), macvlan("b", subnet("198.51.100.0/24"))
    members = (attachment("one", "a"), attachment("two", "b"))

    desired = assigned(with_gateway, without, attachments=members)

    one, two = (found.endpoints[0] for found in desired.attachments)
    assert (str(one.ipv4), one.gateway_ipv4, one.is_default_ipv4) == ("192.0.2.2/24", ip_address("192.0.2.1"), True)
    assert (str(two.ipv4), two.gateway_ipv4, two.is_default_ipv4) == ("198.51.100.1/24", None, False)
    assert [found.subnets[0].gateway for found in desired.networks] == [ip_address("192.0.2.1"), None]


def test_an_internal_network_and_one_without_a_parent_lead_nowhere() -> None:
    inside = macvlan("in", LAN, is_internal=True)
    alone = macvlan("alone", subnet("198.51.100.0/24", gateway="198.51.100.1"), parent="")

    desired = assigned(inside, alone, attachments=(attachment("one", "in", "alone"),))

    assert [(e.gateway_ipv4, e.is_default_ipv4) for e in desired.attachments[0].endpoints] == [(None, False)] * 2
    names = {found.name: found.link_name for found in desired.networks}
    assert names["in"] == ""
    assert names["alone"].startswith("dm-")
    assert len(names["alone"]) == 15


def test_declared_subnets_may_be_those_of_the_hosts_own_routes() -> None:
    host = replace(HOST_FACTS, parents=(ETH7,), routes=((LAN.subnet, "eth7"),))

    desired = assign(wanted_state([macvlan("a", LAN)]), host, Promises())

    assert desired.failures == ()


def test_several_subnets_are_used_one_after_the_other() -> None:
    tiny = subnet("192.0.2.0/30")
    members = tuple(attachment(name, "a") for name in ("one", "two", "three"))

    desired = assigned(macvlan("a", tiny, subnet("192.0.2.8/29")), attachments=members)

    found = {each.name: str(each.endpoints[0].ipv4) for each in desired.attachments}
    assert found == {"one": "192.0.2.1/30", "three": "192.0.2.2/30", "two": "192.0.2.9/29"}


@pytest.mark.parametrize(("declared", "expected"), [(None, 9000), (1400, 1400)])
def test_mtu_is_the_declared_one_else_the_parents(declared: int | None, expected: int) -> None:
    assert assigned(macvlan("a", LAN, mtu=declared)).networks[0].mtu == expected


def test_a_parent_is_not_asked_for_while_nobody_looked() -> None:
    desired = assigned(macvlan("a", LAN), parents=None)

    assert (desired.failures, desired.networks[0].mtu) == ((), 1500)


@pytest.mark.parametrize(
    ("parents", "mtu", "message"),
    [
        ((), None, "network a: there is no link eth7 on this host: its parent must exist"),
        ((replace(ETH7, is_ours=True),), None, "network a: parent eth7 is a link of ours; name one of the host's own"),
        ((ETH7,), 9001, "network a: MTU 9001 is more than that of its parent eth7, 9000"),
    ],
    ids=["missing", "ours", "mtu"],
)
def test_a_parent_that_will_not_do_fails_its_network_only(
    parents: tuple[ParentFact, ...], mtu: int | None, message: str
) -> None:
    members = (attachment("one", "a"), attachment("two", "b"))

    desired = assigned(macvlan("a", LAN, mtu=mtu), network("b"), attachments=members, parents=parents)

    assert failures(desired)[Unit(network="a")] == message
    assert [found.name for found in desired.attachments] == ["two"]
    error = dict(desired.failures)[Unit(network="a")]
    assert error.is_retryable is isinstance(error, ParentMissing) is (parents == ())


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((ETH7,), ""),
        ((ETH7, replace(ETH7, ifname="eth7.10", is_ours=True)), ""),
        ((replace(ETH7, ifname="eth7.10"),), ""),
        ((), "network a: there is no link eth7.10 or eth7 on this host: its parent must exist"),
    ],
    ids=["to be made", "made by us", "made by others", "nothing"],
)
def test_a_vlan_needs_what_it_is_on(parents: tuple[ParentFact, ...], message: str) -> None:
    desired = assigned(macvlan("a", LAN, parent="eth7.10"), parents=parents)

    assert failures(desired).get(Unit(network="a"), "") == message
    assert [found.mtu for found in desired.networks] == ([] if message else [9000])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("eth0.10", ("eth0", 10)),
        ("br.lan.4094", ("br.lan", 4094)),
        ("eth0.4095", None),
        ("eth0.0", None),
        ("eth0.010", None),
        (".10", None),
        ("eth0", None),
    ],
)
def test_names_of_vlans(name: str, meant: tuple[str, int] | None) -> None:
    assert vlan_of(name) == meant


OTHER = subnet("198.51.100.0/24")


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        (macvlan("a", LAN), macvlan("b", OTHER, mode=MacvlanMode.PRIVATE), False),
        (macvlan("a", LAN), macvlan("b", OTHER, mode=MacvlanMode.PASSTHRU), True),
        (macvlan("a", LAN, mode=MacvlanMode.PASSTHRU), macvlan("b", OTHER), True),
        (macvlan("a", LAN), ipvlan("b", OTHER), True),
        (ipvlan("a", LAN), ipvlan("b", OTHER), True),
        (macvlan("a", LAN, parent=""), macvlan("b", OTHER, parent="", mode=MacvlanMode.PASSTHRU), False),
    ],
    ids=["bridge, private", "bridge, passthru", "passthru, bridge", "macvlan, ipvlan", "ipvlan twice", "no parents"],
)
def test_who_may_share_a_parent(first: NetworkWanted, second: NetworkWanted, is_refused: bool) -> None:
    members = (attachment("one", "a"), attachment("two", "b"))

    desired = assigned(first, second, attachments=members)

    assert (Unit(network="b") in failures(desired)) is is_refused
    assert Unit(network="a") not in failures(desired)


def test_who_was_on_the_parent_before_stays() -> None:
    members = (attachment("one", "a"), attachment("two", "b"))
    promise = NetworkPromise(name="b", id=derived_id("b"), created="", subnets=((OTHER.subnet, None),))
    before = Promises(networks={"b": promise})

    desired = assigned(
        macvlan("a", LAN, mode=MacvlanMode.PASSTHRU), macvlan("b", OTHER), attachments=members, before=before
    )

    assert list(failures(desired)) == [Unit(network="a"), Unit(network="a", attachment="one")]


def test_a_network_without_members_here_is_in_nobodys_way() -> None:
    desired = assigned(
        macvlan("a", LAN, mode=MacvlanMode.PASSTHRU), macvlan("b", OTHER), attachments=(attachment("two", "b"),)
    )

    assert desired.failures == ()


def test_passthru_takes_a_single_endpoint() -> None:
    members = (attachment("one", "a"), attachment("two", "a"))

    desired = assigned(macvlan("a", LAN, mode=MacvlanMode.PASSTHRU), attachments=members)

    assert failures(desired) == {
        Unit(network="a", attachment="two"): (
            "attachment two: network a is in mode passthru, which attachment one has to itself"
        )
    }
    assert [found.name for found in desired.attachments] == ["one"]


@pytest.mark.parametrize(("mode", "on_link"), [(IpvlanMode.L2, False), (IpvlanMode.L3, True), (IpvlanMode.L3S, True)])
def test_ipvlan_has_no_mac_of_its_own_and_routes_on_link_in_l3(mode: IpvlanMode, on_link: bool) -> None:
    desired = assigned(ipvlan("a", LAN, mode=mode), attachments=(attachment("one", "a"),))

    (endpoint,) = desired.attachments[0].endpoints
    assert endpoint.mac == ""
    assert endpoint.is_default_ipv4
    assert (endpoint.gateway_ipv4 is None) is on_link


@pytest.mark.parametrize(("pool", "needs_gateway_network"), [(LAN, False), (OTHER, True)])
def test_a_declared_gateway_spares_the_gateway_network(pool: SubnetWanted, needs_gateway_network: bool) -> None:
    over = network("over", driver="overlay", bridge=None)
    wanted = wanted_state([over, macvlan("a", pool)], [attachment("one", on("over"), on("a"))])

    joined = with_gateway_network(wanted).attachments[0].endpoints

    assert any(each.is_gateway for each in joined) is needs_gateway_network


def test_a_sandbox_is_remembered_by_its_record() -> None:
    ns = NsRef("path:/run/netns/x y")
    record = sandbox_record("web", ns)

    promises, faults = decode_promises({record.path: record.value})

    assert (promises.sandboxes, faults) == ({ns: "web"}, ())


@pytest.mark.parametrize("path", ["sandbox/web/host", "sandbox/../netns%3Aa", "sandbox/web/netns:a"])
def test_a_damaged_record_of_a_sandbox_is_left_out(path: str) -> None:
    promises, faults = decode_promises({path: "{}"})

    assert HOST not in promises.sandboxes
    assert (promises.sandboxes, len(faults)) == ({}, 1)
