"""`import docker`, `import podman`: the networks of an engine, and its containers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import click

from reconciler.cli.importing import hand_over, output_option
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.container_engine.client import DEFAULT_SOCKETS
from reconciler.errors import ConfigError, ExitCode, ReconcilerError
from reconciler.model.words import counted
from reconciler.settings import Settings

_DOCKER, _PODMAN = DEFAULT_SOCKETS
_CONTAINER: Final = "container:"


@click.command()
@global_options()
@output_option
@click.option("-a", "--all", "is_all", is_flag=True, help="Containers that do not run, too.")
@click.pass_context
def docker(context: click.Context, *, output: str | None, is_all: bool) -> ExitCode:
    """Print specs of Docker's networks and the containers on them.

    The engine is asked at /run/docker.sock, or where --container-engine says.
    """
    return _import(context, "docker", _DOCKER, output, with_stopped=is_all)


@click.command()
@global_options()
@output_option
@click.option("-a", "--all", "is_all", is_flag=True, help="Containers that do not run, too.")
@click.pass_context
def podman(context: click.Context, *, output: str | None, is_all: bool) -> ExitCode:
    """Print specs of Podman's networks and the containers on them.

    The service is asked at /run/podman/podman.sock, or where --container-engine says.
    """
    return _import(context, "podman", _PODMAN, output, with_stopped=is_all)


def _import(context: click.Context, name: str, usual: Path, output: str | None, *, with_stopped: bool) -> ExitCode:
    from reconciler.importing.default_route import default_link
    from reconciler.importing.engine_socket import read_engine

    invoked = begin(context)
    settings = invoked.settings
    enter_host(settings)
    socket = settings.container_engine or usual
    joined = _joined(settings)
    if joined and output is not None:
        _check_is_new(Path(output), joined)
    imported = read_engine(socket, with_stopped=with_stopped, joined=joined, parent=default_link())
    return hand_over(invoked, imported, f"reconcile import {name}", output)


def _check_is_new(output: Path, joined: list[str]) -> None:
    """Raises ConfigError for a folder that may hold the specs that this host has its containers' networks from."""
    with contextlib.suppress(OSError):
        if any(output.iterdir()):
            raise ConfigError(
                f"--output {output} is not empty, and this host's specs join {counted(len(joined), 'container')} already, "
                "which are left out here: name another folder, so that these specs are not lost"
            )


def _joined(settings: Settings) -> list[str]:
    """Return the containers that this host's specs join already, by what these call them."""
    from reconciler.status.read import InspectedKind, read_documents, sandbox_key

    try:
        documents = read_documents(settings.status_dir, InspectedKind.ATTACHMENT)
    except ReconcilerError:  # no pass was here yet
        return []
    return [key.removeprefix(_CONTAINER) for key in map(sandbox_key, documents) if key.startswith(_CONTAINER)]
