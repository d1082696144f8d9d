"""Findings as a JUnit report: a test case per spec file and expectation and, of plans, per host and condition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from reconciler.cli.checkout import in_checkout
from reconciler.cli.findings import Checked, FindingRule, Level, SpecFinding
from reconciler.cli.terminal import printable
from reconciler.model.expectation import Expectation
from reconciler.model.wanted import Source

_OF_FILES: Final = frozenset((FindingRule.FAULT, FindingRule.WARNING, FindingRule.CHANGE))


def junit(checked: Checked) -> str:
    """Return the report, without any time, so that the same input gives the same bytes."""
    top = Element("testsuites", name=f"reconcile {checked.what}")
    _suite(top, "specs", _of_files(checked))
    _suite(top, "expectations", _of_expectations(checked))
    _suite(top, "hosts", _of_hosts(checked))
    _suite(top, "fail-on", _of_conditions(checked))
    for name in ("tests", "failures", "errors"):
        top.set(name, str(sum(int(suite.get(name, "0")) for suite in top)))
    indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(top, encoding="unicode")}\n'


def _suite(top: Element, name: str, cases: Iterable[Element]) -> None:
    found = list(cases)
    if found:
        failures, skipped = (sum(case.find(each) is not None for case in found) for each in ("failure", "skipped"))
        counts = {"tests": len(found), "failures": failures, "errors": 0, "skipped": skipped}
        SubElement(top, "testsuite", {"name": name, **{key: str(count) for key, count in counts.items()}}).extend(found)


def _of_files(checked: Checked) -> Iterable[Element]:
    """A file that could not be read is one too; what is said of no line is said of no file."""
    by_file: dict[str, list[SpecFinding]] = {in_checkout(Source(file, 0, 0)).file: [] for file in checked.files}
    for finding in checked.findings:
        if finding.rule in _OF_FILES and finding.place is not None:
            by_file.setdefault(finding.place.file, []).append(finding)
    return (_case("specs", file, by_file[file]) for file in sorted(by_file))


def _of_expectations(checked: Checked) -> Iterable[Element]:
    """With faults in the specs nobody knows, and none is checked."""
    is_unknown = any(finding.rule is FindingRule.FAULT for finding in checked.findings)
    unmet = {finding.place: finding for finding in checked.findings if finding.rule is FindingRule.EXPECTATION}
    for expectation in checked.expectations:
        place = in_checkout(expectation.source)
        found = [unmet[place]] if place in unmet else []
        case = _case(place.file, f"{_sentence(expectation)} ({place.file}:{place.line})", found)
        if is_unknown:
            SubElement(case, "skipped", message="the specs have faults, which are to be mended first")
        yield case


def _of_hosts(checked: Checked) -> Iterable[Element]:
    return (
        _case("hosts", host, [finding for finding in checked.findings if finding.host == host])
        for host in checked.hosts
    )


def _of_conditions(checked: Checked) -> Iterable[Element]:
    unwanted = [finding for finding in checked.findings if finding.rule is FindingRule.UNWANTED]
    for condition in checked.conditions:
        yield _case("fail-on", condition, [finding for finding in unwanted if finding.title.split()[-1] == condition])


def _case(classname: str, name: str, findings: Sequence[SpecFinding]) -> Element:
    """Errors make it fail, all in one failure, as readers show the first one alone; the rest is output."""
    case = Element("testcase", classname=printable(classname), name=printable(name))
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    others = [finding for finding in findings if finding.level is not Level.ERROR]
    if errors:
        message = printable(errors[0].message)
        failure = SubElement(case, "failure", type=str(errors[0].rule), message=message)
        failure.text = "\n".join(map(_line, errors))
    if others:
        SubElement(case, "system-out").text = "\n".join(map(_line, others))
    return case


def _line(finding: SpecFinding) -> str:
    at = finding.place
    title = f"{finding.title}: " if finding.title else ""
    said = f"{finding.level}: {title}{finding.message}"
    if at is not None:
        said = f"{at if at.line else at.file}: {said}"
    return printable(said, keep="\n")


def _sentence(expectation: Expectation) -> str:
    verb = "reaches" if expectation.is_reached else "does not reach"
    port = f" at {expectation.port}" if expectation.port else ""
    protocol = f" by {expectation.protocol}" if expectation.protocol else ""
    return f"{expectation.client} {verb} {expectation.server}{port}{protocol}"
