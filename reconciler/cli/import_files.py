"""`import cni`, `import netavark`, `import quadlet`: networks and containers that files declare."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.importing import hand_over, output_option
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.errors import ExitCode

_PATHS = click.Path(path_type=Path)


@click.command()
@global_options()
@output_option
@click.argument("path", metavar="[DIR|FILE]...", nargs=-1, type=_PATHS)
@click.pass_context
def cni(context: click.Context, *, path: tuple[Path, ...], output: str | None) -> ExitCode:
    """Print specs of CNI's networks: configurations and lists of them.

    Read are *.conf, *.conflist and *.json, of /etc/cni/net.d unless another folder or files are named.
    """
    from reconciler.importing.cni import SUFFIXES, read_cni
    from reconciler.importing.default_route import default_link
    from reconciler.importing.source_files import read_files

    invoked = begin(context)
    enter_host(invoked.settings)
    source = read_files(path or (Path("/etc/cni/net.d"),), SUFFIXES)
    return hand_over(invoked, read_cni(source, parent=default_link()), "reconcile import cni", output)


@click.command()
@global_options()
@output_option
@click.argument("path", metavar="[DIR|FILE]...", nargs=-1, type=_PATHS)
@click.pass_context
def netavark(context: click.Context, *, path: tuple[Path, ...], output: str | None) -> ExitCode:
    """Print specs of Podman's networks, as its JSON files have them.

    Read are *.json, of /etc/containers/networks unless another folder or files are named, and what `podman network
    inspect` prints.
    """
    from reconciler.importing.default_route import default_link
    from reconciler.importing.netavark import read_netavark_files
    from reconciler.importing.source_files import read_files

    invoked = begin(context)
    enter_host(invoked.settings)
    source = read_files(path or (Path("/etc/containers/networks"),), (".json",))
    return hand_over(invoked, read_netavark_files(source, parent=default_link()), "reconcile import netavark", output)


@click.command()
@global_options()
@output_option
@click.argument("path", metavar="[DIR|FILE]...", nargs=-1, type=_PATHS)
@click.pass_context
def quadlet(context: click.Context, *, path: tuple[Path, ...], output: str | None) -> ExitCode:
    """Print specs of Podman's quadlet units: networks, containers and pods.

    Read are *.network, *.container and *.pod with their drop-ins, of /etc/containers/systemd unless another folder or
    files are named.
    """
    from reconciler.importing.default_route import default_link
    from reconciler.importing.quadlet import SUFFIXES, read_quadlet
    from reconciler.importing.source_files import read_files

    invoked = begin(context)
    enter_host(invoked.settings)
    source = read_files(path or (Path("/etc/containers/systemd"),), SUFFIXES, is_deep=True)
    imported = read_quadlet(source, parent=default_link(), host=invoked.settings.host)
    return hand_over(invoked, imported, "reconcile import quadlet", output)
