"""A plan for people: grouped by what it is for, one line per change, what it disrupts, a sum at the end. Pure but for colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import click

from reconciler.cli.terminal import printable
from reconciler.model.objects import Object, Plain, Unit
from reconciler.model.plan import Action, Disruption, Operation
from reconciler.model.report import Report
from reconciler.model.words import some
from reconciler.status.verdict import Unsettled

_SIGNS: Final = {
    Action.CREATE: click.style("+", fg="green"),
    Action.UPDATE: click.style("~", fg="yellow"),
    Action.DELETE: click.style("-", fg="red"),
}
_NOTICED: Final = {
    Disruption.LIVE: "changes while traffic flows",
    Disruption.FLAP: "a short loss",
    Disruption.RECREATE: "connections are lost",
}
_ATTACHMENTS_SHOWN: Final = 5
_VALUE_SHOWN: Final = 60


def plan_text(report: Report, issues: Sequence[Unsettled], *, is_coloured: bool) -> str:
    """Give the plan and the units that must stay as they are. Without colours no escape sequence is in it."""
    text = "".join(f"{line}\n" for line in _lines(report, issues))
    return text if is_coloured else click.unstyle(text)


def count_line(report: Report) -> str:
    """Sum up, in words that scripts may look for."""
    actions = [operation.action for operation in report.plan.operations]
    if not actions:
        return "Plan: nothing to do"
    counts = (f"{actions.count(a)} to {word}" for a, word in zip(Action, ("create", "change", "delete"), strict=True))
    return f"Plan: {', '.join(counts)}"


def _lines(report: Report, issues: Sequence[Unsettled]) -> Iterator[str]:
    groups: dict[Unit, list[Operation]] = {}
    for operation in report.plan.operations:
        groups.setdefault(operation.unit, []).append(operation)
    for unit in sorted(groups, key=_networks_first):
        yield click.style(_title(unit), bold=True)
        for operation in groups[unit]:
            yield from operation_lines(operation)
        yield ""
    for issue in issues:
        yield click.style("! ", fg="red") + printable(f"{issue.unit} stays as it is: {issue.message}")
    for unit, remark in report.desired.remarks:
        yield click.style("warning: ", fg="yellow") + printable(f"{unit}: {remark}")
    yield click.style(count_line(report), bold=True)


def _networks_first(unit: Unit) -> tuple[bool, str, str]:
    return bool(unit.attachment), unit.attachment, unit.network


def _title(unit: Unit) -> str:
    if unit.network and unit.attachment:
        return printable(f"attachment {unit.attachment} on network {unit.network}")
    return printable(str(unit))


def operation_lines(operation: Operation) -> Iterator[str]:
    noticed = _NOTICED.get(operation.disruption, "")
    hit = f" for {_some(operation.affects)}" if noticed and operation.affects else ""
    note = click.style(f"  # {noticed}{hit}", fg="magenta") if noticed else ""
    yield f"  {_SIGNS[operation.action]} {printable(operation.object.describe())}{note}"
    if operation.before is not None and operation.after is not None:
        yield from (f"      {line}" for line in _changed_fields(operation.before, operation.after))


def _some(names: tuple[str, ...]) -> str:
    return printable(some(names, _ATTACHMENTS_SHOWN))


def _changed_fields(before: Object, after: Object) -> Iterator[str]:
    now, then = before.attributes(), after.attributes()
    for name, value in then.items():
        if now.get(name) != value:
            yield f"{name}: {_shown(now.get(name))} -> {_shown(value)}"


def _shown(value: Plain) -> str:
    """Keep long values, such as a whole file, to one short line."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "nothing"
    text = "nothing" if value is None else str(value)
    return f"({len(text)} characters)" if len(text) > _VALUE_SHOWN or "\n" in text else printable(text)
