"""Macvlan and ipvlan links in plans: whose they are, what goes along with them, and what is noticed."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from reconciler.errors import KernelError
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.kv_record import record_unit
from reconciler.model.objects import Address, DeadEnd, Ipvlan, KvRecord, LinkUp, Macvlan, Object, Seen, Unit, VethPair
from reconciler.model.plan import Action, Disruption, Plan
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners

NS = NsRef("netns:web")
UNIT = Unit(network="lan", attachment="web")
LINK = Macvlan(unit=UNIT, ns=NS, ifname="eth0", parent="eth7", mode="bridge", mac="02:42:00:00:00:02", mtu=1500)
UP = LinkUp(unit=UNIT, ns=NS, ifname="eth0")
ADDRESS = Address(unit=UNIT, ns=NS, ifname="eth0", interface=ip_interface("192.0.2.10/24"))


def plan_of(seen: list[Object], wanted: list[Object], boundaries: Boundaries | None = None) -> Plan:
    found = {each.key: Seen(each, is_ours=True) for each in seen}
    whose = owners({}, {NS: Unit(attachment="web")}, found, {each.key: each for each in wanted})
    return make_plan({each.key: each for each in wanted}, found, whose, boundaries or Boundaries())


def steps(plan: Plan) -> list[tuple[Action, str]]:
    return [(operation.action, operation.object.kind) for operation in plan.operations]


@pytest.mark.parametrize(
    ("other", "disruption"),
    [
        (replace(LINK, mac="02:42:00:00:00:03"), Disruption.FLAP),
        (replace(LINK, mtu=1400), Disruption.LIVE),
    ],
    ids=["mac", "mtu"],
)
def test_what_changes_in_place(other: Macvlan, disruption: Disruption) -> None:
    plan = plan_of([other, UP, ADDRESS], [LINK, UP, ADDRESS])

    assert steps(plan) == [(Action.UPDATE, "Macvlan")]
    assert [(o.disruption, o.affects, o.unit) for o in plan.operations] == [(disruption, ("web",), UNIT)]


@pytest.mark.parametrize("other", [replace(LINK, parent="eth8"), replace(LINK, mode="private")], ids=["parent", "mode"])
def test_what_is_made_anew_takes_along_what_is_on_it(other: Macvlan) -> None:
    plan = plan_of([other, UP, ADDRESS], [LINK, UP, ADDRESS])

    assert steps(plan) == [
        (Action.DELETE, "Macvlan"),
        (Action.CREATE, "Macvlan"),
        (Action.CREATE, "LinkUp"),
        (Action.CREATE, "Address"),
    ]
    assert plan.operations[0].disruption is Disruption.RECREATE


def test_a_link_that_was_renamed_inside_goes_on_behalf_of_its_endpoint() -> None:
    plan = plan_of([replace(LINK, ifname="other")], [LINK, UP, ADDRESS])

    assert steps(plan)[:2] == [(Action.DELETE, "Macvlan"), (Action.CREATE, "Macvlan")]
    assert {operation.unit for operation in plan.operations} == {UNIT}


def test_of_two_on_one_parent_a_renamed_one_is_the_attachments() -> None:
    second = replace(LINK, ifname="eth1", unit=Unit(network="two", attachment="web"))

    plan = plan_of([replace(LINK, ifname="other"), second], [LINK, second])

    assert plan.operations[0].unit == Unit(attachment="web")


def test_another_kind_under_the_same_name_comes_when_the_first_is_gone() -> None:
    pair = VethPair(
        unit=UNIT, ns=HOST, ifname="rcv1", master="br", mtu=1500, peer_ns=NS, peer_ifname="eth0", peer_mac=LINK.mac
    )
    ipvlan = Ipvlan(unit=UNIT, ns=NS, ifname="eth0", parent="eth7", mode="l2", flag="bridge", mtu=1500)

    assert steps(plan_of([pair, UP, ADDRESS], [LINK, UP, ADDRESS])) == [
        (Action.DELETE, "VethPair"),
        (Action.CREATE, "Macvlan"),
        (Action.CREATE, "LinkUp"),
        (Action.CREATE, "Address"),
    ]
    assert steps(plan_of([LINK, UP, ADDRESS], [ipvlan, UP, ADDRESS]))[:2] == [
        (Action.DELETE, "Macvlan"),
        (Action.CREATE, "Ipvlan"),
    ]


def test_a_parent_of_ours_comes_before_what_is_on_it_and_goes_after_it() -> None:
    end = DeadEnd(unit=Unit(network="lan"), ns=HOST, ifname="dm-0123456789ab", mtu=1500)
    link = replace(LINK, parent=end.ifname)

    assert steps(plan_of([], [link, end])) == [(Action.CREATE, "DeadEnd"), (Action.CREATE, "Macvlan")]
    assert steps(plan_of([link, end], [])) == [(Action.DELETE, "Macvlan"), (Action.DELETE, "DeadEnd")]


def test_the_sandboxs_record_stays_until_its_link_is_gone() -> None:
    record = KvRecord(unit=Unit(attachment="web"), path="sandbox/web/netns%3Aweb", value="{}")

    assert record_unit(record.path) == Unit(attachment="web")
    assert steps(plan_of([], [LINK, record]))[0] == (Action.CREATE, "KvRecord")
    assert steps(plan_of([LINK, record], []))[-1] == (Action.DELETE, "KvRecord")


def test_a_network_that_cannot_be_decided_keeps_its_links() -> None:
    failed = Boundaries(failures=((UNIT, KernelError(16, "x")),))

    assert plan_of([LINK, UP, ADDRESS], [], failed).operations == ()
