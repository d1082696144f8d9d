"""reconcile(1), made from the commands themselves: the same bytes for the same commands, whatever terminal or library version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import click

from reconciler.cli.options import DEFAULT_CONFIG, GLOBAL_OPTIONS
from reconciler.errors import ExitCode

EXIT_CODES: Final = {
    ExitCode.OK: "Fine; also a dry run with changes but without `--detailed-exitcode`, and what was left as it is on request.",
    ExitCode.FAILED: "Something failed; the rest was applied.",
    ExitCode.CHANGES: "There are changes (`--dry-run --detailed-exitcode`).",
    ExitCode.GUARDED: "A guard refused to remove something, the rest was applied; or all, on a host run from other folders.",
    ExitCode.ROLLED_BACK: "The specs could not be verified, the last good ones are in force.",
    ExitCode.UNREACHED: "The one does not reach the other, or nobody knows (`explain`).",
    ExitCode.USAGE: "Bad usage.",
    ExitCode.BAD_SPECS: "Bad specs; what can be read is applied, nothing is removed.",
    ExitCode.UNAVAILABLE: "The key-value store or nftables is not available.",
    ExitCode.LOCKED: "Another pass is at work, or specs are on trial.",
    ExitCode.NO_PRIVILEGE: "A privilege is missing.",
    ExitCode.BAD_CONFIG: "Bad configuration.",
}
FILES: Final = {
    DEFAULT_CONFIG: "The global options by name, in YAML.",
    "/etc/reconciler/specs": "The specs, where the units of systemd run `watch`.",
    "/var/lib/reconciler": "The folder of `--state-dir`. What is lost of it is found in the kernel.",
    "/var/lib/reconciler/state.db": "Promised addresses and ports, what plugins answered, settings of the host as they were.",
    "/var/lib/reconciler/state.db.set-aside-TIME": "A database that was damaged, or of another program.",
    "/var/lib/reconciler/last-good.json": "The texts of the last verified specs.",
    "/var/lib/reconciler/verified.json": "What the last pass found to be as declared.",
    "/var/lib/reconciler/rolled-back.json": "Specs that were taken back, until they change.",
    "/var/lib/reconciler/trial.json": "A trial that waits to be confirmed; what its guardian has to say is in `trial.log`.",
    "/var/lib/reconciler/suspensions.json": "What `suspend` was asked for.",
    "/var/lib/reconciler/retry.json": "What `retry` asked for, until the watcher reads it.",
    "/var/lib/reconciler/told.json": "What the journal said last, so that no pass says it again.",
    "/var/lib/reconciler/git": "Of `watch --git`: the repository, the commit in force, and `specs`, which leads to its files.",
    "/var/lib/reconciler/events.ndjson": "What `events` prints, and `events.ndjson.1`, the file before.",
    "/var/lib/reconciler/status": "The folder of `--status-dir`: what `inspect` prints, a file each, and `summary.json`.",
    "/run/reconciler": "The folder of `--run-dir`.",
    "/run/reconciler/sandboxes/NAME": "Each sandbox's `hosts`, `resolv.conf` and, with links, `environment`.",
    "/run/reconciler/containers/NAME": "What an engine had written into the files of a container that has ours now.",
    "/run/reconciler/dns": "Of the name server: `zones.json`, `control.sock`, `lock`, `server.log`.",
    "/run/netns/NAME": "Namespaces, ours and those of others.",
}
_SIGNALS: Final = {
    "SIGTERM, SIGINT": "End `watch` after the pass that is under way; the networks stay up.",
    "SIGHUP": "Look at everything again, specs included.",
}


def manual_page(root: click.Group) -> str:
    """Return the page in the man(7) macros."""
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
    yield from (".SH FILES", *_listed(FILES.items()))
    yield from (".SH SIGNALS", *_listed(_SIGNALS.items()))
    yield from (".SH EXIT STATUS", *_listed((str(int(code)), text) for code, text in EXIT_CODES.items()))
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
    names = (f"\\fI{_escaped(metavar(p))}\\fR" for p in context.command.params if isinstance(p, click.Argument))
    command = r" [\fICOMMAND\fR]" if isinstance(context.command, click.Group) else ""
    return " ".join((f"\\fB{_escaped(context.command_path)}\\fR", r"[\fIOPTIONS\fR]" + command, *names))


def _options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    for option in parameters:
        if isinstance(option, click.Option) and not option.hidden and option.help:
            flags = ", ".join(f"\\fB{_escaped(flag)}\\fR" for flag in sorted(option.opts, key=len))
            value = "" if option.is_flag or option.count else f" \\fI{_escaped(metavar(option))}\\fR"
            yield from (".TP", flags + value, _text(option.help))


def metavar(parameter: click.Parameter) -> str:
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
    """Return prose as one line, what stands in backticks in bold."""
    flat = _escaped(" ".join(text.split()))
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", flat)


def _escaped(text: str) -> str:
    r"""Hide from roff what it would take for its own: backslashes, dashes, a dot or quote at the beginning of a line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + escaped if escaped.startswith((".", "'")) else escaped
