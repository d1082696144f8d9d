"""What a pass tells of itself, line by line."""

from __future__ import annotations

import errno
import logging

import pytest

from reconciler.cli.logs import configure_logs, end_of_pass
from reconciler.cli.pass_log import log_pass
from reconciler.errors import KernelError, KvConflict, NameConflict, ReconcilerError
from reconciler.model.objects import ClusterRecord, Unit
from reconciler.status.verdict import unsettled
from tests.fakes.reports import FRONT, FRONT_BRIDGE, made, report


def test_what_libraries_log_is_not_shown_however_much_is_asked_for() -> None:
    """kazoo logs what it sends, secrets too."""
    configure_logs(9, "text")

    assert logging.getLogger("reconciler.kv").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("kazoo.client").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("consul").isEnabledFor(logging.DEBUG)


def test_what_other_hosts_were_first_at_is_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    lost = [
        made(
            ClusterRecord(
                unit=Unit(network=net, attachment=f"a{number}"), path=f"network/{net}/endpoints/a{number}", value=""
            ),
            KvConflict(f"address 10.0.9.{number} was taken"),
        )
        for net, count in (("one", 40), ("two", 1))
        for number in range(count)
    ]

    with caplog.at_level(logging.WARNING):
        log_pass(report(made(), *lost), (), 1.0)

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].endswith("address 10.0.9.0 was taken (and 39 more like it)")
    assert told[1].endswith("address 10.0.9.0 was taken")


def test_many_endpoints_that_cannot_be_had_for_one_reason_are_told_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    problems: list[tuple[Unit, ReconcilerError]] = [
        (Unit(network="one", attachment=f"a{number:02}"), NameConflict("host beta has it")) for number in range(40)
    ]
    problems += [
        (Unit(network="two", attachment=f"b{number}"), NameConflict("host beta has it")) for number in range(2)
    ]
    pass_report = report(problems=tuple(problems))

    with caplog.at_level(logging.WARNING):
        log_pass(pass_report, unsettled(pass_report), 1.0)

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert told[0].startswith("network one, attachment a00: host beta has it (and 39 more attachments")


def test_what_several_looks_of_a_pass_meet_is_told_once_in_each_pass(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(0, "text")
    look = logging.getLogger("reconciler.look")
    for _ in range(2):
        for _ in range(3):
            look.warning("record %s is damaged", "a")
            look.warning("record %s is damaged", "b")
            look.info("looked")
        end_of_pass()

    told = capsys.readouterr().err.splitlines()

    assert [line for line in told if line != "looked"] == 2 * [f"warning: record {name} is damaged" for name in "ab"]
    assert told.count("looked") == 6


def test_operation_and_unit_stand_once_in_what_is_told_of_them(caplog: pytest.LogCaptureFixture) -> None:
    failed = made(error=KernelError(errno.EEXIST, f"create {FRONT_BRIDGE.describe()}"))
    on_front = Unit(network="front", attachment="web")
    problems: tuple[tuple[Unit, ReconcilerError], ...] = (
        (FRONT, NameConflict("network front: foreign0 is taken")),
        (on_front, NameConflict("network front: foreign1 is taken")),
    )
    pass_report = report(failed, problems=problems)

    with caplog.at_level(logging.WARNING):
        log_pass(pass_report, unsettled(pass_report), 1.0)

    assert [record.getMessage() for record in caplog.records] == [
        f"failed: create {FRONT_BRIDGE.describe()}: File exists (EEXIST)",
        "network front: foreign0 is taken",
        "network front, attachment web: foreign1 is taken",
    ]
