"""What every command begins with: its settings, its logs, and where it needs the kernel, the host's namespace."""

from __future__ import annotations

import click

from reconciler.cli.invocation import Invocation, invocation
from reconciler.cli.logs import configure_logs
from reconciler.errors import ConfigError, SandboxMissing
from reconciler.settings import Settings


def begin(context: click.Context, *, is_for_hosts: bool = False) -> Invocation:
    """Put the global options together and set the logs up by them. is_for_hosts: --host may name several."""
    found = invocation(context.find_root().obj or {}, is_for_hosts=is_for_hosts)
    configure_logs(found.verbosity, found.log_format)
    return found


def enter_host(settings: Settings) -> None:
    """Move into the namespace that plays the host, before any socket is opened."""
    if settings.host_netns is None:
        return
    from reconciler.sandbox_exec import enter_network_namespace

    try:
        enter_network_namespace(settings.host_netns)
    except SandboxMissing as error:
        raise ConfigError(f"host-netns: there is no network namespace at {settings.host_netns}") from error
