"""What a pass tells of itself, line by line."""

from __future__ import annotations

import logging

import pytest

from reconciler.cli.logs import log_pass
from reconciler.errors import KvConflict, NameConflict, ReconcilerError
from reconciler.model.objects import ClusterRecord, Unit
from reconciler.status.verdict import unsettled
from tests.fakes.reports import made, report


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
