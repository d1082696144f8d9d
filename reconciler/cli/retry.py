"""`reconcile retry`: end the time for which the watcher leaves something alone."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log
from reconciler.cli.names import names_of
from reconciler.cli.options import global_options
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.guard.retries import ask_to_retry
from reconciler.settings import Settings
from reconciler.status.write import read_summary


@click.command()
@global_options()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=names_of("networks", "attachments"))
@click.pass_context
def retry(context: click.Context, *, names: tuple[str, ...]) -> ExitCode:
    """Let the watcher try these networks and attachments again at once.

    It leaves alone for 5 minutes what somebody else kept changing back (reason FightingWriter).
    """
    from reconciler.kernel.lock import WATCHER, holder

    settings = begin(context).settings
    enter_host(settings)
    _check(settings, names)
    if not holder(WATCHER):
        raise ReconcilerError("no watcher runs on this host, so nothing is left alone: `reconcile` runs a pass")
    ask_to_retry(settings.state_dir, names)
    for name in names:
        log.info("to be tried again: %s", name)
    return ExitCode.OK


def _check(settings: Settings, names: tuple[str, ...]) -> None:
    """Refuse names that no network and no attachment has."""
    summary = read_summary(settings.status_dir)
    known: set[str] = set()
    for kind in ("networks", "attachments"):
        found = summary.get(kind)
        known.update(found if isinstance(found, Mapping) else ())
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ReconcilerError(
                f"No such network or attachment: {name}" + (f"; did you mean {near[0]}?" if near else "")
            )
