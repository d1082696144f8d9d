"""Commands that look at the host or change it: a pass, a dry run, `down`."""

from __future__ import annotations

import time
from functools import partial

import click

from reconciler.cli.invocation import Invocation
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_pass, log_spec_warnings
from reconciler.cli.progress import progress_bar
from reconciler.cli.terminal import show
from reconciler.errors import ExitCode
from reconciler.guard.orders import Orders
from reconciler.model.report import Report
from reconciler.status.verdict import exit_code, unsettled


def apply_pass(context: click.Context, orders: Orders) -> ExitCode:
    """Run one pass. Nothing on stdout."""
    from reconciler import pipeline
    from reconciler.backends import open_backends

    started, invoked = time.monotonic(), begin(context)
    enter_host(invoked.settings)
    with open_backends(invoked.settings) as backends, progress_bar(is_wanted=_is_bar_wanted(invoked)) as bar:
        report = pipeline.reconcile(invoked.settings, backends, bar, orders)
    return _finish(invoked, report, started)


@click.command("apply")
@global_options()
@click.argument("file", metavar="PLAN")
@click.pass_context
def apply_(context: click.Context, *, file: str) -> ExitCode:
    """Carry out a saved plan (`reconcile --dry-run --out PLAN`), exactly that or nothing.

    It is refused with exit code 3 when the specs or this host are not as they were, and told what differs.
    """
    from reconciler import pipeline
    from reconciler.backends import open_backends
    from reconciler.cli.saved_plan import read_plan

    started, invoked = time.monotonic(), begin(context)
    settings = invoked.settings
    saved = read_plan(file, settings)
    enter_host(settings)
    with open_backends(settings) as backends, progress_bar(is_wanted=_is_bar_wanted(invoked)) as bar:
        report = pipeline.reconcile(settings, backends, bar, saved.orders, partial(saved.check, settings))
    return _finish(invoked, report, started)


@click.command()
@global_options()
@click.pass_context
def snapshot(context: click.Context) -> ExitCode:
    """Print what this host has and promised, for `reconcile --dry-run --against snapshot:FILE` elsewhere."""
    from reconciler.backends import open_backends
    from reconciler.snapshots import snapshot_text

    settings = begin(context).settings
    enter_host(settings)
    with open_backends(settings, read_only=True) as backends:
        show(snapshot_text(settings, backends))
    return ExitCode.OK


@click.command()
@global_options()
@click.option("--allow-prune", "is_protection_off", is_flag=True, help="Remove protected networks too.")
@click.option("--take-over", "is_taking_over", is_flag=True, help="Also what is run with another --state-dir.")
@click.pass_context
def down(context: click.Context, *, is_protection_off: bool, is_taking_over: bool) -> ExitCode:
    """Remove all that is ours from this host, and nothing else. Protected networks stay, with what is on them."""
    from reconciler import pipeline
    from reconciler.backends import open_backends

    started, invoked = time.monotonic(), begin(context)
    enter_host(invoked.settings)
    with open_backends(invoked.settings) as backends, progress_bar(is_wanted=_is_bar_wanted(invoked)) as bar:
        orders = Orders(is_protection_off=is_protection_off, is_taking_over=is_taking_over)
        report = pipeline.tear_down(invoked.settings, backends, bar, orders)
    return _finish(invoked, report, started)


def _finish(invoked: Invocation, report: Report, started: float) -> ExitCode:
    from reconciler.watch.journal import Journal

    issues = unsettled(report)
    Journal(invoked.settings.state_dir).record(report)
    log_spec_warnings(report.spec_warnings)
    log_pass(report, issues, time.monotonic() - started)
    return exit_code(report, issues)


def _is_bar_wanted(invoked: Invocation) -> bool:
    """A bar would tear lines of a log that is read at the same time."""
    return invoked.verbosity == 0 and invoked.log_format == "text"
