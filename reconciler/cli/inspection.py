"""`network` and `attachment`: what the last pass wrote down, as docker's client shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from reconciler.cli.invoked import begin
from reconciler.cli.listing import listing, selected
from reconciler.cli.names import names_of
from reconciler.cli.options import global_options
from reconciler.cli.terminal import printable, show
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.status.read import Document, InspectedKind, read_documents, resolve
from reconciler.status.shape import Shape, shaped


def _group(kind: InspectedKind) -> click.Group:
    """Make the group with `ls` and `inspect` for one kind of document."""

    @click.group(name=str(kind), help=f"Show {kind}s as the last pass left them.")
    @global_options()
    def group() -> None:
        pass

    @group.command(name="ls", help=f"List the {kind}s, sorted by name.")
    @global_options(without=("quiet",))
    @click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Only ids.")
    @click.option("--no-trunc", "is_untruncated", is_flag=True, help="Full ids.")
    @click.option(
        "-f", "--filter", "filters", metavar="K=V", multiple=True, help="Only those that match; may be repeated."
    )
    @click.option(
        "--format", "template", metavar="TEMPLATE", help="A line for each: `json`, or Jinja2 as '{{ID}} {{Name}}'."
    )
    @click.pass_context
    def ls(
        context: click.Context, *, is_quiet: bool, is_untruncated: bool, filters: tuple[str, ...], template: str | None
    ) -> ExitCode:
        documents = selected(kind, read_documents(begin(context).settings.status_dir, kind), filters)
        text = listing(kind, documents, is_quiet=is_quiet, is_truncated=not is_untruncated, template=template)
        show(text)
        return ExitCode.OK

    @group.command(name="inspect", help=f"Show {kind}s in full, by name, id or the beginning of an id.")
    @global_options()
    @click.option(
        "-f", "--format", "template", metavar="TEMPLATE", help="A line for each: `json`, or Jinja2 as '{{Name}}'."
    )
    @click.option(
        "--mode",
        type=click.Choice([str(shape) for shape in Shape]),
        default=str(Shape.NEWEST),
        show_default=True,
        help="Fields of the newest engine, or of Docker Engine 20.10 alone.",
    )
    @click.argument("references", metavar="NAME|ID...", nargs=-1, required=True, shell_complete=names_of(f"{kind}s"))
    @click.pass_context
    def inspect(context: click.Context, *, template: str | None, mode: str, references: tuple[str, ...]) -> ExitCode:
        documents = read_documents(begin(context).settings.status_dir, kind)
        missing: list[ReconcilerError] = []
        found = [shaped(document, Shape(mode)) for document in _found(documents, kind, references, missing)]
        show(_inspection(found, template))
        for error in missing:
            click.echo(f"Error: {printable(str(error))}", err=True)
        return ExitCode.FAILED if missing else ExitCode.OK

    return group


def _found(
    documents: Sequence[Document], kind: InspectedKind, references: Sequence[str], missing: list[ReconcilerError]
) -> Iterator[Document]:
    """Yield those that there are; what is wrong with the others goes to `missing`."""
    for reference in references:
        try:
            yield resolve(documents, kind, reference)
        except ReconcilerError as error:
            missing.append(error)


def _inspection(documents: Sequence[Document], template: str | None) -> str:
    if template is not None:
        from reconciler.cli.template import formatted

        return "".join(formatted(template, documents))
    from reconciler.status.json_text import json_text

    return json_text(documents)


network = _group(InspectedKind.NETWORK)
attachment = _group(InspectedKind.ATTACHMENT)
