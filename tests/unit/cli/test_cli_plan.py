"""A plan as text, JSON and annotations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.cli.diagnostics import ANNOTATIONS_MAX, annotation, workflow_commands
from reconciler.cli.findings import fault_findings
from reconciler.cli.review_findings import review_findings
from reconciler.cli.review_json import review_json
from reconciler.cli.review_text import review_text
from reconciler.cli.review_words import sum_line
from reconciler.cli.root import main
from reconciler.errors import NameConflict, SpecError
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Address, Bridge, FirewallElement, KvRecord, SandboxFile, Unit
from reconciler.model.plan import Action, Disruption, Operation, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import Source
from reconciler.review.make_review import review_pass
from reconciler.review.values import Planned, Review
from reconciler.spec.load import NOTHING
from tests.fakes.desired import host_facts, network

FRONT = Unit(network="front")
WEB = Unit(attachment="web")
WEB_ON_FRONT = Unit(network="front", attachment="web")


def bridge(mtu: int = 1500, ifname: str = "br-front") -> Bridge:
    return Bridge(unit=FRONT, ns=HOST, ifname=ifname, mac="02:42:00:00:00:01", mtu=mtu)


def file(content: str) -> SandboxFile:
    return SandboxFile(unit=WEB, attachment="web", name="hosts", content=content)


CREATE_BRIDGE = Operation(action=Action.CREATE, before=None, after=bridge(), unit=FRONT)
CHANGE_MTU = Operation(
    action=Action.UPDATE,
    before=bridge(1500),
    after=bridge(1400),
    unit=FRONT,
    disruption=Disruption.LIVE,
    affects=("db", "web"),
)
CHANGE_FILE = Operation(action=Action.UPDATE, before=file("a\n"), after=file("b\n"), unit=WEB)
DELETE_BRIDGE = Operation(
    action=Action.DELETE, before=bridge(), after=None, unit=FRONT, disruption=Disruption.RECREATE, affects=("web",)
)
ADD_ADDRESS = Operation(
    action=Action.CREATE,
    before=None,
    after=Address(unit=WEB_ON_FRONT, ns=HOST, ifname="eth0", interface=ip_interface("10.7.0.2/24")),
    unit=WEB_ON_FRONT,
)


def report(*operations: Operation, problems: tuple[tuple[Unit, NameConflict], ...] = ()) -> Report:
    front = network("front", "10.7.0.0/24")
    desired = DesiredState(host=host_facts(), networks=(front,), attachments=())
    sources = {front.unit: Source("specs/a.yaml", 3, 5)}
    return Report(desired=desired, plan=Plan(operations=operations, problems=problems), digest="d1", sources=sources)


def review(of: Report, *drift: Operation) -> Review:
    keys = frozenset(operation.key for operation in drift)
    return review_pass(Planned(before=NOTHING, after=NOTHING, had=of.desired, report=of, drift=keys), "live")


def text(of: Report, *drift: Operation, is_coloured: bool = False) -> str:
    return review_text(review(of, *drift), is_coloured=is_coloured, are_objects_wanted=True)


def plan_json(of: Report) -> str:
    return review_json(review(of))


def test_text_is_grouped_by_unit_and_summed_up() -> None:
    found = report(ADD_ADDRESS, CHANGE_FILE, CHANGE_MTU, problems=((Unit(network="back"), NameConflict("in the way")),))

    assert text(found, CHANGE_FILE) == (
        "Against the host as it is, for alpha\n"
        "\n"
        "host alpha\n"
        "  who is hit\n"
        "    changes while traffic flows: db, web\n"
        "  drift that is put right\n"
        "    attachment web: update file hosts of web\n"
        "  ! network back stays as it is: in the way\n"
        "  network front\n"
        "    ~ bridge br-front (mtu 1400)  # changes while traffic flows for db, web\n"
        "        mtu: 1500 -> 1400\n"
        "  attachment web\n"
        "    ~ file hosts of web\n"
        "        content: (2 characters) -> (2 characters)\n"
        "  attachment web on network front\n"
        "    + address 10.7.0.2/24 on eth0\n"
        "\n"
        "Plan: 1 to create, 2 to change, 0 to delete (1 for drift)\n"
    )


def test_text_fits_a_terminal_of_80_columns() -> None:
    source = ("rcvb56a80d25c7e", "36:8a:69:b6:84:34", "fe80::348a:69ff:feb6:8434")
    element = FirewallElement(unit=FRONT, family="bridge", table="reconciler", set_name="sources6", element=source)
    names = tuple(f"attachment-with-a-long-name-{number}" for number in range(9))
    created = Operation(action=Action.CREATE, before=None, after=element, unit=FRONT)
    changed = replace(CHANGE_MTU, affects=names, after=bridge(1400, ifname="br-0123456789ab"))

    lines = text(report(created, changed)).splitlines()

    assert max(map(len, lines)) <= 80
    assert "      # changes while traffic flows for attachment-with-a-long-name-0," in "\n".join(lines)


def test_text_says_when_there_is_nothing_to_do() -> None:
    assert text(report()) == "Against the host as it is, for alpha\n\nPlan: nothing to do\n"


def test_text_has_colours_only_when_asked() -> None:
    assert "\x1b[" in text(report(CREATE_BRIDGE), is_coloured=True)
    assert "\x1b" not in text(report(CREATE_BRIDGE))


def test_text_shows_control_characters_of_names_as_escapes() -> None:
    evil = Operation(action=Action.DELETE, before=bridge(ifname="br\x1b[2J\n"), after=None, unit=Unit(network="n\x9b"))

    shown = text(report(evil))

    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "br\\x1b[2J\\n" in shown


@pytest.mark.parametrize(
    ("count", "told"),
    [(9, "a0, a1, a2, a3, a4 and 4 more"), (7, "a0, a1, a2, a3, a4 and 2 more"), (6, "a0, a1, a2, a3, a4, a5")],
)
def test_text_names_few_of_many_attachments_and_never_leaves_out_one(count: int, told: str) -> None:
    many = replace(CHANGE_MTU, affects=tuple(f"a{number}" for number in range(count)))

    assert f"for {told}" in text(report(many))
    assert "1 more" not in text(report(many))


def document(of: Report) -> dict[str, object]:
    found = json.loads(plan_json(of))
    assert isinstance(found, dict)
    return found


def test_json_tells_one_change_in_full() -> None:
    found = document(report(CHANGE_MTU))

    attributes = {"ns": "", "ifname": "br-front", "mac": "02:42:00:00:00:01"}
    flags = {"has_ipv6": False, "has_link_local": False, "heeds_routers": False, "is_up": True, "mark": ""}
    assert found["resource_changes"] == [
        {
            "address": "Bridge/host/br-front",
            "kind": "Bridge",
            "actions": ["update"],
            "before": {**attributes, "mtu": 1500, **flags},
            "after": {**attributes, "mtu": 1400, **flags},
            "disruption": "live",
            "affects": ["db", "web"],
            "unit": {"network": "front", "attachment": ""},
            "drift": False,
        }
    ]
    assert found["summary"] == {
        "create": 0,
        "change": 1,
        "delete": 0,
        "adopt": 0,
        "release": 0,
        "replace": 0,
        "drift": 0,
    }
    assert (found["format_version"], found["complete"], found["against"]) == ("1.3", True, "live")


def test_json_brings_deletion_and_creation_of_one_object_together() -> None:
    found = document(report(DELETE_BRIDGE, replace(CREATE_BRIDGE, after=bridge(1400))))

    changes = found["resource_changes"]
    assert isinstance(changes, list)
    (change,) = changes
    assert change["actions"] == ["delete", "create"]
    assert (change["before"]["mtu"], change["after"]["mtu"], change["disruption"]) == (1500, 1400, "recreate")
    assert found["summary"] == {
        "create": 1,
        "change": 0,
        "delete": 1,
        "adopt": 0,
        "release": 0,
        "replace": 1,
        "drift": 0,
    }


def test_json_is_sorted_by_address_whatever_the_order_of_the_plan() -> None:
    one, other = report(ADD_ADDRESS, CHANGE_FILE, CREATE_BRIDGE), report(CREATE_BRIDGE, ADD_ADDRESS, CHANGE_FILE)

    assert plan_json(one) == plan_json(other)


def test_json_leaves_out_when_a_promise_was_made() -> None:
    def promise(created: str) -> Report:
        record = KvRecord(unit=FRONT, path="network/front", value=json.dumps({"created": created, "id": "x"}))
        return report(Operation(action=Action.CREATE, before=None, after=record, unit=FRONT))

    assert plan_json(promise("t1")) == plan_json(promise("t2"))
    assert '\\"id\\"' in plan_json(promise("t1"))


@pytest.mark.parametrize("value", ["", "[]", "{", "[" * 100_000], ids=["empty", "list", "half", "deep"])
def test_json_shows_a_damaged_record_as_it_is(value: str) -> None:
    record = KvRecord(unit=FRONT, path="p", value=value)
    found = document(report(Operation(action=Action.DELETE, before=record, after=None, unit=FRONT)))

    assert found["resource_changes"][0]["before"]["value"] == value  # type: ignore[index]


def test_json_lists_problems_and_faults() -> None:
    of = report(problems=((FRONT, NameConflict("in the way")),))
    found = document(replace(of, spec_faults=(SpecError("specs/b.yaml", 2, 3, "unknown key"),)))

    assert found["complete"] is False
    assert found["problems"] == [
        {
            "unit": {"network": "front", "attachment": ""},
            "reason": "OwnershipConflict",
            "message": "in the way",
            "retryable": False,
        }
    ]
    assert found["diagnostics"] == [
        {
            "severity": "error",
            "summary": "unknown key",
            "range": {"filename": "specs/b.yaml", "start": {"line": 2, "column": 3}},
        }
    ]


def test_annotations_stand_where_things_were_declared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    of = report(DELETE_BRIDGE, problems=((FRONT, NameConflict("br-front: in the way")),))

    told = review(of)

    assert workflow_commands(review_findings(told), sum_line(told)).splitlines() == [
        "::error file=specs/a.yaml,line=3,col=5,title=OwnershipConflict::network front: br-front: in the way",
        "::warning title=host alpha::who is hit: connections are lost: web",
        "::warning file=specs/a.yaml,line=3,col=5,title=disruption::network front: connections are lost",
        "::notice title=reconcile::Plan: 0 to create, 0 to change, 1 to delete",
    ]


def test_annotation_cannot_be_ended_by_what_it_says() -> None:
    line = annotation("error", "a\r\n::error::b 100% \x1b", file="a,b:c\n.yaml", line=1)

    assert line == "::error file=a%2Cb%3Ac%0A.yaml,line=1::a%0D%0A::error::b 100%25 \\x1b"


@pytest.mark.parametrize("count", [ANNOTATIONS_MAX, ANNOTATIONS_MAX + 1, 100])
def test_annotations_stay_within_the_limit_and_say_how_many_more(count: int) -> None:
    faults = [SpecError("a.yaml", number + 1, 1, "m") for number in range(count)]
    lines = workflow_commands(fault_findings(faults)).splitlines()

    assert len(lines) == ANNOTATIONS_MAX
    assert ("more" in lines[-1]) == (count > ANNOTATIONS_MAX)
    assert count == ANNOTATIONS_MAX or lines[-1].startswith(f"::error::{count - ANNOTATIONS_MAX + 1} more")


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("example", ["walkthrough", "ports-and-links", "ipv6", "macvlan", "overlay", "names"])
def test_no_text_in_the_json_is_as_python_writes_a_value(
    example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = str(Path(__file__).parents[3] / "examples" / example)
    main(["--specs", specs, "--state-dir", str(tmp_path), "--dry-run", "--against", "empty", "--output", "json"])

    document = json.loads(capsys.readouterr().out)

    assert document["resource_changes"]
    texts = [leaf for leaf in leaves(document) if isinstance(leaf, str)]
    assert [text for text in texts if text.startswith(("('", '("', "['", "{'", "IPv", "<reconciler"))] == []
    elements = [c["after"]["element"] for c in document["resource_changes"] if c["kind"] == "FirewallElement"]
    assert all(isinstance(element, list) for element in elements)
