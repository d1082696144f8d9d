"""Commands that need the specs alone, or nothing: `validate`, `schema`, `version`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import __version__
from reconciler.cli.forms import METAVAR, Form, Output, for_machines, is_text_shown, write_out
from reconciler.cli.invoked import begin
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_fault, log_spec_warnings
from reconciler.cli.terminal import show
from reconciler.errors import ConfigError, ExitCode, SpecError
from reconciler.model.wanted import SpecWarning
from reconciler.model.words import counted

if TYPE_CHECKING:
    from reconciler.spec.load import LoadedSpecs

_SCHEMA_FILE = "reconciler.schema.json"


@click.command()
@global_options()
@click.option(
    "--output",
    "outputs",
    type=Output(),
    metavar=METAVAR.replace("markdown|", ""),
    multiple=True,
    help="Form of the answer [default: text], printed or written to FILE; may be repeated.",
)
@click.pass_context
def validate(context: click.Context, *, outputs: tuple[Form, ...]) -> ExitCode:
    """Check the specs: no rights, no kernel and no store needed."""
    from reconciler.guard.expected import unmet_expectations
    from reconciler.guard.foresight import foreseen
    from reconciler.spec.load import load_specs

    settings = begin(context).settings
    loaded = load_specs(
        settings.specs_dir,
        host=settings.host,
        is_bridge_enabled=settings.is_bridge_enabled,
        is_in_cluster=bool(settings.cluster_store),
    )
    impossible, idle = foreseen(loaded, settings)
    faults, warnings = (*loaded.faults, *impossible, *unmet_expectations(loaded, settings)), (*loaded.warnings, *idle)
    if is_text_shown(outputs):
        for fault in faults:
            log_fault(fault)
        log_spec_warnings(warnings)
    write_out(outputs, partial(_answer, loaded, faults, warnings, str(settings.specs_dir)))
    if faults:
        return ExitCode.BAD_SPECS
    wanted = loaded.wanted
    but = f", {counted(len(warnings), 'warning')}" if warnings else ""
    found = f"{counted(len(wanted.networks), 'network')} and {counted(len(wanted.attachments), 'attachment')}"
    log.info("%s for host %s: fine%s", found, settings.host, but)
    return ExitCode.OK


def _answer(
    loaded: LoadedSpecs,
    faults: tuple[SpecError, ...],
    warnings: tuple[SpecWarning, ...],
    specs_dir: str,
    name: str,
    _is_coloured: bool,
) -> str:
    """Return one form. Nothing is printed as text: it is the log."""
    match name:
        case "json":
            from reconciler.cli.diagnostics import validation
            from reconciler.status.json_text import json_text

            return json_text(validation(faults, warnings))
        case "text":
            return ""
        case "markdown":
            raise click.UsageError("--output markdown goes with --dry-run --against git:REV")
    from reconciler.cli.findings import Checked, fault_findings, warning_findings

    findings = (*fault_findings(faults), *warning_findings(warnings))
    if name == "github":
        from reconciler.cli.diagnostics import workflow_commands

        return workflow_commands(findings)
    checked = Checked(what="validate", findings=findings, files=loaded.files, expectations=loaded.expectations)
    return for_machines(name, checked, specs_dir)


@click.command()
@global_options()
@click.option("--output", "folder", metavar="DIR", help=f"Write {_SCHEMA_FILE} there instead of printing it.")
@click.pass_context
def schema(context: click.Context, *, folder: str | None) -> ExitCode:
    """Print the JSON Schema of the specs (draft-07, for editors)."""
    from reconciler.spec.export_schema import text

    begin(context)
    if folder is None:
        show(text())
        return ExitCode.OK
    file = Path(folder) / _SCHEMA_FILE
    try:
        file.write_text(text())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    return ExitCode.OK


@click.command()
@global_options()
def version() -> ExitCode:
    """Print the version."""
    show(f"reconcile {__version__}\n")
    return ExitCode.OK
