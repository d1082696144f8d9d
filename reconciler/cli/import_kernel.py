"""`import kernel`: bridges that others made, to be adopted, and what sandboxes have."""

from __future__ import annotations

import click

from reconciler.cli.importing import hand_over, output_option
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.errors import ExitCode


@click.command()
@global_options()
@output_option
@click.pass_context
def kernel(context: click.Context, *, output: str | None) -> ExitCode:
    """Print specs of the bridges that others made on this host: networks that adopt them.

    Networks of macvlan and ipvlan links come too. Links in namespaces stay as they are, with their addresses kept for them.
    """
    from reconciler.importing.kernel import read_kernel
    from reconciler.importing.kernel_look import look_at_kernel
    from reconciler.kernel.netns import Namespaces
    from reconciler.kernel.nft import Nft

    invoked = begin(context)
    settings = invoked.settings
    enter_host(settings)
    with Namespaces(settings.netns_dir, settings.instance) as namespaces, Nft() as nft:
        imported = read_kernel(look_at_kernel(namespaces, nft))
    return hand_over(invoked, imported, "reconcile import kernel", output)
