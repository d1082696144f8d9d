"""`reconcile explain`: why one reaches another or does not, and what status says."""

from __future__ import annotations

from typing import Final

import click

from reconciler.cli.invoked import begin
from reconciler.cli.options import global_options
from reconciler.cli.terminal import show
from reconciler.errors import ConfigError, ExitCode

_FORMATS: Final = ("text", "json")


@click.command()
@global_options()
@click.argument("subject", metavar="ATTACHMENT")
@click.option("--to", "target", metavar="OTHER[:PORT[/udp]]|outside|host", required=True, help="Whom it shall reach.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), default="text", show_default=True, help="Form.")
@click.pass_context
def explain(context: click.Context, *, subject: str, target: str, format_: str) -> ExitCode:
    """Explain why an attachment reaches another or does not, with the lines of the specs.

    ATTACHMENT may be `host` or `outside` too. OTHER is an attachment, a name that one answers to, or an address. Exit code 5 when
    it does not, or when that is not known.
    """
    from reconciler.explain.declared import declared
    from reconciler.explain.explain import explain as explained
    from reconciler.explain.values import Verdict

    settings = begin(context).settings
    try:
        told = explained(declared(settings), subject, target)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if format_ == "json":
        from reconciler.cli.explain_json import explanation_json

        show(explanation_json(told))
    else:
        from reconciler.cli.explain_text import explanation_text

        show(explanation_text(told))
    return ExitCode.OK if told.verdict is Verdict.YES else ExitCode.UNREACHED
