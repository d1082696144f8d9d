"""`make reference`: what docs/reference says of commands, codes, reasons, figures, events, files and specs, made from the code.

A page is prose with regions between `<!-- begin NAME -->` and `<!-- end NAME -->`; only these are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from reconciler.cli.manual_page import EXIT_CODES, FILES, metavar
from reconciler.cli.options import GLOBAL_OPTIONS, GlobalOption
from reconciler.cli.root import reconcile
from reconciler.doctor.registry import CHECKS
from reconciler.status.reasons import (
    CONDITIONS,
    MEANINGS,
    error_meanings,
    errors_of,
    is_error_reason,
    tried_again,
    without_code,
)
from reconciler.watch.journal import What
from reconciler.watch.metrics import Metrics

PAGES: Final = Path(__file__).parent.parent / "docs" / "reference"
OTHER_PAGES: Final = (PAGES.parent / "operate" / "doctor.md",)
"""That have a region beside much prose."""

SCHEMA: Final = PAGES.parent.parent / "schemas" / "reconciler.schema.json"

Row = tuple[str, ...]


def table(heads: Row, rows: Iterable[Row]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def global_options() -> str:
    return table(("option", "environment", ""), map(_global_option, GLOBAL_OPTIONS))


def _global_option(option: GlobalOption) -> Row:
    flag = f"--{option.name}" + (f" {option.metavar}" if option.metavar else "")
    return f"`{option.short}`, `{flag}`" if option.short else f"`{flag}`", f"`{option.variable}`", option.help


def commands() -> str:
    return "\n\n".join(_commands(click.Context(reconcile, info_name="reconcile"), reconcile))


def _commands(context: click.Context, group: click.Group) -> Iterator[str]:
    """Describe every command of a group, and of the groups in it, in the order of their names."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(inner, command)
        else:
            yield _command(inner, command)


