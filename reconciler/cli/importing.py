"""`import`: specs of what is there already. The sources by name, and what all of them end with."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import click

from reconciler.cli.invocation import Invocation
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.terminal import show
from reconciler.errors import ExitCode
from reconciler.model.words import counted

if TYPE_CHECKING:
    from reconciler.importing.values import Imported

Command = TypeVar("Command", bound=Callable[..., object])


class _Source(NamedTuple):
    """module: of `reconciler.cli`, which has a command of the source's name. summary: the first sentence of its help."""

    module: str
    summary: str


SOURCES: Final = {
    "cni": _Source("import_files", "Print specs of CNI's networks: configurations and lists of them."),
    "compose": _Source(
        "import_compose",
        "Print specs of a Compose project: its networks, and an attachment for each container of its services.",
    ),
    "docker": _Source("import_engines", "Print specs of Docker's networks and the containers on them."),
    "kernel": _Source(
        "import_kernel", "Print specs of the bridges that others made on this host: networks that adopt them."
    ),
    "netavark": _Source("import_files", "Print specs of Podman's networks, as its JSON files have them."),
    "podman": _Source("import_engines", "Print specs of Podman's networks and the containers on them."),
    "quadlet": _Source("import_files", "Print specs of Podman's quadlet units: networks, containers and pods."),
}


class Sources(click.Group):
    """Finds sources by name in `SOURCES`; a source's module is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(SOURCES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        source = SOURCES.get(cmd_name)
        if source is None:
            return None
        command: click.Command = getattr(import_module(f"reconciler.cli.{source.module}"), cmd_name)
        return command


@click.command("import", cls=Sources)
@global_options()
def import_() -> None:
    """Print specs of what is there already: of a container engine, of Compose files, of the kernel."""


def output_option(command: Command) -> Command:
    return click.option(
        "--output",
        "output",
        metavar="DIR",
        help="Write the spec files into this folder, all or nothing, instead of printing one. It must be new, empty, or as an "
        "import left it.",
    )(command)


def hand_over(found: Invocation, imported: Imported, command: str, output: str | None) -> ExitCode:
    """Print or write what was imported, and tell what was not carried. command: what a person typed, for the files' heads."""
    from reconciler.importing.carried import carried
    from reconciler.importing.write import file_texts, stream_text, write_folder

    kept = carried(imported, found.settings.host)
    if output is None:
        show(stream_text(kept, command))
    else:
        write_folder(file_texts(kept, command), Path(output))
    for each in kept.all_not_carried():
        log.warning("%s", each)
    counts = f"{counted(len(kept.networks), 'network')} and {counted(len(kept.attachments), 'attachment')}"
    where = f" written to {output}: try `reconcile --specs {output} --dry-run`" if output is not None else ""
    log.info("%s%s", counts, where)
    return ExitCode.OK
