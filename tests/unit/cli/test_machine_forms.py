"""Findings as SARIF and JUnit, held against the published schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from reconciler.cli.findings import Checked, FindingRule, Level, SpecFinding
from reconciler.cli.forms import for_machines
from reconciler.cli.review_findings import checked_review
from reconciler.cli.root import main
from reconciler.cli.sarif import RESULTS_MAX
from reconciler.errors import ExitCode, NameConflict
from reconciler.model.desired import DesiredState
from reconciler.model.expectation import Expectation, Parties
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Bridge, Unit
from reconciler.model.plan import Action, Disruption, Operation, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import Source
from reconciler.review.make_review import review_pass
from reconciler.review.values import Planned
from reconciler.spec.load import NOTHING
from tests.fakes.desired import host_facts, network
from tests.json_schema import json_schema
from tests.unit.review.repository import AFTER, BEFORE, make_repository

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
FRONT, WEB = Unit(network="front"), Unit(attachment="web")


@pytest.fixture(scope="module")
def check_sarif() -> Callable[[str], Any]:
    validator = json_schema().Draft4Validator(json.loads((HERE / "schemas" / "sarif-schema-2.1.0.json").read_text()))

    def check(text: str) -> Any:
        """Give the run, which the schema allows."""
        document = json.loads(text)
        assert [error.message for error in validator.iter_errors(document)] == []
        return document["runs"][0]

    return check


@pytest.fixture(scope="module")
def check_junit() -> Callable[[str], dict[str, ElementTree.Element]]:
    from xmlschema import XMLSchema  # takes a while: not while all workers collect

    schema = XMLSchema(HERE / "schemas" / "junit-10.xsd")

    def check(text: str) -> dict[str, ElementTree.Element]:
        """Give the test cases by name; the schema allows the report, and its sums are right."""
        top = ElementTree.fromstring(text.encode())
        schema.validate(top)
        cases = top.findall("testsuite/testcase")
        assert top.get("tests") == str(len(cases))
        assert top.get("failures") == str(sum(case.find("failure") is not None for case in cases))
        return {case.get("name", ""): case for case in cases}

    return check


def places(run: Any) -> list[tuple[str, str, str, int, int]]:
    found = []
    for result in run["results"]:
        (location,) = result["locations"]
        artifact, region = (location["physicalLocation"][key] for key in ("artifactLocation", "region"))
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        found.append(
            (
                result["ruleId"],
                result["level"],
                artifact["uri"],
                region["startLine"],
                region.get("startColumn", 0),
            )
        )
    return found


def test_a_review_is_told_to_machines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    check_sarif: Callable[[str], Any],
    check_junit: Callable[[str], dict[str, ElementTree.Element]],
) -> None:
    monkeypatch.chdir(make_repository(tmp_path, BEFORE, AFTER))

    forms = ("--output", "sarif=r.sarif", "--output", "junit=r.xml")
    code = main(["--dry-run", "--against", "git:HEAD~1", "--fail-on", "delete,flap", *forms])

    assert code == ExitCode.GUARDED
    sarif, junit = Path("r.sarif").read_text(), Path("r.xml").read_text()
    assert sarif == (GOLDEN / "review.sarif").read_text()
    assert junit == (GOLDEN / "review.junit.xml").read_text()
    found = places(check_sarif(sarif))
    assert ("spec-change", "note", "specs/apps.yaml", 5, 5) in found
    assert ("effect-on-host", "warning", "specs/nets.yaml", 5, 5) in found, "on no line of its own: at the first change"
    cases = check_junit(junit)
    assert [(name, case.findtext("failure")) for name, case in cases.items()] == [
        *((name, None) for name in ("specs/apps.yaml", "specs/nets.yaml", "alpha", "beta")),
        ("delete", "error: --fail-on delete: network old"),
        ("flap", None),
    ]
    assert "outside → web:80/tcp" in (cases["alpha"].findtext("system-out") or "")


def test_specs_are_checked_for_machines_from_any_folder_of_the_repository(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    check_sarif: Callable[[str], Any],
    check_junit: Callable[[str], dict[str, ElementTree.Element]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    folder = make_repository(tmp_path / "repository", {}) / "prod"
    (folder / "specs").mkdir(parents=True)
    (folder / "specs" / "b.yaml").write_text(
        "networks: {n: }\nattachments: {db: {networks: [n], ports: ['5432:5432']}}\n"
    )
    (folder / "specs" / "a b.yaml").write_text(
        "networks: {m: {driver_opts: {isolate: 1}}}\n"
        "expect:\n- {from: outside, to: db, reach: false, why: it is ours}\n- {from: outside, to: db, port: 5432, reach: true}\n"
    )
    monkeypatch.chdir(folder)
    forms = ("--output", "sarif=r.sarif", "--output", "junit")

    assert main(["validate", "--host", "h", *forms]) == ExitCode.BAD_SPECS
    out, err = capsys.readouterr()
    assert err == "", "what is printed is for machines"
    assert places(check_sarif(Path("r.sarif").read_text())) == [
        ("expectation-unmet", "error", "prod/specs/a%20b.yaml", 3, 3),
        ("spec-warning", "warning", "prod/specs/a%20b.yaml", 1, 39),
    ]
    (related,) = json.loads(Path("r.sarif").read_text())["runs"][0]["results"][0]["relatedLocations"]
    assert related["physicalLocation"]["artifactLocation"]["uri"] == "prod/specs/b.yaml"
    assert related["physicalLocation"]["region"] == {"startLine": 2, "startColumn": 43}
    cases = check_junit(out)
    assert [(name, case.find("failure") is not None) for name, case in cases.items()] == [
        ("prod/specs/a b.yaml", False),
        ("prod/specs/b.yaml", False),
        ("outside does not reach db (prod/specs/a b.yaml:3)", True),
        ("outside reaches db at 5432 (prod/specs/a b.yaml:4)", False),
    ]
    failure = cases["outside does not reach db (prod/specs/a b.yaml:3)"].findtext("failure") or ""
    assert "prod/specs/a b.yaml:3:3: error: outside of h reaches db (on h)" in failure
    assert "b.yaml:2:43" in failure, "the line that breaks it"

    (folder / "specs" / "c.yaml").write_text("networks: {x: {intrenal: 1}}\n")
    assert main(["validate", "--host", "h", "--output", "junit"]) == ExitCode.BAD_SPECS
    cases = check_junit(capsys.readouterr().out)
    assert [name for name, case in cases.items() if case.find("failure") is not None] == ["prod/specs/c.yaml"]
    assert sum(case.find("skipped") is not None for case in cases.values()) == 2, "with faults nothing is known"


def test_a_plan_for_one_host_is_told_to_machines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    check_sarif: Callable[[str], Any],
    check_junit: Callable[[str], dict[str, ElementTree.Element]],
) -> None:
    monkeypatch.chdir(tmp_path)
    bridge = Bridge(unit=FRONT, ns=HOST, ifname="br-front", mac="02:42:00:00:00:01", mtu=1500)
    delete = Operation(
        action=Action.DELETE, before=bridge, after=None, unit=FRONT, disruption=Disruption.RECREATE, affects=("web",)
    )
    found = Report(
        desired=DesiredState(
            host=host_facts(),
            networks=(network("front", "10.7.0.0/24"),),
            attachments=(),
            remarks=((WEB, "no effect"),),
        ),
        plan=Plan(operations=(delete,), problems=((FRONT, NameConflict("br-front: \x1b[31m ]]> & in the way")),)),
        spec_files=("specs/a.yaml",),
        sources={FRONT: Source("test.yaml", 1, 1)},
    )
    planned = Planned(before=NOTHING, after=NOTHING, had=found.desired, report=found)
    checked = checked_review(review_pass(planned, "live"))

    assert places(check_sarif(for_machines("sarif", checked, "specs"))) == [
        ("not-possible", "error", "test.yaml", 1, 1),
        ("effect-on-host", "warning", "specs", 1, 0),
        ("no-effect", "warning", "specs", 1, 0),
        ("disruption", "warning", "test.yaml", 1, 1),
    ]
    host = check_junit(for_machines("junit", checked, "specs"))[found.desired.host.name]
    assert host.find("failure").get("message") == "network front: br-front: \\x1b[31m ]]> & in the way"  # type: ignore[union-attr]
    assert (host.findtext("system-out") or "").splitlines() == [
        "warning: host alpha: who is hit: connections are lost: web",
        "warning: remark: attachment web: no effect",
        "test.yaml:1:1: warning: disruption: network front: connections are lost",
    ]


def test_names_of_files_may_be_anything(
    check_sarif: Callable[[str], Any], check_junit: Callable[[str], dict[str, ElementTree.Element]]
) -> None:
    file = 'a"<&> %0A\\xff\n☃.yaml'
    at = Source(file, 2, 3)
    expectation = Expectation(
        source=at, client=Parties(source=at, name="<a>"), server=Parties(source=at, network="b\x00"), is_reached=True
    )
    finding = SpecFinding(rule=FindingRule.FAULT, level=Level.ERROR, message="x\x00<y>", place=at)
    beside = SpecFinding(rule=FindingRule.FAULT, level=Level.ERROR, message="m", place=Source("/etc/a b.yaml", 0, 0))
    checked = Checked(what="validate", findings=(finding, beside), files=(file,), expectations=(expectation,))

    (_, _, uri, *_), (_, _, other, *_) = places(check_sarif(for_machines("sarif", checked, "specs")))
    assert uri == "a%22%3C%26%3E%20%250A%5Cxff%0A%E2%98%83.yaml"
    assert other == "file:///etc/a%20b.yaml"
    assert len(check_junit(for_machines("junit", checked, "specs"))) == 3


def test_results_stay_within_what_is_shown_and_the_least_are_left_out(check_sarif: Callable[[str], Any]) -> None:
    changes = [
        SpecFinding(rule=FindingRule.CHANGE, level=Level.NOTICE, message=str(number)) for number in range(RESULTS_MAX)
    ]
    fault = SpecFinding(rule=FindingRule.FAULT, level=Level.ERROR, message="bad")
    checked = Checked(what="review", findings=(*changes, fault))

    results = json.loads(for_machines("sarif", checked, "specs"))["runs"][0]["results"]

    assert len(results) == RESULTS_MAX
    assert results[0]["message"]["text"] == "bad"
    assert results[-1]["message"]["text"] == "2 more results were left out"


def test_a_form_that_validate_does_not_have_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "specs").mkdir()
    monkeypatch.chdir(tmp_path)

    assert main(["validate", "--output", "markdown"]) == ExitCode.USAGE
    assert "goes with --dry-run" in capsys.readouterr().err
