"""What a plan is compared with and the forms it is given in, as typed behind --against and --output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from reconciler.cli.terminal import has_colours, show
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.cli.findings import Checked

GIT: Final = "git:"
SNAPSHOT: Final = "snapshot:"
AGAINST: Final = ("live", "status", "empty")
FORMS: Final = ("text", "json", "markdown", "github", "sarif", "junit")
CONDITIONS: Final = ("delete", "recreate", "flap", "drift", "reach-gained", "reach-lost", "exposed")
"""Those of `reconciler.review.conditions`, which is imported by those who review."""
METAVAR: Final = f"{'|'.join(FORMS)}[=FILE]"


class Form(NamedTuple):
    """file: where it is written; None: printed."""

    name: str
    file: str | None = None


TEXT: Final = Form("text")


class Against(click.ParamType[str]):
    """`live`, `status`, `empty`, `git:REV[:PATH]`, or `snapshot:FILE`."""

    name = "against"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        is_revision = value.startswith(GIT) and value.removeprefix(GIT).partition(":")[0]
        is_snapshot = value.startswith(SNAPSHOT) and value != SNAPSHOT
        if value not in AGAINST and not is_revision and not is_snapshot:
            self.fail(f"{value!r} is none of {', '.join(AGAINST)}, git:REV[:PATH] and snapshot:FILE", param, ctx)
        return value


class Conditions(click.ParamType[tuple[str, ...]]):
    """Conditions with commas between."""

    name = "conditions"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in value.split(","))
        unknown = next((word for word in words if word not in CONDITIONS), None)
        if unknown is not None:
            self.fail(f"{unknown!r} is none of {', '.join(CONDITIONS)}", param, ctx)
        return words


class Output(click.ParamType[Form]):
    """`FORM` or `FORM=FILE`."""

    name = "form"

    def convert(self, value: str | Form, param: click.Parameter | None, ctx: click.Context | None) -> Form:
        if isinstance(value, Form):
            return value
        form, equals, file = value.partition("=")
        if form not in FORMS:
            self.fail(f"{form!r} is none of {', '.join(FORMS)}", param, ctx)
        if equals and not file:
            self.fail(f"{value!r} names no file", param, ctx)
        return Form(form, file or None)


def is_text_shown(forms: Sequence[Form]) -> bool:
    """Return whether a person reads what is printed; faults and warnings are logged then."""
    return all(form.file is not None for form in forms) or TEXT in forms


def write_out(forms: Sequence[Form], render: Callable[[str, bool], str]) -> None:
    """Print one form and write the others. render: gives a form by its name, with colours or without.

    Raises UsageError when two are to be printed, ReconcilerError for a file that cannot be written.
    """
    shown = [form for form in forms if form.file is None] or ([] if forms else [TEXT])
    if len(shown) > 1:
        raise click.UsageError(f"one form is printed, give the others a file: --output {shown[1].name}=FILE")
    for form in (*shown, *(form for form in forms if form.file is not None)):
        if form.file is None:
            show(render(form.name, has_colours(sys.stdout)))
        else:
            write_file(form.file, render(form.name, False))


def for_machines(name: str, checked: Checked, specs_dir: str) -> str:
    """Return `sarif` or `junit`."""
    if name == "sarif":
        from reconciler.cli.sarif import sarif

        return sarif(checked, specs_dir)
    from reconciler.cli.junit import junit

    return junit(checked)


def write_file(file: str, text: str) -> None:
    """Raises ReconcilerError for a file that cannot be written."""
    try:
        with open(file, "w", encoding="utf-8", errors="backslashreplace") as opened:
            opened.write(text)
    except OSError as error:
        raise ReconcilerError(f"{file} cannot be written: {error.strerror}") from error
