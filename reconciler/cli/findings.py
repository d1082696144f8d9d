"""What of specs, a plan or a review a reviewer must see, each at its line: what annotations, SARIF and JUnit are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from msgspec import Struct

from reconciler.cli.checkout import in_checkout
from reconciler.errors import ExpectationUnmet, SpecError
from reconciler.model.expectation import Expectation
from reconciler.model.wanted import Source, SpecWarning


class Level(StrEnum):
    """In the words of workflow commands, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class FindingRule(StrEnum):
    """What kind of finding it is. The names are for machines that remember what was dismissed: they stay."""

    FAULT = "spec-fault"
    EXPECTATION = "expectation-unmet"
    UNWANTED = "unwanted-change"
    PROBLEM = "not-possible"
    WARNING = "spec-warning"
    REMARK = "no-effect"
    DISRUPTION = "disruption"
    EFFECT = "effect-on-host"
    CHANGE = "spec-change"


RULES: Final = {
    FindingRule.FAULT: "The specs have a fault: what it is about is left as it runs.",
    FindingRule.EXPECTATION: "The specs do not bring about what they expect of who reaches whom.",
    FindingRule.UNWANTED: "The change brings what `--fail-on` names.",
    FindingRule.PROBLEM: "A host cannot have what the specs declare, or a guard refuses it.",
    FindingRule.WARNING: "The specs say something that hardly is meant.",
    FindingRule.REMARK: "What is declared comes to nothing on a host.",
    FindingRule.DISRUPTION: "The change costs traffic.",
    FindingRule.EFFECT: "The change hits somebody, or changes who reaches whom, on a host or between hosts.",
    FindingRule.CHANGE: "An entry of the specs changes.",
}


class SpecFinding(Struct, frozen=True, kw_only=True):
    """place: None where no line is to blame. because: lines elsewhere that are why. title: a few words above the message.

    host: whose it is, "" for all.
    """

    rule: FindingRule
    level: Level
    message: str
    title: str = ""
    place: Source | None = None
    because: tuple[Source, ...] = ()
    host: str = ""


class Checked(Struct, frozen=True, kw_only=True):
    """All that was looked at, and what was found. what: `validate`, `plan` or `review`. hosts: those that a plan was made for.

    conditions: those of `--fail-on`; the title of what is found of one ends with it.
    """

    what: str
    findings: tuple[SpecFinding, ...]
    files: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    hosts: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


def fault_findings(faults: Iterable[SpecError]) -> Iterator[SpecFinding]:
    """Yield the faults sorted by place."""
    for fault in sorted(faults, key=lambda one: (one.file, one.line, one.column, one.message)):
        rule, because = FindingRule.FAULT, tuple[Source, ...]()
        if isinstance(fault, ExpectationUnmet):
            rule, because = FindingRule.EXPECTATION, tuple(in_checkout(Source(*at)) for at in fault.because)
        place = in_checkout(Source(fault.file, fault.line, fault.column))
        yield SpecFinding(rule=rule, level=Level.ERROR, message=fault.message, place=place, because=because)


def warning_findings(warnings: Iterable[SpecWarning]) -> Iterator[SpecFinding]:
    for warning in sorted(warnings):
        place = in_checkout(warning.source)
        yield SpecFinding(rule=FindingRule.WARNING, level=Level.WARNING, message=warning.message, place=place)