def _command(context: click.Context, command: click.Command) -> str:
    arguments = [metavar(parameter) for parameter in command.params if isinstance(parameter, click.Argument)]
    parts = [f"### {context.command_path}", f"`{' '.join((context.command_path, '[OPTIONS]', *arguments))}`"]
    parts += [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n") if paragraph]
    options = [*_options(command)]
    return "\n\n".join((*parts, table(("option", ""), iter(options))) if options else parts)


def _options(command: click.Command) -> Iterator[Row]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden and option.help:
            value = "" if option.is_flag or option.count else f" {metavar(option)}"
            flags = sorted(option.opts, key=len)
            yield ", ".join(f"`{flag}{value if flag == flags[-1] else ''}`" for flag in flags), option.help


def exit_codes() -> str:
    return table(("code", "name", "meaning"), ((str(int(c)), f"`{c.name}`", text) for c, text in EXIT_CODES.items()))


def reasons() -> str:
    """Say what each reason means that an error has, and what to do."""
    found = sorted(filter(is_error_reason, MEANINGS))
    return table(("reason", "exit code", "tried again", "errors that have it", "what to do"), map(_reason, found))


def _reason(reason: str) -> Row:
    kinds = errors_of(reason)
    codes = ", ".join(map(str, sorted({int(kind.exit_code) for kind in kinds})))
    texts = "; ".join(f"{kind.__name__}: {without_code(error_meanings()[kind.__name__])}" for kind in kinds)
    return f"`{reason}`", codes, tried_again(kinds), texts, MEANINGS[reason].advice


def other_reasons() -> str:
    """Say what the reasons mean that no error has."""
    found = [(reason, meaning) for reason, meaning in MEANINGS.items() if not is_error_reason(reason)]
    return table(("reason", "says", "what to do"), ((f"`{reason}`", *meaning) for reason, meaning in found))


def conditions() -> str:
    return table(("condition", "says", "what to do"), ((f"`{kind}`", *meaning) for kind, meaning in CONDITIONS.items()))


def metrics() -> str:
    return table(("metric", "type", "labels", ""), _metrics())


def _metrics() -> Iterator[Row]:
    """List our own; those of the process that follow are the library's."""
    for family in Metrics(quiet_max_s=1.0).collect():
        if family.name.startswith("reconciler_"):
            labels = getattr(family, "_labelnames", ())
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            yield f"`{family.name}{suffix}`", family.type, ", ".join(labels), family.documentation


def events() -> str:
    return ", ".join(f"`{what}`" for what in What) + "."


def files() -> str:
    return table(("path", "holds"), ((f"`{path}`", text) for path, text in FILES.items()))


SECTIONS: Final = {
    "NetworkSpec": "networks.NAME",
    "IpamSpec": "networks.NAME.ipam",
    "SubnetSpec": "networks.NAME.ipam.config[]",
    "AttachmentSpec": "attachments.NAME",
    "SandboxSpec": "attachments.NAME.sandbox",
    "EndpointSpec": "attachments.NAME.networks.NAME",
    "LongPort": "attachments.NAME.ports[]",
    "ExpectationSpec": "expect[]",
    "PartiesSpec": "expect[].from, expect[].to",
}


def specs() -> str:
    schema = json.loads(SCHEMA.read_text())
    definitions = {"top level": schema} | {title: schema["definitions"][name] for name, title in SECTIONS.items()}
    return "\n\n".join(part for title, definition in definitions.items() for part in _section(title, definition))


def _section(title: str, definition: Mapping[str, object]) -> Iterator[str]:
    yield f"### {title}"
    yield table(("field", "type", ""), _fields(definition))
    match definition:
        case {"properties": {"driver_opts": {"anyOf": [{"properties": dict(options)}, *_]}}}:
            yield "Options of `driver_opts` that our own drivers know:"
            yield ", ".join(f"`{option}`" for option in sorted(options))


def _fields(definition: Mapping[str, object]) -> Iterator[Row]:
    properties, required = definition["properties"], definition.get("required", ())
    assert isinstance(properties, dict)
    assert isinstance(required, (list, tuple))
    for name, field in properties.items():
        text = str(field.get("description", ""))
        yield f"`{name}`", _type(field), f"required; {text}".rstrip("; ") if name in required else text


def _type(field: Mapping[str, object]) -> str:
    """Name what a field may be, in few words. A field may be left out or null, which is not said of each."""
    match field:
        case {"type": "string", "anyOf": _}:  # of some form
            return "string"
        case {"anyOf": list(choices)} | {"oneOf": list(choices)}:
            return " or ".join(dict.fromkeys(kind for kind in map(_type, choices) if kind != "null"))
        case {"$ref": str(reference)}:
            return f"see `{SECTIONS[reference.rpartition('/')[2]]}`"
        case {"enum": list(values)}:
            return " or ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": list(kinds)}:
            return " or ".join(kind for kind in kinds if kind != "null")
        case {"type": "object"}:
            return "mapping"
        case {"type": str(kind)}:
            return kind
    return "any"


def checks() -> str:
    """Say what each check of doctor asks, in the words of its module."""
    return table(("check", "asks"), ((f"`{check.name}`", check.asks) for check in CHECKS))


REGIONS: Final[Mapping[str, Callable[[], str]]] = {
    "checks": checks,
    "commands": commands,
    "conditions": conditions,
    "events": events,
    "exit codes": exit_codes,
    "files": files,
    "global options": global_options,
    "metrics": metrics,
    "other reasons": other_reasons,
    "reasons": reasons,
    "specs": specs,
}


def pages() -> list[Path]:
    return [*sorted(PAGES.glob("*.md")), *OTHER_PAGES]


def current(text: str) -> str:
    """Return a page with its regions made anew. Raises KeyError for a region that nobody makes."""
    region = r"(<!-- begin ([a-z ]+) -->\n).*?(<!-- end \2 -->)"
    return re.sub(region, lambda m: f"{m[1]}\n{REGIONS[m[2]]()}\n\n{m[3]}", text, flags=re.DOTALL)


def main() -> None:
    for page in pages():
        page.write_text(current(page.read_text()))


if __name__ == "__main__":
    main()
