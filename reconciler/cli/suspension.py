"""`reconcile suspend` and `resume`: let passes leave networks alone for a while."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from difflib import get_close_matches

import click

from reconciler.cli.durations import DURATION
from reconciler.cli.invoked import begin
from reconciler.cli.logs import log
from reconciler.cli.names import names_of, suspended_networks
from reconciler.cli.options import global_options
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.guard.suspension import EVERYTHING, Suspension, moment, suspensions
from reconciler.guard.suspension import resume as end_suspensions
from reconciler.guard.suspension import suspend as begin_suspensions
from reconciler.settings import Settings
from reconciler.status.write import read_summary


@click.command()
@global_options()
@click.option("--reason", default="", metavar="TEXT", help="Why; shown in the status.")
@click.option("--for", "duration_s", type=DURATION, default=None, help="When it ends by itself [default: never]")
@click.argument("networks", nargs=-1, metavar="[NETWORK]...", shell_complete=names_of("networks"))
@click.pass_context
def suspend(context: click.Context, *, reason: str, duration_s: float | None, networks: tuple[str, ...]) -> ExitCode:
    """Let passes change nothing of these networks and the attachments on them; without names, nothing at all."""
    settings, now = begin(context).settings, time.time()
    _check(settings, networks)
    until = now + duration_s if duration_s else 0.0
    new = [
        Suspension(network=name, actor=_actor(), reason=reason[:1000], since=now, until=until)
        for name in networks or (EVERYTHING,)
    ]
    begin_suspensions(settings.state_dir, new, now)
    for suspension in new:
        end = f" until {moment(until)}" if until else ""
        log.info("suspended: %s%s", suspension.network or "everything on this host", end)
    return ExitCode.OK


@click.command()
@global_options()
@click.argument("networks", nargs=-1, metavar="[NETWORK]...", shell_complete=suspended_networks)
@click.pass_context
def resume(context: click.Context, *, networks: tuple[str, ...]) -> ExitCode:
    """End suspensions: those of these networks, or all. The next pass brings about what was left."""
    settings, now = begin(context).settings, time.time()
    present = {suspension.network for suspension in suspensions(settings.state_dir, now)}
    for name in networks:
        if name not in present:
            hint = "; all of this host is, by one suspension" if EVERYTHING in present else ""
            raise ReconcilerError(f"network {name} is not suspended by itself{hint}")
    for name in end_suspensions(settings.state_dir, networks, now):
        log.info("resumed: %s", name or "everything on this host")
    return ExitCode.OK


def _check(settings: Settings, names: tuple[str, ...]) -> None:
    """Refuse names that no network has, as far as a pass has told of any."""
    found = read_summary(settings.status_dir).get("networks")
    known = found if isinstance(found, Mapping) else {}
    for name in names:
        if not name or (known and name not in known):
            near = get_close_matches(name, known, n=1)
            raise ReconcilerError(f"No such network: {name}" + (f"; did you mean {near[0]}?" if near else ""))


def _actor() -> str:
    user = os.environ.get("SUDO_USER", "")
    if user and user.isprintable():
        return user[:64]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
