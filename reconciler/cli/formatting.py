"""`fmt`: spec files in one form."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from reconciler.cli.invoked import begin
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_fault
from reconciler.cli.terminal import show
from reconciler.errors import ExitCode, ReconcilerError, SpecError
from reconciler.spec.files import is_plain, plain_files, printable, read_plain

_SCHEMA_FOLDERS = ("", "schemas")


@click.command()
@global_options()
@click.option(
    "--check", "is_check", is_flag=True, help="Change nothing; print the files that would change, and exit 1."
)
@click.option(
    "--schema",
    metavar="REF",
    help="What the modeline for editors shall name, in files that have none [default: reconciler.schema.json beside a file, "
    "or further up in its repository]",
)
@click.argument("files", nargs=-1, metavar="[FILE]…")
@click.pass_context
def fmt(context: click.Context, *, is_check: bool, schema: str | None, files: tuple[str, ...]) -> ExitCode:
    """Put the keys of spec files in one order; comments, anchors and layout stay.

    Without FILE: all below --specs. Templates and their variables are left alone, and files with faults as they are.
    """
    settings = begin(context).settings
    paths = [path for path in map(Path, files) if is_plain(path)] if files else plain_files(settings.specs_dir)
    has_faults = is_any_other = False
    for path in paths:
        try:
            is_other = _is_other(path, schema, is_check=is_check)
        except SpecError as fault:
            log_fault(fault)
            has_faults = True
        else:
            is_any_other = is_any_other or is_other
    if has_faults:
        return ExitCode.BAD_SPECS
    return ExitCode.FAILED if is_check and is_any_other else ExitCode.OK


def _is_other(path: Path, schema: str | None, *, is_check: bool) -> bool:
    """Return whether the file is another in canonical form, and write that unless it is a check. Raises SpecError."""
    from reconciler.spec.formatting import formatted

    text = read_plain(path)
    found, faults = formatted(printable(path), text, _schema_of(path) if schema is None else schema)
    for fault in faults[1:]:
        log_fault(fault)
    if faults:
        raise faults[0]
    if found == text:
        return False
    if is_check:
        show(f"{printable(path)}\n")
    else:
        _replace(path, found)
        log.info("%s: formatted", printable(path))
    return True


def _schema_of(path: Path) -> str:
    """Find the schema that `reconcile schema --output` left, as seen from the file; "" when there is none."""
    from reconciler.spec.export_schema import FILE_NAME

    folder = path.resolve().parent
    for above in (folder, *folder.parents):
        for name in _SCHEMA_FOLDERS:
            if (above / name / FILE_NAME).is_file():
                return os.path.relpath(above / name / FILE_NAME, folder)
        if (above / ".git").exists():
            break
    return ""


def _replace(path: Path, text: str) -> None:
    """Write at once, or not at all; who owns the file and who may read it stays. Raises ReconcilerError."""
    target = path.resolve()
    try:
        found = target.stat()
        descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                with suppress(PermissionError):
                    os.fchown(descriptor, found.st_uid, found.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
                file.flush()
                os.fsync(descriptor)
            os.replace(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise ReconcilerError(f"{printable(path)} cannot be written: {error.strerror}") from error
