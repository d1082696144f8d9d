"""`reconcile events`: what happened on this host."""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

import click

from reconciler.cli.durations import DURATION
from reconciler.cli.invoked import begin
from reconciler.cli.options import global_options
from reconciler.cli.terminal import show
from reconciler.errors import ExitCode
from reconciler.watch.journal_reader import Event, EventFiles

_POLL_MS: Final = 250
_BATCH: Final = 1000


class Moment(click.ParamType[datetime]):
    """A time, or how long ago it was. Gives the time; without a zone it is UTC."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value)
        if "-" not in text:
            return datetime.fromtimestamp(time.time() - DURATION.convert(text, param, ctx), UTC)
        found = _moment(text)
        if found is None:
            self.fail(f"{text!r} is no time: 15m, 2h, 3d, or as 2026-11-24T10:00:00Z", param, ctx)
        return found


@click.command()
@global_options()
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--since", type=Moment(), default=None, metavar="TIME", help="Only from then on: 2h, or a time.")
@click.option("--network", metavar="NAME", default=None, help="Only what concerns this network.")
@click.pass_context
def events(context: click.Context, *, is_followed: bool, since: datetime | None, network: str | None) -> ExitCode:
    """Print what passes did and met, a JSON object per line: changes, repairs, failures, refusals, suspensions."""
    files = EventFiles(begin(context).settings.state_dir)
    is_wanted = _filter(since, network)
    try:
        _show(files.earlier(), is_wanted)
        _show(files.new(), is_wanted)
        while is_followed and _is_read():
            _show(files.new(), is_wanted)
    except KeyboardInterrupt:
        return ExitCode.OK
    finally:
        files.close()
    return ExitCode.OK


def _filter(since: datetime | None, network: str | None) -> Callable[[Event], bool]:
    def is_wanted(event: Event) -> bool:
        if network is not None and event.get("network") != network:
            return False
        if since is None:
            return True
        moment = _moment(str(event.get("time", "")))
        return moment is not None and moment >= since

    return is_wanted


def _show(found: Iterable[Event], is_wanted: Callable[[Event], bool]) -> None:
    """Print in portions: neither a call for each line, nor all at once."""
    lines: list[str] = []
    for event in found:
        if is_wanted(event):
            lines.append(f"{json.dumps(event)}\n")
        if len(lines) == _BATCH:
            show("".join(lines))
            lines.clear()
    if lines:
        show("".join(lines))


def _is_read() -> bool:
    """Wait a little; False as soon as whoever read our output has left."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(_POLL_MS))


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
