"""reconcile(1), made from the commands themselves: the same bytes for the same commands, whatever terminal or library version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import click

from reconciler.cli.options import DEFAULT_CONFIG, GLOBAL_OPTIONS
from reconciler.errors import ExitCode

_EXIT_CODES: Final = {
    ExitCode.OK: "Fine; also a dry run with changes, and what was left as it is because somebody asked for that.",
    ExitCode.FAILED: "Something failed; the rest was applied.",
    ExitCode.CHANGES: "There are changes (`--dry-run --detailed-exitcode`).",
    ExitCode.GUARDED: "A guard refused; the rest was applied.",
    ExitCode.ROLLED_BACK: "The specs could not be verified, the last good ones are in force.",
    ExitCode.USAGE: "Bad usage.",
    ExitCode.BAD_SPECS: "Bad specs; what can be read is applied, nothing is removed.",
    ExitCode.UNAVAILABLE: "The key-value store or nftables is not available.",
    ExitCode.LOCKED: "Another pass is at work, or specs are on trial.",
    ExitCode.NO_PRIVILEGE: "A privilege is missing.",
    ExitCode.BAD_CONFIG: "Bad configuration.",
}
_FILES: Final = {
    str(DEFAULT_CONFIG): "The global options by name, in YAML.",
    "/var/lib/reconciler": "State: promised addresses, the last good specs, suspensions. What is lost is found in the kernel.",
    "/var/lib/reconciler/status": "What `network inspect` and `attachment inspect` print, and summary.json.",
    "/var/lib/reconciler/events.ndjson": "What `events` prints, and events.ndjson.1, the file before.",
    "/run/reconciler": "Each sandbox's hosts and resolv.conf.",
}
_SIGNALS: Final = {
    "SIGTERM, SIGINT": "End `watch` after the pass that is under way; the networks stay up.",
    "SIGHUP": "Look at everything again, specs included.",
}


def manual_page(root: click.Group) -> str:
    """Give the page in the man(7) macros."""
    return "".join(f"{line}\n" for line in _lines(root))


def _lines(root: click.Group) -> Iterator[str]:
    context = click.Context(root, info_name="reconcile")
    yield '.TH RECONCILE 1 "" "network-reconciler" "User Commands"'
    yield from (".SH NAME", r"reconcile \- container networks as declared state")
    yield from (".SH SYNOPSIS", _usage(context))
    yield from (".SH DESCRIPTION", *_paragraphs(root.help))
    yield from (".SH OPTIONS", *_options(root.params))
    yield ".SH COMMANDS"
    yield "Global options may also stand behind a command."
    for name in root.list_commands(context):
        yield from _command(context, root.get_command(context, name), name)
    yield from (".SH ENVIRONMENT", *_listed((option.variable, option.help) for option in GLOBAL_OPTIONS))
    yield from (".SH FILES", *_listed(_FILES.items()))
    yield from (".SH SIGNALS", *_listed(_SIGNALS.items()))
    yield from (".SH EXIT STATUS", *_listed((str(int(code)), text) for code, text in _EXIT_CODES.items()))
    yield from (".SH SEE ALSO", r".BR ip\-netns (8),", ".BR nft (8),", ".BR systemd.service (5)")


def _command(parent: click.Context, command: click.Command | None, name: str) -> Iterator[str]:
    """Describe a command, or all of a group."""
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(context, command.get_command(context, inner), inner)
        return
    yield from (f".SS {_escaped(context.command_path)}", _usage(context), ".PP")
    yield from (*_paragraphs(command.help), *_options(command.params))


def _usage(context: click.Context) -> str:
    names = (f"\\fI{_escaped(_metavar(p))}\\fR" for p in context.command.params if isinstance(p, click.Argument))
    command = r" [\fICOMMAND\fR]" if isinstance(context.command, click.Group) else ""
    return " ".join((f"\\fB{_escaped(context.command_path)}\\fR", r"[\fIOPTIONS\fR]" + command, *names))


def _options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    for option in parameters:
        if isinstance(option, click.Option) and not option.hidden and option.help:
            flags = ", ".join(f"\\fB{_escaped(flag)}\\fR" for flag in sorted(option.opts, key=len))
            value = "" if option.is_flag or option.count else f" \\fI{_escaped(_metavar(option))}\\fR"
            yield from (".TP", flags + value, _text(option.help))


def _metavar(parameter: click.Parameter) -> str:
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter.type, click.Choice):
        return "|".join(map(str, parameter.type.choices))
    return (parameter.name or "").upper() if isinstance(parameter, click.Argument) else parameter.type.name.upper()


def _paragraphs(text: str | None) -> Iterator[str]:
    for number, paragraph in enumerate((text or "").split("\n\n")):
        if number:
            yield ".PP"
        yield _text(paragraph)


def _listed(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for head, text in entries:
        yield from (".TP", f"\\fB{_escaped(head)}\\fR", _text(text))


def _text(text: str) -> str:
    """Give prose as one line, what stands in backticks in bold."""
    flat = _escaped(" ".join(text.split()))
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", flat)


def _escaped(text: str) -> str:
    r"""Hide from roff what it would take for its own: backslashes, dashes, a dot or quote at the beginning of a line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + escaped if escaped.startswith((".", "'")) else escaped
