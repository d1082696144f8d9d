"""`import`: specs of what is there already. The sources by name, and what all of them end with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from reconciler.cli.commands import CommandPlace, LazyGroup
from reconciler.cli.invocation import Invocation
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.terminal import show
from reconciler.errors import ExitCode
from reconciler.model.words import counted

if TYPE_CHECKING:
    from reconciler.importing.values import Imported

Command = TypeVar("Command", bound=Callable[..., object])


SOURCES: Final = {
    "cni": CommandPlace("import_files", "Print specs of CNI's networks: configurations and lists of them."),
    "compose": CommandPlace(
        "import_compose",
        "Print specs of a Compose project: its networks, and an attachment for each container of its services.",
    ),
    "docker": CommandPlace("import_engines", "Print specs of Docker's networks and the containers on them."),
    "kernel": CommandPlace(
        "import_kernel", "Print specs of the bridges that others made on this host: networks that adopt them."
    ),
    "netavark": CommandPlace("import_files", "Print specs of Podman's networks, as its JSON files have them."),
    "podman": CommandPlace("import_engines", "Print specs of Podman's networks and the containers on them."),
    "quadlet": CommandPlace("import_files", "Print specs of Podman's quadlet units: networks, containers and pods."),
}


class Sources(LazyGroup):
    places = SOURCES


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
