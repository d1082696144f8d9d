"""The kernel objects of a plan for people: grouped by what they are for, what each change disrupts. Pure but for colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import click

from reconciler.cli.terminal import COLUMNS, folded, printable
from reconciler.model.objects import Object, Plain, Unit
from reconciler.model.plan import Action, Disruption, Operation
from reconciler.model.words import some

_SIGNS: Final = {
    Action.CREATE: click.style("+", fg="green"),
    Action.ADOPT: click.style("adopt", fg="cyan"),
    Action.UPDATE: click.style("~", fg="yellow"),
    Action.DELETE: click.style("-", fg="red"),
    Action.RELEASE: click.style("release", fg="cyan"),
}
_NOTICED: Final = {
    Disruption.LIVE: "changes while traffic flows",
    Disruption.FLAP: "a short loss",
    Disruption.RECREATE: "connections are lost",
}
_ATTACHMENTS_SHOWN: Final = 5
_INDENT: Final = " " * 6
_VALUE_SHOWN: Final = 60


def object_lines(operations: Iterable[Operation]) -> Iterator[str]:
    """Yield a line for each object of the kernel that changes, below what it is for."""
    groups: defaultdict[Unit, list[Operation]] = defaultdict(list)
    for operation in operations:
        groups[operation.unit].append(operation)
    for unit in sorted(groups, key=_networks_first):
        yield from (click.style(line, bold=True) for line in folded(_title(unit), "  "))
        for operation in groups[unit]:
            yield from _operation(operation)


def _networks_first(unit: Unit) -> tuple[bool, str, str]:
    return bool(unit.attachment), unit.attachment, unit.network


def _title(unit: Unit) -> str:
    if unit.network and unit.attachment:
        return printable(f"attachment {unit.attachment} on network {unit.network}")
    return printable(str(unit))


def _operation(operation: Operation) -> Iterator[str]:
    first, *more = folded(printable(operation.object.describe()), _INDENT)
    lines = [f"{_INDENT[:-2]}{_SIGNS[operation.action]} {first.lstrip()}", *more]
    note, width = _note(operation), len((first, *more)[-1])
    if note and width + len(note) + 2 <= COLUMNS:
        lines[-1] += f"  {click.style(note, fg='magenta')}"
    elif note:
        lines += [click.style(line, fg="magenta") for line in folded(note, f"{_INDENT}  ")]
    yield from lines
    if operation.before is not None and operation.after is not None:
        for field in _changed_fields(operation.before, operation.after):
            yield from folded(field, f"{_INDENT}  ")


def _note(operation: Operation) -> str:
    noticed = _NOTICED.get(operation.disruption, "")
    hit = f" for {_some(operation.affects)}" if operation.affects else ""
    return f"# {noticed}{hit}" if noticed else ""


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
