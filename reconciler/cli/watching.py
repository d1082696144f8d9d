"""`watch`: stay and keep the host converged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from reconciler.cli.durations import DURATION
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import end_of_pass
from reconciler.cli.options import ENVIRONMENT_PREFIX, global_options
from reconciler.cli.pass_log import log_pass, log_spec_warnings
from reconciler.errors import ConfigError, ExitCode, ReconcilerError
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.status.verdict import unsettled
from reconciler.watch.listener import PassListener

if TYPE_CHECKING:
    from reconciler.backends import Backends
    from reconciler.git_remote import Remote
    from reconciler.watch.git_source import GitSource
    from reconciler.watch.metrics_server import ServedMetrics
    from reconciler.watch.prober import Prober


class PassLog(PassListener):
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
    help="Serve /metrics, /healthz and, at /, a page of the networks at unix:/PATH or 127.0.0.1:PORT [default: nowhere]",
)
@click.option(
    "--git",
    "repository",
    metavar="URL[#REF[:PATH]]",
    default=None,
    envvar=f"{ENVIRONMENT_PREFIX}GIT",
    help="Take the specs from a repository; REF: a branch, tag or hash [default: HEAD], PATH: their folder [default: its top]",
)
@click.option(
    "--git-interval",
    metavar="SPAN",
    type=DURATION,
    default=60.0,
    envvar=f"{ENVIRONMENT_PREFIX}GIT_INTERVAL",
    help="How often to fetch, as 90s or 15m; SIGHUP does at once [default: 60s]",
)
@click.option(
    "--verify-signatures",
    "keyring",
    metavar="KEYRING",
    default=None,
    envvar=f"{ENVIRONMENT_PREFIX}VERIFY_SIGNATURES",
    help="Take commits, or tags, that somebody in this file signed: ssh's allowed signers, or OpenPGP keys",
)
@click.option(
    "--probe",
    "probe_s",
    metavar="SPAN",
    type=DURATION,
    default=None,
    envvar=f"{ENVIRONMENT_PREFIX}PROBE",
    help="How often to send real packets between this host's sandboxes, and tell if they go as specs say, as 60s [default: never]",
)
@click.pass_context
def watch(
    context: click.Context,
    *,
    metrics: str | None,
    repository: str | None,
    git_interval: float,
    keyring: str | None,
    probe_s: float | None,
) -> ExitCode:
    """Stay, and keep this host as the specs declare until SIGTERM, which leaves the networks up.

    Spec files, kernel events and a timer each lead to the same pass. SIGHUP: look at everything again.
    """
    from reconciler.backends import open_backends
    from reconciler.watch.journal import Journal
    from reconciler.watch.notify import ServiceListener, ServiceNotifier
    from reconciler.watch.watcher import watch as keep_watching

    invoked = begin(context)
    if keyring and not repository:
        raise click.UsageError("--verify-signatures goes with --git")
    remote = _remote(repository, keyring) if repository else None
    settings = invoked.settings
    if remote is not None:
        from reconciler.watch.git_source import git_specs_dir

        settings = replace(settings, specs_dir=git_specs_dir(settings.state_dir))
    notifier = ServiceNotifier.from_environment()  # an abstract address leads nowhere from another network namespace
    enter_host(settings)
    with open_backends(settings) as backends, _metrics(metrics, settings) as figures:
        service = ServiceListener(notifier)
        listeners: list[PassListener] = [
            PassLog(),
            service,
            Journal(settings.state_dir),
            *figures,
        ]
        try:
            keep_watching(
                settings,
                backends,
                listeners,
                servers=figures,
                progress=service.progress,
                open_repository=None if remote is None else _repository(settings, remote, keyring, git_interval),
                open_prober=None if probe_s is None else partial(_prober, settings.host, probe_s),
            )
        finally:
            notifier.close()
    return ExitCode.OK


def _remote(typed: str, keyring: str | None) -> Remote:
    from reconciler.git_remote import parse_remote

    try:
        return parse_remote(typed, is_proved=bool(keyring))
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _repository(settings: Settings, remote: Remote, keyring: str | None, interval_s: float) -> Callable[[], GitSource]:
    from reconciler.watch.git_source import GitSource

    return partial(GitSource, settings, remote, Path(keyring).absolute() if keyring else None, interval_s)


def _prober(host: str, interval_s: float, backends: Backends) -> Prober:
    from reconciler.probe import answered
    from reconciler.watch.prober import Prober

    return Prober(host, interval_s, lambda probes, walk, is_over: answered(probes, walk, backends, is_over))


@contextmanager
def _metrics(address: str | None, settings: Settings) -> Iterator[tuple[ServedMetrics, ...]]:
    """Return the listener that serves figures, if somebody wants them."""
    if not address:
        yield ()
        return
    from reconciler.http.listening import parse_address
    from reconciler.watch.loop import RESYNC_S
    from reconciler.watch.metrics_server import SETTING, ServedMetrics

    # A quiet watcher looks at everything every RESYNC_S: twice is late, and one pass may be a long one.
    served = ServedMetrics(parse_address(address, SETTING), quiet_max_s=3 * RESYNC_S, settings=settings)
    try:
        yield (served,)
    finally:
        served.close()
