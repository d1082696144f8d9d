"""Who is told of that a plan takes the network away from it."""

from __future__ import annotations

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Macvlan, Namespace, Object, Unit, VethPair
from reconciler.model.plan import Action, Operation, Plan
from reconciler.plan.vacated import vacated, vacated_remarks

WEB = NsRef("netns:web")
DB = NsRef("path:/run/db")
LINK = VethPair(
    unit=Unit(network="lan", attachment="web"),
    ns=HOST,
    ifname="rcv1",
    master="br-lan",
    mtu=1500,
    peer_ns=WEB,
    peer_ifname="eth0",
    peer_mac="",
)
SANDBOX = Namespace(unit=Unit(attachment="web"), ns=WEB, name="web")


def macvlan(network: str, ifname: str) -> Macvlan:
    unit = Unit(network=network, attachment="db")
    return Macvlan(unit=unit, ns=DB, ifname=ifname, parent="up0", mode="bridge", mac="", mtu=1500)


def plan(*deleted: Object, made: tuple[Object, ...] = ()) -> Plan:
    gone = [Operation(action=Action.DELETE, before=each, after=None, unit=each.unit) for each in deleted]
    come = [Operation(action=Action.CREATE, before=None, after=each, unit=each.unit) for each in made]
    return Plan(operations=(*gone, *come))


def test_sandbox_that_goes_and_links_that_go_are_told_with_the_process_inside() -> None:
    found = plan(LINK, SANDBOX, macvlan("b", "eth1"), macvlan("a", "eth0"))

    assert vacated(found) == {WEB, DB}
    assert list(vacated_remarks(found, {WEB: "process 7 (nginx)", DB: "process 8 (postgres)"})) == [
        (Unit(attachment="db"), "process 8 (postgres) runs in its sandbox, and loses network a, network b"),
        (
            Unit(attachment="web"),
            "process 7 (nginx) runs in its sandbox, which goes with its last process only; its networks go now",
        ),
    ]


def test_empty_sandboxes_and_links_that_are_made_anew_are_not_told() -> None:
    assert list(vacated_remarks(plan(LINK, SANDBOX), {})) == []
    assert vacated(plan(LINK, made=(LINK,))) == set()
