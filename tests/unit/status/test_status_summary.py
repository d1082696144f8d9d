"""The summary: who is ready, since when, what is in the way, and that nothing in it moves without cause."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from reconciler.errors import (
    ExitCode,
    FirewallMissing,
    KernelError,
    NameConflict,
    PoolOverlap,
    PrivilegeError,
    ReconcilerError,
    SandboxMissing,
    SpecError,
)
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST
from reconciler.model.objects import HOST_UNIT, Bridge, KvRecord, Object, Unit
from reconciler.model.plan import Action, Operation, Outcome, Plan
from reconciler.model.report import Report
from reconciler.status.summary import Revision, Summary
from reconciler.status.verdict import exit_code, first_to_mend, undecided, unsettled
from tests.fakes.desired import attachment, endpoint, host_facts, network

FRONT = Unit(network="front")
WEB = Unit(attachment="web")
BRIDGE = Bridge(unit=FRONT, ns=HOST, ifname="br-front", mac="02:42:00:00:00:01", mtu=1500)


def report(
    *,
    problems: tuple[tuple[Unit, ReconcilerError], ...] = (),
    remaining: tuple[Operation, ...] = (),
    outcomes: tuple[Outcome, ...] = (),
    now: str = "2026-01-01T00:00:00.000000000Z",
    digest: str = "d1",
    has_faults: bool = False,
    faults: tuple[SpecError, ...] = (),
    is_empty: bool = False,
) -> Report:
    front = network("front", "10.7.0.0/24")
    web = attachment("web", [endpoint("web", "front", "10.7.0.2/24")])
    desired = DesiredState(
        host=replace(host_facts(), now=now),
        networks=() if is_empty else (front,),
        attachments=() if is_empty else (web,),
        has_faults=has_faults,
    )
    drift = Plan(operations=remaining, problems=problems)
    return Report(desired=desired, plan=drift, outcomes=outcomes, drift=drift, spec_faults=faults, digest=digest)


def created(found: Object) -> Operation:
    return Operation(action=Action.CREATE, before=None, after=found, unit=found.unit)


def summary(of: Report, previous: Mapping[str, object] | None = None) -> dict[str, object]:
    """Go through text, as the next pass reads it."""
    found = json.loads(
        Summary(previous or {}).text(of, Revision("c0ffee"), {a.name: a for a in of.desired.attachments})
    )
    assert isinstance(found, dict)
    return found


def conditions(of: object, *path: str) -> dict[str, tuple[str, str]]:
    for step in path:
        of = of[step]  # type: ignore[index]
    return {c["type"]: (c["status"], c["reason"]) for c in of["conditions"]}  # type: ignore[index]


READY = {"Ready": ("True", "ReconciliationSucceeded")}


def test_all_is_ready_when_the_last_look_found_nothing_to_do() -> None:
    found = summary(report())

    assert conditions(found) == READY
    assert conditions(found, "networks", "front") == READY
    assert conditions(found, "attachments", "web") == READY


def test_summary_is_the_same_after_a_later_pass_with_nothing_to_do() -> None:
    first = summary(report())

    assert summary(report(now="2026-02-02T00:00:00.000000000Z"), first) == first


def test_time_moves_only_when_the_status_flips() -> None:
    first = summary(report(now="t1"))
    problem = ((FRONT, NameConflict("br-front is in the way")),)
    second = summary(report(now="t2", problems=problem), first)
    third = summary(report(now="t3", problems=problem), second)

    assert '"lastTransitionTime": "t2"' in json.dumps(second["networks"])
    assert third == second


def test_network_in_the_way_of_another_s_link_is_stalled_and_so_is_who_joins_it() -> None:
    found = summary(report(problems=((FRONT, NameConflict("br-front is in the way")),)))

    stalled = {"Ready": ("False", "OwnershipConflict"), "Stalled": ("True", "OwnershipConflict")}
    assert conditions(found, "networks", "front") == stalled
    assert conditions(found, "attachments", "web") == stalled


def test_sandbox_that_is_gone_is_retried_and_harms_nobody_else() -> None:
    found = summary(report(problems=((WEB, SandboxMissing("no process 17")),)))

    assert conditions(found, "attachments", "web") == {
        "Ready": ("False", "SandboxMissing"),
        "Reconciling": ("True", "ProgressingWithRetry"),
    }
    assert conditions(found, "networks", "front") == READY


def test_problem_of_one_endpoint_is_told_under_its_attachment() -> None:
    unit = Unit(network="front", attachment="web")

    found = summary(report(problems=((unit, KernelError(16, "create veth")),)))

    assert conditions(found, "attachments", "web")["Ready"] == ("False", "ApplyFailed")
    assert conditions(found, "networks", "front") == READY


def test_problem_of_the_host_is_everybody_s() -> None:
    found = summary(report(problems=((HOST_UNIT, FirewallMissing("neither libnftables nor nft")),)))

    assert conditions(found, "networks", "front")["Ready"] == ("False", "FirewallMissing")
    assert conditions(found, "attachments", "web")["Ready"] == ("False", "FirewallMissing")


def test_network_that_could_not_be_decided_is_listed_all_the_same() -> None:
    found = summary(report(problems=((Unit(network="back"), PoolOverlap("meets front")),)))

    assert conditions(found, "networks", "back")["Stalled"] == ("True", "BuildFailed")


def test_what_the_last_look_still_found_to_do_is_not_verified() -> None:
    found = summary(report(remaining=(created(BRIDGE),)))

    assert conditions(found, "networks", "front")["Ready"] == ("False", "VerifyFailed")


def test_what_failed_once_and_was_mended_since_is_ready() -> None:
    failed = Outcome(operation=created(BRIDGE), error=KernelError(16, "create bridge"))

    assert conditions(summary(report(outcomes=(failed,)))) == READY


def test_error_is_remembered_with_its_first_time_after_all_is_well_again() -> None:
    problem = ((FRONT, NameConflict("br-front is in the way")),)
    first = summary(report(now="t1", problems=problem))
    second = summary(report(now="t2", problems=problem), first)
    third = summary(report(now="t3"), second)

    remembered = third["networks"]["front"]["lastError"]  # type: ignore[index]
    assert remembered == {"message": "br-front is in the way", "time": "t1"}


def repaired(found: dict[str, object]) -> tuple[object, object]:
    return found["driftRepaired"], found["networks"]["front"]["driftRepaired"]  # type: ignore[index]


def test_change_under_unchanged_specs_counts_as_drift_repaired() -> None:
    done = (Outcome(operation=created(BRIDGE)), Outcome(operation=created(KvRecord(unit=FRONT, path="p", value="{}"))))

    first = summary(report(outcomes=done))
    second = summary(report(outcomes=done), first)

    assert repaired(first) == (0, 0), "a first pass repairs nothing"
    assert repaired(second) == (1, 1), "a record is no drift of the host"


def test_change_after_an_edit_of_the_specs_is_no_drift() -> None:
    done = (Outcome(operation=created(BRIDGE)),)

    assert repaired(summary(report(outcomes=done, digest="d2"), summary(report()))) == (0, 0)


def test_change_of_what_was_not_ready_is_no_drift() -> None:
    before = summary(report(problems=((FRONT, NameConflict("in the way")),)))

    assert repaired(summary(report(outcomes=(Outcome(operation=created(BRIDGE)),)), before)) == (0, 0)


@pytest.mark.parametrize(
    ("error", "count"),
    [(KernelError(errno.ENOBUFS, "create bridge br-front"), 1), (SandboxMissing("it is gone"), 0)],
    ids=["a pass failed", "something was missing"],
)
def test_drift_counts_against_the_last_verified_state(error: ReconcilerError, count: int) -> None:
    done = (Outcome(operation=created(BRIDGE)),)
    failed = report(problems=((FRONT, error),))
    verified = summary(report())
    tried = summary(failed, summary(failed, verified))

    assert verified["networks"]["front"]["verifiedDigest"] == "d1"  # type: ignore[index]
    assert repaired(summary(report(outcomes=done), tried))[1] == count
    never = summary(replace(failed, digest="d2"), verified)
    assert repaired(summary(report(outcomes=done, digest="d2"), never)) == (0, 0), "it was never brought about"


def test_what_cannot_be_read_any_more_is_kept_as_last_good() -> None:
    fault = SpecError("specs/a.yaml", 3, 5, "unknown key 'subnett'")
    before = summary(report(digest="d1"))

    found = summary(report(digest="d2", has_faults=True, faults=(fault,), is_empty=True), before)

    assert conditions(found)["Stalled"] == ("True", "ValidationFailed")
    assert found["specFaults"] == ["specs/a.yaml:3:5: unknown key 'subnett'"]
    assert conditions(found, "networks", "front")["Stalled"] == ("True", "LastGoodInUse")
    assert found["networks"]["front"]["specDigest"] == "d1"  # type: ignore[index]


def test_removed_network_leaves_the_summary() -> None:
    assert summary(report(is_empty=True), summary(report()))["networks"] == {}


@pytest.mark.parametrize(
    "previous",
    [
        {"networks": [], "attachments": "x", "conditions": 3, "lastError": []},
        {
            "networks": {
                "front": {"conditions": [None, {"type": "Ready"}], "driftRepaired": True, "lastError": {"message": 1}}
            }
        },
        {"networks": {"front": {"conditions": {"type": "Ready"}, "driftRepaired": "9"}}, "specDigest": "d1"},
    ],
    ids=["wrong kinds", "wrong items", "wrong entry"],
)
def test_damaged_summary_of_the_pass_before_is_survived(previous: Mapping[str, object]) -> None:
    assert conditions(summary(report(), previous), "networks", "front") == READY


def test_revision_says_when_something_is_not_committed() -> None:
    found = json.loads(Summary({}).text(report(), Revision("c0ffee", is_dirty=True), {}))

    assert found["observedRevision"] == {"commit": "c0ffee", "dirty": True}
    assert found["networks"]["front"]["observedRevision"] == "c0ffee-dirty"


def test_exit_code_is_fine_for_a_proven_pass() -> None:
    assert exit_code(report(), unsettled(report())) is ExitCode.OK


@pytest.mark.parametrize(
    ("problem", "faults", "code"),
    [
        (NameConflict("x"), (), ExitCode.FAILED),
        (FirewallMissing("x"), (), ExitCode.UNAVAILABLE),
        (PrivilegeError(1, "create bridge"), (), ExitCode.NO_PRIVILEGE),
        (NameConflict("x"), (SpecError("a", 1, 1, "m"),), ExitCode.BAD_SPECS),
        (PrivilegeError(1, "create bridge"), (SpecError("a", 1, 1, "m"),), ExitCode.NO_PRIVILEGE),
    ],
    ids=["conflict", "no nft", "no privilege", "bad specs and a conflict", "bad specs and no privilege"],
)
def test_exit_code_names_what_must_be_mended_first(
    problem: ReconcilerError, faults: tuple[SpecError, ...], code: ExitCode
) -> None:
    found = report(problems=((FRONT, problem),), faults=faults)

    assert exit_code(found, unsettled(found)) is code


def test_every_exit_code_has_its_rank() -> None:
    assert all(first_to_mend([code, ExitCode.OK]) is code for code in ExitCode if code is not ExitCode.USAGE)


def test_proposed_changes_of_a_dry_run_are_no_failure() -> None:
    found = report(remaining=(created(BRIDGE),))

    assert undecided(found) == ()
    assert [issue.reason for issue in unsettled(found)] == ["VerifyFailed"]
