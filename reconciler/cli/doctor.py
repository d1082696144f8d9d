"""`reconcile doctor`: what keeps networks from working on this host."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.terminal import folded, has_colours, printable, show
from reconciler.errors import ExitCode, PrivilegeError
from reconciler.model.words import counted

if TYPE_CHECKING:
    from reconciler.doctor.finding import Finding
    from reconciler.doctor.place import Place

_INDENT: Final = " " * 9
_COLOURS: Final = {"error": "red", "warning": "yellow"}


@click.command()
@global_options()
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="Form.")
@click.option(
    "--bundle",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write an archive for a bug report too (tar.gz), with what is known of this host but its secrets.",
)
@click.option("--force", "is_replacing", is_flag=True, help="Let the archive replace a file that is there.")
@click.pass_context
def doctor(context: click.Context, *, form: str, file: Path | None, is_replacing: bool) -> ExitCode:
    """Find what keeps networks from working on this host, why that matters, and the command that mends it.

    Reads only. Exit code 1 when something will not work; warnings and notes change no exit code.
    """
    from reconciler.backends import open_backends
    from reconciler.doctor.archive import refuse_present
    from reconciler.doctor.finding import Severity
    from reconciler.doctor.place import Place
    from reconciler.doctor.registry import CHECKS, findings, rights_alone

    if is_replacing and file is None:
        raise click.UsageError("--force goes with --bundle")
    if file is not None:
        refuse_present(file, is_replacing=is_replacing)
    settings = begin(context).settings
    try:
        enter_host(settings)
    except PrivilegeError:
        if file is not None:
            raise
        found = rights_alone()
    else:
        with open_backends(settings, read_only=True) as backends:
            place = Place(settings=settings, backends=backends)
            found = findings(place)
            if file is not None:
                _write_bundle(file, place, found, is_replacing=is_replacing)
    show(_json(found) if form == "json" else _text(found, len(CHECKS), is_coloured=has_colours(sys.stdout)))
    return ExitCode.FAILED if any(each.severity is Severity.ERROR for each in found) else ExitCode.OK


def _write_bundle(file: Path, place: Place, found: Sequence[Finding], *, is_replacing: bool) -> None:
    from reconciler.cli.bundle import bundle
    from reconciler.doctor.archive import write_archive

    write_archive(file, bundle(place, found), is_replacing=is_replacing)
    log.info("written: %s; look through it before you hand it on", file)


def _json(found: Sequence[Finding]) -> str:
    from reconciler.doctor.registry import document
    from reconciler.status.json_text import json_text

    return json_text(document(found))


def _text(found: Sequence[Finding], checks: int, *, is_coloured: bool) -> str:
    counts = [counted(number, name) for name in ("error", "warning", "note") if (number := _count(found, name))]
    summary = f"Doctor: {', '.join(counts) or 'nothing'} found by {counted(checks, 'check')}\n"
    text = "".join(f"{line}\n" for each in found for line in _lines(each)) + summary
    return text if is_coloured else click.unstyle(text)


def _count(found: Sequence[Finding], severity: str) -> int:
    return sum(each.severity == severity for each in found)


def _lines(found: Finding) -> Iterator[str]:
    """Commands stay in one line each, to be copied."""
    first, *others = folded(f"{found.severity:<8} {found.check}: {printable(found.what)}", "")
    yield click.style(found.severity, fg=_COLOURS.get(found.severity), bold=True) + first.removeprefix(found.severity)
    yield from others
    yield from folded(f"why: {printable(found.why)}", _INDENT)
    for command in found.mend:
        yield f"{_INDENT}# {printable(command)}"
    yield ""
