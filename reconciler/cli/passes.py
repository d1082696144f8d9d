"""Commands that look at the host or change it: a pass, a dry run, `down`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import click

from reconciler.cli.forms import Form, for_machines, is_text_shown, write_out
from reconciler.cli.invocation import Invocation
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_faults, log_pass, log_spec_warnings
from reconciler.cli.progress import progress_bar
from reconciler.errors import ExitCode
from reconciler.guard.orders import Orders
from reconciler.model.report import Report
from reconciler.status.verdict import Unsettled, exit_code, undecided, unsettled


def apply_pass(context: click.Context, orders: Orders) -> ExitCode:
    """Run one pass. Nothing on stdout."""
    from reconciler import pipeline
    from reconciler.backends import open_backends

    started, invoked = time.monotonic(), begin(context)
    enter_host(invoked.settings)
    with open_backends(invoked.settings) as backends, progress_bar(is_wanted=_is_bar_wanted(invoked)) as bar:
        report = pipeline.reconcile(invoked.settings, backends, bar, orders)
    return _finish(invoked, report, started)


def dry_run(
    context: click.Context, orders: Orders, *, against: str, outputs: Sequence[Form], is_detailed: bool
) -> ExitCode:
    """Print the plan. Nothing is written anywhere."""
    from reconciler import pipeline
    from reconciler.backends import open_backends

    settings = begin(context).settings
    if against == "live":
        enter_host(settings)
    with open_backends(settings, read_only=True) as backends:
        report = pipeline.plan_pass(settings, backends, against=against, orders=orders)
    issues = undecided(report)
    if is_text_shown(outputs):
        log_faults(report)
        log_spec_warnings(report.spec_warnings)
    write_out(outputs, partial(_plan, report, issues, str(settings.specs_dir)))
    code = exit_code(report, issues)
    has_changes = bool(report.plan.operations)
    return ExitCode.CHANGES if code is ExitCode.OK and is_detailed and has_changes else code


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


def _plan(report: Report, issues: tuple[Unsettled, ...], specs_dir: str, name: str, is_coloured: bool) -> str:
    match name:
        case "json":
            from reconciler.cli.plan_json import plan_json

            return plan_json(report, issues)
        case "github":
            from reconciler.cli.diagnostics import workflow_commands
            from reconciler.cli.plan_findings import plan_findings
            from reconciler.cli.plan_text import count_line

            return workflow_commands(plan_findings(report, issues), count_line(report))
        case "sarif" | "junit":
            from reconciler.cli.plan_findings import checked_plan

            return for_machines(name, checked_plan(report, issues), specs_dir)
        case "markdown":
            raise click.UsageError("--output markdown goes with --against git:REV")
    from reconciler.cli.plan_text import plan_text

    return plan_text(report, issues, is_coloured=is_coloured)


def _is_bar_wanted(invoked: Invocation) -> bool:
    """A bar would tear lines of a log that is read at the same time."""
    return invoked.verbosity == 0 and invoked.log_format == "text"
