"""`reconcile graph`: what there is, drawn."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.forms import GIT, SNAPSHOT, Against
from reconciler.cli.invocation import Invocation
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_fault, log_spec_warnings
from reconciler.cli.terminal import has_colours, printable, show
from reconciler.errors import ExitCode
from reconciler.records.file import opened
from reconciler.settings import Settings
from reconciler.spec.fields import is_glob

if TYPE_CHECKING:
    from reconciler.drawing import Drawable
    from reconciler.graph.topology import Mark

FORMATS: Final = ("text", "mermaid", "dot", "svg", "html")
_COLOURS: Final = {"added": "green", "removed": "red", "moved": "magenta", "changed": "yellow", "drifted": "bright_red"}
_MANY: Final = "all"
_TITLE_MAX: Final = 60


@click.command()
@global_options()
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="text", help="Form of the drawing [default: text]"
)
@click.option("--plan", "is_plan", is_flag=True, help="Show what a change adds, moves and removes.")
@click.option(
    "--against",
    type=Against(),
    metavar="status|live|empty|git:REV[:PATH]",
    default=None,
    help="With --plan, what to compare with: the last pass [default], the kernel, nothing, or the specs at a commit.",
)
@click.pass_context
def graph(context: click.Context, *, format_: str, is_plan: bool, against: str | None) -> ExitCode:
    """Draw hosts, networks, who is on them and what is published, or what a change does to them.

    --host takes `all`, names and globs; then the specs alone are asked, and addresses that no spec names are left out.
    """
    if against is not None and not is_plan:
        raise click.UsageError("--against goes with --plan")
    if (against or "").startswith(SNAPSHOT):
        raise click.UsageError("--against snapshot:FILE goes with `reconcile --dry-run`")
    drawable = _drawable(context, (against or "status") if is_plan else None)
    for fault in drawable.faults:
        log_fault(fault)
    log_spec_warnings(drawable.warnings)
    show(_rendered(format_, drawable))
    return ExitCode.BAD_SPECS if drawable.faults else ExitCode.OK


def _drawable(context: click.Context, against: str | None) -> Drawable:
    from reconciler import drawing

    invoked = begin(context, is_for_hosts=True)
    if _is_of_many(invoked):
        if against is None:
            return drawing.draw_hosts(invoked.settings, invoked.hosts)
        if not against.startswith(GIT):
            raise click.UsageError("--plan for several hosts goes with --against git:REV: no host is asked")
        return drawing.draw_revision(invoked.settings, against.removeprefix(GIT), invoked.hosts)
    settings = begin(context).settings
    if against in (None, "status"):
        _tell_of_unread(settings)
    if against is None:
        return drawing.draw_host(settings)
    if against.startswith(GIT):
        return drawing.draw_revision(settings, against.removeprefix(GIT), settings.host)
    if against == "live":
        enter_host(settings)
    return drawing.draw_plan(settings, against)


def _tell_of_unread(settings: Settings) -> None:
    """Warn who may not read what this host promised."""
    try:
        opened(settings.state_dir / "state.db").close()
    except PermissionError:
        log.warning("%s cannot be read: addresses are those that a new host would choose", settings.state_dir)
    except OSError:
        return  # there is none yet


def _is_of_many(invoked: Invocation) -> bool:
    return invoked.hosts == _MANY or "," in invoked.hosts or is_glob(invoked.hosts)


def _rendered(format_: str, drawable: Drawable) -> str:
    from reconciler.graph.make_topology import make_topology

    topology = make_topology(drawable.subjects)
    match format_:
        case "mermaid":
            from reconciler.graph.mermaid import mermaid

            return mermaid(topology)
        case "dot":
            from reconciler.graph.dot import dot

            return dot(topology)
        case "svg":
            from reconciler.graph.svg import svg

            return svg(topology)
        case "html":
            from reconciler.graph.document import document
            from reconciler.graph.html import html
            from reconciler.graph.reaching import reaching

            data = document(topology, reaching(drawable.walk()), drawable.subjects)
            return html(data, f"{', '.join(host.name for host in topology.hosts)[:_TITLE_MAX]}: networks")
    from reconciler.graph.text import text

    return text(topology, partial(_painted, is_coloured=has_colours(sys.stdout)))


def _painted(line: str, mark: Mark, *, is_coloured: bool) -> str:
    shown = printable(line)
    return click.style(shown, fg=_COLOURS[mark]) if is_coloured and mark else shown
