"""Bridges of others: who may take one over, with which subnets, and the record of how it was found."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from msgspec.structs import replace

from reconciler.ipam.adoption import given_back, kept_adoptions, with_found
from reconciler.ipam.adoption_record import adoption_record
from reconciler.ipam.assign import assign
from reconciler.ipam.promises import NOTHING_PROMISED, Promises, decode_promises
from reconciler.model.adoption import Adopt, Adopted, BridgeFact, Found
from reconciler.model.desired import DesiredNetwork, DesiredState, HostFacts
from reconciler.model.identifiers import HOST
from reconciler.model.objects import HOST_UNIT, AdoptedBridge, Bridge, Seen, Unit
from reconciler.model.plan import Action, Disruption, Operation
from reconciler.model.wanted import BridgeOptions, WantedState
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners
from tests.unit.ipam.builders import HOST_FACTS, attachment, network, on

FOUND = Found(
    network="lan",
    ifname="br0",
    ifindex=7,
    mac="02:00:00:00:00:07",
    mtu=1450,
    is_up=True,
    has_ipv6=True,
    promotes_secondaries=False,
    alias="of others",
    group=3,
    addresses=("10.9.0.1/24",),
    ports=("eth1",),
)
FACT = BridgeFact(
    ifname="br0",
    mac=FOUND.mac,
    mtu=1450,
    is_up=True,
    has_ipv6=True,
    addresses=(ip_interface("10.9.0.1/24"), ip_interface("10.9.0.2/24"), ip_interface("fd09::1/64")),
    found=replace(FOUND, network=""),
)
TAKEN = replace(FACT, found=None)
LAN = network("lan", options=BridgeOptions(link_name="br0"), adopt=Adopt.UNMANAGED)


def chosen(
    *bridges: BridgeFact, lan: object = LAN, promises: Promises = NOTHING_PROMISED, host: HostFacts = HOST_FACTS
) -> DesiredState:
    host = replace(
        host, bridges=bridges, routes=((ip_network("10.9.0.0/24"), "br0"), (ip_network("10.8.0.0/24"), "eth0"))
    )
    wanted = WantedState(networks=(lan,), attachments=(attachment("web", on("lan")),))  # type: ignore[arg-type]
    return assign(wanted, host, promises)


def lan_of(state: DesiredState) -> DesiredNetwork:
    assert not state.failures
    return state.networks[0]


def test_its_subnets_gateway_and_mtu_are_the_networks_and_its_addresses_nobodys() -> None:
    state = chosen(FACT)
    lan = lan_of(state)

    assert [(str(s.subnet), str(s.gateway)) for s in lan.subnets] == [("10.9.0.0/24", "10.9.0.1")]
    assert (lan.mtu, lan.bridge_mac) == (1450, FOUND.mac)
    assert lan.adopted == Adopted(bridge=FACT, found=FOUND)
    assert state.attachments[0].endpoints[0].ipv4 == ip_interface("10.9.0.3/24")


def test_what_specs_say_of_it_goes_before_what_it_has() -> None:
    said = network("lan", "10.9.0.128/25", options=BridgeOptions(link_name="br0", mtu=1400), adopt=Adopt.UNMANAGED)
    lan = lan_of(chosen(FACT, lan=said))

    assert (lan.mtu, lan.subnets[0].subnet) == (1400, ip_network("10.9.0.128/25"))
    assert lan.holds_gateway(lan.subnets[0])  # nobody of others is in that part


def test_a_gateway_beside_the_host_is_not_taken_by_its_bridge() -> None:
    lan = lan_of(chosen(FACT))
    (subnet,) = lan.subnets

    assert lan.holds_gateway(subnet)
    assert not lan.holds_gateway(replace(subnet, gateway=ip_address("10.9.0.254")))


def test_without_adopt_or_without_a_bridge_it_is_a_network_as_ever() -> None:
    as_ever = lan_of(chosen())
    not_asked = lan_of(chosen(FACT, lan=replace(LAN, adopt=Adopt.NO)))

    assert (as_ever.adopted, not_asked.adopted) == (None, None)
    assert as_ever.subnets[0].subnet == not_asked.subnets[0].subnet == ip_network("172.17.0.0/16")


@pytest.mark.parametrize(
    ("adopt", "bridge", "is_refused"),
    [
        (Adopt.UNMANAGED, replace(FACT, manager="dockerd (process 7)"), True),
        (Adopt.EVEN_MANAGED, replace(FACT, manager="dockerd (process 7)"), False),
        (Adopt.UNMANAGED, FACT, False),
        (Adopt.UNMANAGED, replace(TAKEN, manager="dockerd (process 7)"), False),
    ],
)
def test_a_bridge_that_a_program_runs_is_left_to_it_unless_somebody_insists(
    adopt: Adopt, bridge: BridgeFact, is_refused: bool
) -> None:
    failures = chosen(bridge, lan=replace(LAN, adopt=adopt)).failures

    assert bool(failures) == is_refused
    if is_refused:
        assert "bridge br0 belongs to dockerd (process 7)" in str(failures[0][1])
        assert "`adopt: managed`" in str(failures[0][1])


@pytest.mark.parametrize(
    ("known", "kept"),
    [
        (replace(FOUND, mtu=9000), replace(FOUND, mtu=9000)),  # the pass that wrote it was killed before it did more
        (replace(FOUND, mtu=9000, ifindex=6), FOUND),  # a bridge of the same name, from before a reboot
        (replace(FOUND, mtu=9000, network="other"), FOUND),
    ],
)
def test_a_record_counts_for_the_bridge_that_it_speaks_of(known: Found, kept: Found) -> None:
    adopted = lan_of(chosen(FACT, promises=Promises(adopted={"br0": known}))).adopted

    assert adopted is not None
    assert adopted.found == kept


def test_who_leaves_it_leaves_its_subnets() -> None:
    records = {"br0": FOUND}
    before = lan_of(chosen(TAKEN, promises=Promises(adopted=records)))
    elsewhere = replace(LAN, bridge=BridgeOptions(link_name="br1"))

    assert before.subnets[0].subnet == ip_network("10.9.0.0/24")
    assert lan_of(chosen(TAKEN, lan=elsewhere, promises=Promises(adopted=records))).subnets[0].subnet == ip_network(
        "172.17.0.0/16"
    )


def test_records_are_read_as_they_were_written_and_bad_ones_told() -> None:
    record = adoption_record(FOUND)
    bad = dict.fromkeys(("adopted/", "adopted/a name/", "adopted/way-too-long-for-a-link"), record.value)

    assert (record.path, record.unit) == ("adopted/br0", Unit(network="lan"))
    assert decode_promises({record.path: record.value})[0].adopted == {"br0": FOUND}
    for text in ("{}", "[]", record.value.replace("1450", "-1"), record.value.replace('"lan"', '"../x"')):
        promises, faults = decode_promises({"adopted/br0": text})
        assert (promises.adopted, len(faults)) == ({}, 1)
    assert decode_promises(bad)[0].adopted == {}


def test_a_record_goes_with_its_network_and_stays_when_that_could_not_give_the_bridge_back() -> None:
    record = adoption_record(FOUND)
    known = owners({}, {}, {})

    assert record.owner(known) == Unit(network="lan")
    for text in ("", "[]", "{}", '{"network": 1}', "[" * 9999):
        assert replace(record, value=text).owner(known) == HOST_UNIT


def seen(*, is_adopted: bool, mtu: int = 1450, is_up: bool = True) -> dict[tuple[str, ...], Seen]:
    mark = "mark" if is_adopted else ""
    bridge = AdoptedBridge(ns=HOST, ifname="br0", mtu=mtu, has_ipv6=True, is_up=is_up, mark=mark, is_adopted=is_adopted)
    return {bridge.key: Seen(bridge, is_ours=is_adopted)}


WANTED = AdoptedBridge(
    unit=Unit(network="lan"), ns=HOST, ifname="br0", mtu=1450, has_ipv6=True, mark="mark", found=FOUND
)


def planned(wanted: AdoptedBridge | None, there: dict[tuple[str, ...], Seen]) -> list[Operation]:
    whose = owners({"br0": Unit(network="lan"), "veth": Unit(network="lan", attachment="web")}, {}, there)
    plan = make_plan({wanted.key: wanted} if wanted else {}, there, whose, Boundaries())
    return list(plan.operations)


def test_it_is_adopted_updated_and_released_never_created_or_deleted() -> None:
    (adopt,) = planned(WANTED, seen(is_adopted=False))
    (update,) = planned(WANTED, seen(is_adopted=True, mtu=1300))
    (release,) = planned(None, with_found(seen(is_adopted=True), {"br0": FOUND}))

    assert (adopt.action, adopt.disruption) == (Action.ADOPT, Disruption.NONE)
    assert (update.action, update.disruption) == (Action.UPDATE, Disruption.LIVE)
    assert (release.action, release.disruption, release.action.is_removal) == (Action.RELEASE, Disruption.NONE, True)
    assert planned(WANTED, seen(is_adopted=True)) == planned(None, seen(is_adopted=False)) == []


@pytest.mark.parametrize(
    ("there", "disruption"),
    [
        (seen(is_adopted=False, mtu=1500), Disruption.LIVE),
        (seen(is_adopted=False, is_up=False), Disruption.LIVE),
    ],
)
def test_what_adopting_changes_besides_is_told(there: dict[tuple[str, ...], Seen], disruption: Disruption) -> None:
    (adopt,) = planned(WANTED, there)

    assert (adopt.disruption, adopt.affects) == (disruption, ("web",))


@pytest.mark.parametrize(
    ("found", "disruption"),
    [(replace(FOUND, mtu=1500), Disruption.LIVE), (replace(FOUND, is_up=False), Disruption.RECREATE)],
)
def test_what_giving_back_changes_besides_is_told(found: Found, disruption: Disruption) -> None:
    (release,) = planned(None, with_found(seen(is_adopted=True), {"br0": found}))

    assert release.disruption is disruption


def test_the_record_stays_while_the_bridge_has_our_mark_and_no_longer() -> None:
    records = {"br0": FOUND, "gone0": replace(FOUND, ifname="gone0")}

    assert list(kept_adoptions(seen(is_adopted=True), records)) == [adoption_record(FOUND)]
    assert list(kept_adoptions(seen(is_adopted=False), records)) == []


def test_a_network_that_no_longer_adopts_ends_on_that_bridge_with_its_members() -> None:
    lan = lan_of(chosen(FACT, lan=replace(LAN, adopt=Adopt.NO)))
    endpoints = (("lan", "web"), ("other", "web"))
    bridge = Bridge(ns=HOST, ifname="br0", mac="", mtu=1450)

    assert list(given_back((lan,), endpoints, seen(is_adopted=True))) == [
        Unit(network="lan"),
        Unit(network="lan", attachment="web"),
    ]
    assert list(given_back((lan,), endpoints, seen(is_adopted=False))) == []
    assert list(given_back((lan,), endpoints, {bridge.key: Seen(bridge, is_ours=True)})) == []
