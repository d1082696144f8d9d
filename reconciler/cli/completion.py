"""`reconcile completion` and `reconcile manual`: what shells and man(1) want to know, made from the commands themselves."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from reconciler.cli.options import global_options
from reconciler.cli.terminal import show
from reconciler.errors import ExitCode

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@global_options()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> ExitCode:
    """Print the completion script of a shell.

    bash: `eval "$(reconcile completion bash)"` in ~/.bashrc, or the output as
    /usr/share/bash-completion/completions/reconcile. zsh: as _reconcile in a folder of $fpath.
    fish: as ~/.config/fish/completions/reconcile.fish.
    """
    made = get_completion_class(shell)
    assert made is not None
    show(made(context.find_root().command, {}, "reconcile", "_RECONCILE_COMPLETE").source())
    return ExitCode.OK


@click.command()
@global_options()
@click.pass_context
def manual(context: click.Context) -> ExitCode:
    """Print the manual page: `reconcile manual | man -l -`."""
    from reconciler.cli.manual_page import manual_page

    root = context.find_root().command
    assert isinstance(root, click.Group)
    show(manual_page(root))
    return ExitCode.OK
