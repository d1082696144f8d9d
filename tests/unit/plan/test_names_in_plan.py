"""The name tables among other objects: last to come, first to go, and nobody's burden."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.errors import KernelError, ResolverError
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import HOST_UNIT, NAMES_UNIT, Bridge, Key, Namespace, NameTables, Object, Seen, Unit
from reconciler.model.plan import Disruption, Plan
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners

TABLES = NameTables(unit=NAMES_UNIT, digest="new", text="the text")
BRIDGE = Bridge(unit=Unit(network="front"), ns=HOST, ifname="br-front", mac="02:42:00:00:00:01", mtu=1500)
NAMESPACE = Namespace(unit=Unit(attachment="web"), ns=NsRef("netns:web"), name="web")
LINKS = {"br-front": BRIDGE.unit}
SANDBOXES = {NAMESPACE.ns: NAMESPACE.unit}


def plan(wanted: tuple[Object, ...], seen: tuple[Object, ...], boundaries: Boundaries | None = None) -> Plan:
    found: Mapping[Key, Seen] = {each.key: Seen(each, is_ours=True) for each in seen}
    whose = owners(LINKS, SANDBOXES, found)
    return make_plan({each.key: each for each in wanted}, found, whose, boundaries or Boundaries())


def described(of: Plan) -> list[tuple[str, type[Object]]]:
    return [(str(operation.action), type(operation.object)) for operation in of.operations]


def test_names_come_last_and_go_first() -> None:
    assert described(plan((TABLES, NAMESPACE, BRIDGE), ()))[-1] == ("create", NameTables)
    assert described(plan((), (NAMESPACE, BRIDGE, TABLES)))[0] == ("delete", NameTables)


def test_other_names_are_changed_in_place_unnoticed() -> None:
    found = plan((TABLES,), (NameTables(digest="old"),))

    assert described(found) == [("update", NameTables)]
    assert found.operations[0].after is TABLES
    assert found.operations[0].disruption is Disruption.NONE


def test_plan_is_empty_when_the_server_has_the_names_in_force() -> None:
    assert plan((TABLES,), (NameTables(digest="new"),)).operations == ()


def test_failing_names_hold_up_nothing_else() -> None:
    boundaries = Boundaries(failures=((NAMES_UNIT, ResolverError("it does not start")),))

    assert described(plan((TABLES, BRIDGE, NAMESPACE), (), boundaries)) == [("create", Namespace), ("create", Bridge)]


def test_failing_host_does_not_hold_up_names() -> None:
    boundaries = Boundaries(failures=((HOST_UNIT, KernelError(1, "list tables")),))

    assert ("create", NameTables) in described(plan((TABLES, BRIDGE), (), boundaries))


def test_server_stays_while_specs_cannot_be_read() -> None:
    assert plan((), (TABLES,), Boundaries(is_pruning=False)).operations == ()
