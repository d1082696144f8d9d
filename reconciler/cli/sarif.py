"""Findings as SARIF 2.1.0 (OASIS), within what GitHub's code scanning takes. Pure but for where the checkout is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from reconciler import __version__
from reconciler.cli.checkout import in_checkout
from reconciler.cli.findings import RULES, Checked, FindingRule, Level, SpecFinding
from reconciler.cli.terminal import printable
from reconciler.model.wanted import Source
from reconciler.status.json_text import Json, json_text

RESULTS_MAX: Final = 5_000
"""Of one run; what is beyond GitHub does not show."""

_ROOT: Final = "%SRCROOT%"
_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTICE: "note"}
_RULE_ORDER: Final = tuple(RULES)


def sarif(checked: Checked, specs_dir: str) -> str:
    """Return one log with one run. What is about no line stands at the first that changes, else at specs_dir."""
    changed = (finding.place for finding in checked.findings if finding.rule is FindingRule.CHANGE and finding.place)
    fallback = next((place for place in changed if place.line), in_checkout(Source(specs_dir, 0, 0)))
    results: list[Json] = [_result(finding, fallback) for finding in _bounded(checked.findings)]
    run: dict[str, Json] = {
        "tool": {"driver": {"name": "reconcile", "version": __version__, "rules": [_rule(rule) for rule in RULES]}},
        "automationDetails": {"id": f"reconcile/{checked.what}/"},
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The top of the checkout."}}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: FindingRule) -> Json:
    return {"id": str(rule), "shortDescription": {"text": RULES[rule]}}


def _bounded(findings: Sequence[SpecFinding]) -> Iterable[SpecFinding]:
    """Leave out the least, and say how many."""
    worst_first = sorted(findings, key=lambda finding: tuple(Level).index(finding.level))
    if len(findings) <= RESULTS_MAX:
        return worst_first
    left = len(findings) - RESULTS_MAX + 1
    more = SpecFinding(rule=FindingRule.CHANGE, level=Level.NOTICE, message=f"{left} more results were left out")
    return (*worst_first[: RESULTS_MAX - 1], more)


def _result(finding: SpecFinding, fallback: Source) -> Json:
    text = f"{finding.title}: {finding.message}" if finding.title else finding.message
    result: dict[str, Json] = {
        "ruleId": str(finding.rule),
        "ruleIndex": _RULE_ORDER.index(finding.rule),
        "level": _LEVELS[finding.level],
        "message": {"text": printable(text, keep="\n")},
        "locations": [{"physicalLocation": _location(finding.place or fallback)}],
    }
    if finding.because:
        result["relatedLocations"] = [{"physicalLocation": _location(place)} for place in finding.because]
    return result


def _location(place: Source) -> Json:
    """Lines and columns count from 1; what is about a whole file stands at its first line."""
    region: dict[str, Json] = {"startLine": place.line or 1}
    if place.line and place.column:
        region["startColumn"] = place.column
    return {"artifactLocation": _artifact(place.file), "region": region}


def _artifact(file: str) -> Json:
    """A file beside the checkout has an address of its own."""
    if file.startswith("/"):
        return {"uri": f"file://{quote(file)}"}
    return {"uri": quote(file), "uriBaseId": _ROOT}
