"""What a person is told of what is as declared and still not all they may expect."""

from __future__ import annotations

import json
from typing import Any

from reconciler.model.desired import DesiredState
from reconciler.model.objects import Unit
from reconciler.model.plan import Plan
from reconciler.model.report import Report
from reconciler.ports.remarks import forwarding_remarks
from reconciler.status.summary import Revision, Summary
from tests.fakes.desired import host_facts, network

STATE = DesiredState(
    host=host_facts(),
    networks=(network("front", "172.30.1.0/24"), network("inside", "172.30.2.0/24", is_internal=True)),
    attachments=(),
)


def test_networks_that_lead_outside_are_told_of_foreign_rules() -> None:
    ((unit, text),) = forwarding_remarks(STATE, ("ip filter FORWARD", "inet firewalld filter_FORWARD"))

    assert unit == Unit(network="front")
    assert "(ip filter FORWARD, inet firewalld filter_FORWARD)" in text
    assert STATE.networks[0].link_name in text


def test_without_foreign_rules_there_is_nothing_to_tell() -> None:
    assert list(forwarding_remarks(STATE, ())) == []


def test_remark_stands_in_the_summary_of_what_is_ready() -> None:
    remarks = ((Unit(network="front"), "one thing"), (Unit(network="front"), "another"))
    told = DesiredState(host=STATE.host, networks=STATE.networks, attachments=(), remarks=remarks)

    document: dict[str, Any] = json.loads(Summary({}).text(Report(desired=told, plan=Plan()), Revision(), {}))

    conditions = {name: entry["conditions"][0] for name, entry in document["networks"].items()}
    assert (conditions["front"]["status"], conditions["inside"]["status"]) == ("True", "True")
    assert conditions["front"]["message"] == "as declared, but one thing; another"
    assert conditions["inside"]["message"] == "as declared"
