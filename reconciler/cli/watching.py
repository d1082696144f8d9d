"""`watch`: stay and keep the host converged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import end_of_pass
from reconciler.cli.options import ENVIRONMENT_PREFIX, global_options
from reconciler.cli.pass_log import log_pass, log_spec_warnings
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.model.report import Report
from reconciler.status.verdict import unsettled
from reconciler.watch.listener import Listener

if TYPE_CHECKING:
    from reconciler.watch.metrics_server import ServedMetrics


class PassLog(Listener):
    """Logs passes that did something or left something undone; says the same thing only once."""

    def __init__(self) -> None:
        self._said: object = None
        self._warned: object = ()

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        issues = unsettled(report)
        said = [(str(issue.unit), issue.message) for issue in issues], [str(fault) for fault in report.spec_faults]
        if report.spec_warnings != self._warned:
            log_spec_warnings(report.spec_warnings)
        self._warned = report.spec_warnings
        if report.outcomes or said != self._said:
            log_pass(report, issues, elapsed_s)
        self._said = said
        end_of_pass()

    def failed(self, error: ReconcilerError) -> None:
        """The loop has logged it."""
        end_of_pass()


@click.command()
@global_options()
@click.option(
    "--metrics",
    metavar="ADDRESS",
    default=None,
    envvar=f"{ENVIRONMENT_PREFIX}METRICS",
    help="Serve /metrics and /healthz at unix:/PATH or 127.0.0.1:PORT [default: nowhere]",
)
@click.pass_context
def watch(context: click.Context, *, metrics: str | None) -> ExitCode:
    """Stay, and keep this host as the specs declare until SIGTERM, which leaves the networks up.

    Spec files, kernel events and a timer each lead to the same pass. SIGHUP: look at everything again.
    """
    from reconciler.backends import open_backends
    from reconciler.watch.journal import Journal
    from reconciler.watch.notify import Notifier, ServiceListener
    from reconciler.watch.watcher import watch as keep_watching

    invoked = begin(context)
    notifier = Notifier.from_environment()  # an abstract address leads nowhere from another network namespace
    enter_host(invoked.settings)
    with open_backends(invoked.settings) as backends, _metrics(metrics) as figures:
        service = ServiceListener(notifier)
        listeners: list[Listener] = [
            PassLog(),
            service,
            Journal(invoked.settings.state_dir),
            *figures,
        ]
        try:
            keep_watching(invoked.settings, backends, listeners, servers=figures, progress=service.progress)
        finally:
            notifier.close()
    return ExitCode.OK


@contextmanager
def _metrics(address: str | None) -> Iterator[tuple[ServedMetrics, ...]]:
    """Give the listener that serves figures, if somebody wants them."""
    if not address:
        yield ()
        return
    from reconciler.http.listening import parse_address
    from reconciler.watch.loop import RESYNC_S
    from reconciler.watch.metrics_server import SETTING, ServedMetrics

    # A quiet watcher looks at everything every RESYNC_S: twice is late, and one pass may be a long one.
    served = ServedMetrics(parse_address(address, SETTING), quiet_max_s=3 * RESYNC_S)
    try:
        yield (served,)
    finally:
        served.close()
