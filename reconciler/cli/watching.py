"""`watch`: stay and keep the host converged."""

from __future__ import annotations

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log_pass
from reconciler.cli.options import global_options
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.model.report import Report
from reconciler.status.verdict import unsettled


class PassLog:
    """Logs passes that did something or left something undone; says the same thing only once."""

    def __init__(self) -> None:
        self._said: object = None

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        issues = unsettled(report)
        said = [(str(issue.unit), issue.message) for issue in issues], [str(fault) for fault in report.spec_faults]
        if report.outcomes or said != self._said:
            log_pass(report, issues, elapsed_s)
        self._said = said

    def failed(self, error: ReconcilerError) -> None:
        """The loop has logged it."""

    def beat(self) -> None:
        """Nothing to tell."""

    def reloading(self) -> None:
        """The pass that follows tells."""

    def stopping(self) -> None:
        """The end of the process tells."""


@click.command()
@global_options()
@click.pass_context
def watch(context: click.Context) -> ExitCode:
    """Stay, and keep this host as the specs declare until SIGTERM, which leaves the networks up.

    Spec files, kernel events and a timer each lead to the same pass. SIGHUP: look at everything again.
    """
    from reconciler import pipeline
    from reconciler.watch.loop import Watcher

    invoked = begin(context)
    enter_host(invoked.settings)
    with pipeline.open_backends(invoked.settings) as backends:
        watcher = Watcher(invoked.settings, backends, (PassLog(),))
        try:
            watcher.run()
        finally:
            watcher.close()
    return ExitCode.OK
