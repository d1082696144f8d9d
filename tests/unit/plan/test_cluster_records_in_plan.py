from __future__ import annotations

from reconciler.errors import NameConflict
from reconciler.model.objects import ClusterRecord, Key, Object, Seen, Unit
from reconciler.model.plan import Action, Plan
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners

WEB = Unit(network="over", attachment="web")
PATH = "network/over/endpoints/web"


def plan(wanted: list[ClusterRecord], *seen: Seen) -> Plan:
    objects: dict[Key, Object] = {record.key: record for record in wanted}
    found = {each.object.key: each for each in seen}
    return make_plan(objects, found, owners({}, {}, found), Boundaries())


def record(value: str, path: str = PATH) -> ClusterRecord:
    return ClusterRecord(unit=WEB, path=path, value=value)


def test_another_hosts_record_in_the_place_of_ours_is_a_conflict_of_that_endpoint_alone() -> None:
    other = ClusterRecord(unit=Unit(network="over"), path="network/over/members/alpha", value="{}")

    found = plan([record("mine"), other], Seen(record("theirs"), is_ours=False))

    assert [(unit, type(error)) for unit, error in found.problems] == [(WEB, NameConflict)]
    assert [(each.action, each.object) for each in found.operations] == [(Action.CREATE, other)]


def test_record_that_another_host_wrote_as_we_want_it_serves_as_well() -> None:
    assert plan([record("same")], Seen(record("same"), is_ours=False)) == Plan()


def test_own_record_is_brought_up_to_date_and_taken_back_and_anothers_is_left() -> None:
    updated = plan([record("new")], Seen(record("old"), is_ours=True))
    deleted = plan([], Seen(record("old"), is_ours=True), Seen(record("theirs", PATH + "2"), is_ours=False))

    assert [(each.action, each.key) for each in updated.operations] == [(Action.UPDATE, ("ClusterRecord", PATH))]
    assert [(each.action, each.key) for each in deleted.operations] == [(Action.DELETE, ("ClusterRecord", PATH))]
