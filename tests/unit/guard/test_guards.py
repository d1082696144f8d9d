"""The pure guards: what is refused, what is declared again, what is taken out of a plan."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from reconciler.errors import DriftLeft, NameConflict, Protected, PruneRefused, Suspended
from reconciler.guard.keep import declared_again, missing
from reconciler.guard.obey import obeyed
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.prune import refusals, unheeded
from reconciler.ipam.promises import NetworkPromise, Promises
from reconciler.model.holds import Holds, OnDrift
from reconciler.model.identifiers import HOST, NsRef, network_id
from reconciler.model.objects import (
    HOST_UNIT,
    Address,
    Bridge,
    FirewallRules,
    KvRecord,
    Namespace,
    Object,
    Unit,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.plan import Action, Operation, Plan
from reconciler.model.wanted import (
    AttachmentWanted,
    EndpointWanted,
    NetworkMode,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    WantedState,
)
from reconciler.plan.ownership import Owners
from reconciler.settings import PruneLimit

LIMIT = PruneLimit()
WEB_NS = NsRef("netns:web")


def wanted(*networks: str, attachments: tuple[AttachmentWanted, ...] = (), has_faults: bool = False) -> WantedState:
    """The built-in networks are always there."""
    names = sorted({"bridge", "host", "none", *networks})
    return WantedState(
        networks=tuple(
            NetworkWanted(
                name=name,
            )
            for name in names
        ),
        attachments=attachments,
        has_faults=has_faults,
    )


def attachment(name: str, *networks: str, mode: NetworkMode = NetworkMode.NETWORKS) -> AttachmentWanted:
    return AttachmentWanted(
        name=name,
        sandbox=SandboxRef(SandboxKind.NETNS, name),
        mode=mode,
        endpoints=tuple(
            EndpointWanted(
                network=network,
            )
            for network in networks
        ),
    )


def promises(*networks: str, protected: tuple[str, ...] = ()) -> Promises:
    return Promises(
        networks={
            name: NetworkPromise(name=name, id=network_id("h", name), created="", is_protected=name in protected)
            for name in ("bridge", "host", "none", *networks)
        },
    )


@pytest.mark.parametrize(
    ("running", "declared", "refused"),
    [
        ("abcde", "abcde", ""),
        ("abcde", "abc", ""),
        ("abcde", "ab", "cde"),
        ("abcdef", "abc", ""),
        ("abcdef", "ab", "cdef"),
        ("abc", "a", ""),
        ("abc", "", "abc"),
        ("a", "", "a"),
        ("ab", "x", ""),
        ("abcd", "x", "abcd"),
        ("", "", ""),
    ],
    ids=lambda names: names or "none",
)
def test_more_than_half_and_at_least_three_or_all_are_refused(running: str, declared: str, refused: str) -> None:
    found = refusals(wanted(*declared), promises(*running), LIMIT, NO_ORDERS, has_members=False)

    assert sorted(found.networks) == sorted(refused)
    assert found.is_whole == bool(refused)
    assert all(type(error) is PruneRefused for error in found.networks.values())
    assert not refusals(
        wanted(*declared), promises(*running), LIMIT, Orders(is_prune_allowed=True), has_members=False
    ).networks


@pytest.mark.parametrize(
    ("limit", "is_refused"),
    [
        (PruneLimit(count=2, percent=10), True),
        (PruneLimit(count=3, percent=10), False),
        (PruneLimit(count=1, percent=50), False),
    ],
    ids=["beyond", "too few", "too small a share"],
)
def test_limit_counts_both_number_and_share(limit: PruneLimit, is_refused: bool) -> None:
    assert (
        bool(refusals(wanted("a", "b"), promises("a", "b", "c", "d"), limit, NO_ORDERS, has_members=False).networks)
        == is_refused
    )


def test_specs_that_declare_nothing_take_no_attachment_away() -> None:
    found = refusals(wanted(), promises(), LIMIT, NO_ORDERS, has_members=True)

    assert found.is_whole
    assert [unit for unit, _ in found.told()] == [HOST_UNIT]
    assert not refusals(wanted(attachments=(attachment("x"),)), promises(), LIMIT, NO_ORDERS, has_members=True).is_whole


def test_specs_with_faults_remove_nothing_so_nothing_is_refused() -> None:
    assert not refusals(
        wanted(has_faults=True), promises("a", protected=("a",)), LIMIT, NO_ORDERS, has_members=False
    ).networks


@pytest.mark.parametrize(
    ("orders", "stays"),
    [
        (NO_ORDERS, True),
        (Orders(is_prune_allowed=True), True),
        (Orders(unprotected=frozenset({"b"})), True),
        (Orders(unprotected=frozenset({"a"})), False),
        (Orders(is_protection_off=True), False),
    ],
    ids=["no orders", "prune allowed", "another unprotected", "unprotected", "protection off"],
)
def test_protected_network_goes_only_by_its_name(orders: Orders, stays: bool) -> None:
    found = refusals(wanted("b"), promises("a", "b", protected=("a", "b")), LIMIT, orders, has_members=False)

    assert list(found.networks) == (["a"] if stays else [])
    assert all(isinstance(error, Protected) for error in found.networks.values())


def test_what_stays_is_declared_as_it_was_with_what_is_on_it() -> None:
    before = wanted(
        "a", "b", attachments=(attachment("both", "a", "b"), attachment("gone", "a", "b"), attachment("web", "b"))
    )
    labelled = replace(before, networks=tuple(replace(n, labels=(("old", "1"),)) for n in before.networks))
    now = wanted("c", attachments=(attachment("both", "c"),))

    found = declared_again(now, labelled, frozenset({"a"}), is_whole=False)

    assert [n.name for n in found.networks] == ["a", "bridge", "c", "host", "none"]
    assert [n.name for n in found.networks if n.labels] == ["a"]
    assert {a.name: [e.network for e in a.endpoints] for a in found.attachments} == {"both": ["a", "c"], "gone": ["a"]}
    assert missing({"a", "z"}, labelled) == {"z"}


def test_attachment_that_left_its_networks_for_the_host_s_stack_is_not_called_back() -> None:
    before = wanted("a", attachments=(attachment("web", "a"),))
    now = wanted(attachments=(attachment("web", mode=NetworkMode.HOST),))

    assert declared_again(now, before, frozenset({"a"}), is_whole=False).attachments == now.attachments


def test_unbelieved_specs_leave_every_attachment() -> None:
    before = wanted("a", attachments=(attachment("plain", "bridge"), attachment("web", "a")))

    found = declared_again(wanted(), before, frozenset({"a"}), is_whole=True)

    assert found.attachments == before.attachments


FRONT, BACK = Unit(network="front"), Unit(network="back")
WEB = Unit(network="front", attachment="web")
BRIDGE = Bridge(unit=FRONT, ns=HOST, ifname="br-front", mac="02:42:00:00:00:01", mtu=1500)
OTHER_BRIDGE = Bridge(unit=BACK, ns=HOST, ifname="br-back", mac="02:42:00:00:00:02", mtu=1500)
ADDRESS = Address(unit=WEB, ns=WEB_NS, ifname="eth0", interface=ip_interface("10.7.0.2/24"))
SANDBOX = Namespace(unit=Unit(attachment="web"), ns=WEB_NS, name="web")
RULES = FirewallRules(family="inet", table="reconciler", digest="d")
RECORD = KvRecord(unit=WEB, path="endpoint/front/web", value="{}")
OWNERS = Owners(links={"br-front": FRONT, "rcv1": WEB}, sandboxes={}, peers={})
SUSPENDED = Suspended("front is suspended")


def operation(found: Object, action: Action = Action.CREATE) -> Operation:
    before, after = (found, None) if action is Action.DELETE else (None, found)
    return Operation(action=action, before=before, after=after, unit=found.unit)


def held(*found: Object, holds: Holds, problems: Plan = Plan(), inode: int = 7) -> Plan:  # noqa: B008  # frozen
    plan = Plan(operations=tuple(operation(one) for one in found), problems=problems.problems)
    state = replace(wanted("front", "back", attachments=(attachment("web", "front"),)), holds=holds)
    return obeyed(plan, state, OWNERS, {WEB_NS: SandboxFact(inode=inode, is_ours=True)})


def objects(plan: Plan) -> list[Object]:
    return [operation.object for operation in plan.operations]


def test_plan_is_the_same_when_nothing_is_held() -> None:
    plan = Plan(operations=(operation(BRIDGE),))

    assert obeyed(plan, wanted("front"), OWNERS, {}) is plan


def test_nothing_is_done_for_a_suspended_network_or_the_attachments_on_it() -> None:
    found = held(BRIDGE, ADDRESS, SANDBOX, OTHER_BRIDGE, holds=Holds(suspended=((FRONT, SUSPENDED),)))

    assert objects(found) == [OTHER_BRIDGE]
    assert found.problems == ((FRONT, SUSPENDED),)


def test_table_is_not_made_anew_under_a_suspended_network() -> None:
    plan = Plan(operations=(operation(RULES, Action.DELETE), operation(RULES)))
    state = replace(wanted(), holds=Holds(suspended=((FRONT, SUSPENDED),)))

    assert [o.action for o in obeyed(plan, state, OWNERS, {}).operations] == [Action.CREATE]


def test_nothing_at_all_is_done_on_a_suspended_host() -> None:
    found = held(BRIDGE, RULES, OTHER_BRIDGE, RECORD, holds=Holds(suspended=((HOST_UNIT, SUSPENDED),)))

    assert found.operations == ()


def test_problems_of_before_stay_and_all_are_sorted() -> None:
    conflict, refused = (BACK, NameConflict("in the way")), (Unit(network="aaa"), PruneRefused("stays"))

    found = held(holds=Holds(refused=(refused,)), problems=Plan(problems=(conflict,)))

    assert found.problems == (refused, conflict)


@pytest.mark.parametrize("answer", [OnDrift.WARN, OnDrift.IGNORE])
def test_drift_is_left_and_told_when_that_is_asked_for(answer: OnDrift) -> None:
    holds = Holds(on_drift={"front": answer}, sandboxes={WEB_NS: 7})

    found = held(BRIDGE, ADDRESS, SANDBOX, OTHER_BRIDGE, holds=holds)

    assert objects(found) == [SANDBOX, OTHER_BRIDGE]
    told = [(unit, str(error)) for unit, error in found.problems if isinstance(error, DriftLeft)]
    assert len(told) == (1 if answer is OnDrift.WARN else 0)
    assert all(unit == FRONT and ", " in message.partition("put it back: ")[2] for unit, message in told)


def test_new_sandbox_is_no_drift() -> None:
    holds = Holds(on_drift={"front": OnDrift.WARN}, sandboxes={WEB_NS: 7})

    found = held(BRIDGE, ADDRESS, holds=holds, inode=8)

    assert objects(found) == [ADDRESS]


def test_changed_promise_is_no_drift() -> None:
    holds = Holds(on_drift={"front": OnDrift.IGNORE}, sandboxes={WEB_NS: 7})

    assert objects(held(ADDRESS, RECORD, holds=holds)) == [ADDRESS, RECORD]


def test_names_that_protection_is_taken_from_are_those_of_protected_networks() -> None:
    kept = NetworkPromise(name="front", id="0" * 64, created="", is_protected=True)
    promises = Promises(networks={"front": kept, "open": replace(kept, name="open", is_protected=False)})

    def told(*names: str) -> list[str]:
        return list(unheeded(Orders(unprotected=frozenset(names)), wanted("open"), promises))

    assert told() == told("front") == []
    assert told("frnt", "open") == [
        "--unprotect frnt: no protected network has that name; did you mean front?",
        "--unprotect open: no protected network has that name; protected are: front",
    ]
