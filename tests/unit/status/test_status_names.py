"""What the summary says of the name service."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.errors import ExitCode, ResolverError
from reconciler.model.objects import NAMES_UNIT, NameTables, Unit
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.status.verdict import exit_code, unsettled
from tests.unit.status.test_status_summary import READY, conditions, created, report, summary

FAILED = ((NAMES_UNIT, ResolverError("start the embedded DNS server: exit 1")),)


def test_names_are_ready_where_somebody_is_served() -> None:
    assert conditions(summary(report()), "names") == READY


def test_names_are_null_where_nobody_is_served() -> None:
    assert summary(report(is_empty=True))["names"] is None


def test_failing_name_service_is_told_and_is_no_network() -> None:
    found = summary(report(problems=FAILED))

    assert conditions(found, "names")["Ready"] == ("False", "NamesUnavailable")
    assert conditions(found, "networks", "front") == conditions(found, "attachments", "web") == READY
    assert found["networks"].keys() == {"front"}  # type: ignore[attr-defined]
    assert conditions(found)["Ready"] == ("False", "NamesUnavailable")
    assert exit_code(report(), unsettled(report(problems=FAILED))) is ExitCode.FAILED


def test_name_service_that_cannot_be_ended_is_told_although_nobody_needs_it() -> None:
    assert conditions(summary(report(problems=FAILED, is_empty=True)), "names")["Ready"][0] == "False"


def test_server_brought_back_counts_as_drift_repaired() -> None:
    before = summary(report())
    brought_back = Outcome(operation=created(NameTables(unit=NAMES_UNIT, digest="d", text="t")))

    found = summary(report(outcomes=(brought_back,)), before)

    assert (found["driftRepaired"], found["names"]["driftRepaired"]) == (1, 1)  # type: ignore[index]


@pytest.mark.parametrize(
    ("in_force", "repaired"),
    [("ab" * 32, 0), ("another server runs (version 0)", 1)],
    ids=["news", "no server of ours"],
)
def test_names_that_hosts_told_each_other_are_no_drift(in_force: str, repaired: int) -> None:
    before = summary(report())
    now = NameTables(unit=NAMES_UNIT, digest="cd" * 32, text="t")
    told = Operation(action=Action.UPDATE, before=NameTables(digest=in_force), after=now, unit=NAMES_UNIT)

    found = summary(report(outcomes=(Outcome(operation=told),)), before)

    assert (found["driftRepaired"], found["names"]["driftRepaired"]) == (repaired, repaired)  # type: ignore[index]


def test_attachment_that_cannot_be_served_is_ready_with_the_reason() -> None:
    served = report()
    remarks = ((Unit(attachment="web"), "it has no name service: port taken"),)

    found = summary(replace(served, desired=replace(served.desired, remarks=remarks)))

    message = found["attachments"]["web"]["conditions"][0]["message"]  # type: ignore[index]
    assert message == "as declared, but it has no name service: port taken"
