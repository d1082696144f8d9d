"""`reconcile try`: apply, and take back unless somebody confirms."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import click

from reconciler.cli.durations import DURATION
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log
from reconciler.cli.options import global_options
from reconciler.cli.pass_log import log_pass, log_spec_warnings
from reconciler.errors import ExitCode, LockHeld, ReconcilerError, TrialPending
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.status.verdict import exit_code, unsettled

_TIMEOUT_S: Final = 60.0
_PATIENCE_S: Final = 10.0
_POLL_S: Final = 0.1


@click.command("try")
@global_options()
@click.option("--timeout", "timeout_s", type=DURATION, default=_TIMEOUT_S, help="Time to confirm [default: 60s]")
@click.option("--confirm", "is_confirmed", is_flag=True, help="Keep the specs on trial; from any terminal.")
@click.option("--revert", "is_reverted", is_flag=True, help="Take the specs on trial back now.")
@click.pass_context
def try_(context: click.Context, *, timeout_s: float, is_confirmed: bool, is_reverted: bool) -> ExitCode:
    """Apply the specs on trial: unless they are confirmed in time, the last good ones come back.

    Confirm by Enter, SIGUSR1 to this process, or `reconcile try --confirm` elsewhere. Ctrl-C takes them back at once. The time
    is kept by a process of its own, so it runs out also when this one is killed or the terminal is lost; what is left then is
    taken back by the next pass. The time begins anew when everything is applied.
    """
    settings = begin(context).settings
    if is_confirmed and is_reverted:
        raise click.UsageError("--confirm and --revert exclude each other")
    enter_host(settings)
    if is_confirmed:
        return _confirm(settings)
    return _revert(settings) if is_reverted else _try(settings, timeout_s)


def _confirm(settings: Settings) -> ExitCode:
    from reconciler.trial import confirm_trial

    log.info("specs %s are confirmed", confirm_trial(settings)[:12])
    return ExitCode.OK


def _revert(settings: Settings) -> ExitCode:
    from reconciler.guard.trial_record import read_trial
    from reconciler.trial import take_back

    started, trial = time.monotonic(), read_trial(settings.state_dir)
    report = take_back(settings, trial.id, "somebody took them back") if trial else None
    if report is None:
        raise ReconcilerError("no specs are on trial: they were confirmed or taken back before")
    return _told(settings, report, started)


def _try(settings: Settings, timeout_s: float) -> ExitCode:
    from reconciler import pipeline
    from reconciler.backends import open_backends
    from reconciler.guard.orders import Orders
    from reconciler.guard.trial_record import read_trial
    from reconciler.trial import TrialSignals, await_answer, start_guardian

    started = time.monotonic()
    with TrialSignals() as signals:
        start_guardian(settings)
        with open_backends(settings) as backends:
            report = _when_free(partial(pipeline.reconcile, settings, backends, orders=Orders(trial_s=timeout_s)))
        trial, code = read_trial(settings.state_dir), _told(settings, report, started)
        if trial is None:
            log.info("nothing is on trial%s", f": {_why_none()}" if code is ExitCode.OK else "")
            return code
        how = "Enter or `reconcile try --confirm`" if sys.stdin.isatty() else "`reconcile try --confirm`"
        log.warning("specs %s are on trial for %.0f s: confirm with %s", trial.digest[:12], trial.left_s(), how)
        answer = await_answer(settings, trial, signals)
    if answer.is_kept:
        log.info("specs %s are confirmed", trial.digest[:12])
        return code
    if answer.report is not None:
        return _told(settings, answer.report, started)
    log.error("specs %s were taken back", trial.digest[:12])
    return ExitCode.ROLLED_BACK


def _when_free(work: Callable[[], Report]) -> Report:
    """Do it once the host's lock is free: a watcher holds it for the moment of a pass."""
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return work()
        except LockHeld as error:
            if isinstance(error, TrialPending) or time.monotonic() > end_s:
                raise
            time.sleep(_POLL_S)


def _why_none() -> str:
    from reconciler.kernel.lock import WATCHER, holder

    watcher = holder(WATCHER)
    if not watcher:
        return "these specs are known to be good"
    return f"{watcher} watches these specs and has applied them already; try a copy: `reconcile try --specs COPY`"


def _told(settings: Settings, report: Report, started: float) -> ExitCode:
    from reconciler.watch.journal import Journal

    issues = unsettled(report)
    Journal(settings.state_dir).record(report)
    log_spec_warnings(report.spec_warnings)
    log_pass(report, issues, time.monotonic() - started)
    return exit_code(report, issues)
