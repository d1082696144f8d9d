"""`import compose`: the networks of a Compose project as specs."""

from __future__ import annotations

import os
import shlex

import click

from reconciler.cli.importing import hand_over, output_option
from reconciler.cli.invoked import begin
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_fault
from reconciler.errors import ExitCode
from reconciler.importing.compose.files import default_files, read_text
from reconciler.importing.compose.read import Asked, read_compose


@click.command()
@global_options()
@click.option(
    "-p",
    "--project-name",
    "project",
    metavar="NAME",
    default="",
    help="Name of the project [default: `name:` of the files, else its folder's]",
)
@click.option(
    "--project-directory",
    "folder",
    metavar="DIR",
    default="",
    help="What relative paths start from [default: the folder of the first file]",
)
@click.option(
    "--profile",
    "profiles",
    metavar="NAME",
    multiple=True,
    help="Take the services of this profile too, '*' for all; may be repeated.",
)
@click.option(
    "--env-file", "env_files", metavar="FILE", multiple=True, help="Variables, instead of `.env`; may be repeated."
)
@click.option(
    "--without-docker",
    "is_alone",
    is_flag=True,
    help="Merge the files ourselves even where `docker compose config` can be asked.",
)
@click.option(
    "--long-names",
    "is_long",
    is_flag=True,
    help="Call attachments as Compose calls containers, PROJECT-SERVICE-1: for several projects on one host.",
)
@click.option(
    "--containers",
    "are_containers",
    is_flag=True,
    help="Attach the containers of the project, which Compose starts with `network_mode: none`, and no namespaces of our own.",
)
@output_option
@click.argument("files", nargs=-1, metavar="[FILE]…")
@click.pass_context
def compose(
    context: click.Context,
    *,
    project: str,
    folder: str,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    is_alone: bool,
    is_long: bool,
    are_containers: bool,
    output: str | None,
    files: tuple[str, ...],
) -> ExitCode:
    """Print specs of a Compose project: its networks, and an attachment for each container of its services.

    Several files are merged as Compose merges them; without FILE those that Compose would take. What `docker compose config`
    prints is preferred, where that is installed. Variables come from the environment and `.env`. Comments say where each thing
    came from and what could not be carried over, which is told on stderr too.
    """
    found = begin(context)
    environment = dict(os.environ)
    named = files or default_files(folder, environment)
    asked = Asked(
        files=named,
        environment=environment,
        called=os.path.basename(os.path.abspath(folder or os.path.dirname(named[0]))),
        folder=folder,
        project=project,
        profiles=profiles,
        env_files=env_files,
        is_long=is_long,
        are_containers=are_containers,
    )
    read = read_compose(asked, read_text, lambda: None if is_alone else _printed(asked))
    for fault in read.faults:
        log_fault(fault)
    if read.imported is None:
        return ExitCode.BAD_SPECS
    return hand_over(
        found, read.imported, shlex.join(("reconcile", "import", "compose", *_typed(asked), *files)), output
    )


def _typed(asked: Asked) -> list[str]:
    """Return the options that make a difference to what is imported."""
    given = {"--project-name": asked.project, "--project-directory": asked.folder}
    found = [part for option, value in given.items() if value for part in (option, value)]
    found += [part for profile in asked.profiles for part in ("--profile", profile)]
    found += ["--long-names"] * asked.is_long + ["--containers"] * asked.are_containers
    return found + [part for file in asked.env_files for part in ("--env-file", file)]


def _printed(asked: Asked) -> object:
    from reconciler.importing.compose.program import printed

    found, complaint = printed(asked)
    if complaint:
        log.warning("`docker compose config` does not answer, so the files are merged here: %s", complaint)
    return found
