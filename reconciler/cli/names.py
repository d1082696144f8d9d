"""Names that the shell completes: what the last pass has told of, in the status folder that the command line means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from reconciler.cli.invocation import invocation
from reconciler.errors import ReconcilerError
from reconciler.settings import Settings

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def names_of(*kinds: str) -> Complete:
    """Return what completes names of these kinds, `networks` and `attachments`, but for those that stand on the line."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        present = context.params.get(parameter.name or "")
        known = _known(context, kinds) - set(present if isinstance(present, tuple) else ())
        return sorted(name for name in known if name.startswith(incomplete) and name.isprintable())

    return complete


def suspended_networks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of networks that are suspended by themselves."""
    import time

    from reconciler.guard.suspension import suspensions

    settings = _settings(context)
    found = suspensions(settings.state_dir, time.time()) if settings is not None else ()
    return sorted(one.network for one in found if one.network and one.network.startswith(incomplete))


def _known(context: click.Context, kinds: tuple[str, ...]) -> set[str]:
    from reconciler.status.write import read_summary

    settings = _settings(context)
    summary = read_summary(settings.status_dir) if settings is not None else {}
    found = (summary.get(kind) for kind in kinds)
    return {str(name) for names in found if isinstance(names, Mapping) for name in names}


def _settings(context: click.Context) -> Settings | None:
    """Return what the line says so far; None where it is no good: whoever completes wants no error."""
    try:
        return invocation(context.find_root().obj or {}).settings
    except ReconcilerError:
        return None
