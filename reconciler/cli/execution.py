"""`exec`: run a command in an attachment's sandbox."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.names import names_of
from reconciler.cli.options import global_options
from reconciler.errors import ExitCode
from reconciler.status.read import InspectedKind, name_of, read_documents, resolve, sandbox_key


@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@global_options()
@click.argument("attachment", metavar="ATTACHMENT", shell_complete=names_of("attachments"))
@click.argument("command", metavar="[--] CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(context: click.Context, *, attachment: str, command: tuple[str, ...]) -> ExitCode:
    """Run a command in a sandbox, with its /etc/hosts and /etc/resolv.conf.

    The exit code is the command's; 126 when it cannot be run, 127 when there is no such command.
    """
    from reconciler.sandbox_exec import ExecTarget, run_in_sandbox

    settings = begin(context).settings
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("there is no command to run", ctx=context)
    document = resolve(
        read_documents(settings.status_dir, InspectedKind.ATTACHMENT), InspectedKind.ATTACHMENT, attachment
    )
    enter_host(settings)
    name = name_of(document)
    run_in_sandbox(
        ExecTarget(
            attachment=name,
            key=sandbox_key(document),
            files_dir=Path(settings.run_dir) / "sandboxes" / name,
            container_engine=settings.container_engine,
        ),
        words,
    )
