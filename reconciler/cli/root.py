"""The command `reconcile`: its commands, and how errors become exit codes."""

from __future__ import annotations

import gc
import io
import os
import signal
from collections.abc import Sequence
from typing import Final

import click

from reconciler import __version__
from reconciler.cli.commands import Commands
from reconciler.cli.forms import CONDITIONS, GIT, METAVAR, Against, Conditions, Form, Output
from reconciler.cli.logs import configure_logs, log
from reconciler.cli.options import global_options
from reconciler.cli.streams import keep_streams_usable
from reconciler.cli.terminal import printable
from reconciler.errors import ExitCode, PrivilegeError, ReconcilerError, surroundings_error

_INTERRUPTED: Final = 130
"""What a shell reports for a command that SIGINT ended: 128 + 2."""

_COLLECTOR: Final = (50_000, 20, 50)
"""When the cyclic garbage collector goes through what is young, older and old.

A pass makes hundreds of thousands of values that stay to its end. Looking among them as often as Python does by itself is a seventh
of a pass with nothing to do at 1,000 attachments (measured 2026-11-29: 2.51 s of CPU time, now 2.17).
"""


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Options up to --log-format may also stand behind a command, and be given as RECONCILE_<NAME> in the environment "
    "or by name in the configuration file; what stands first in this sentence wins. "
    "Exit codes: 0 fine, 1 something failed, 2 changes (with --detailed-exitcode), 3 refused by a guard, "
    "4 rolled back, 5 does not reach (explain), 64 usage, 65 bad specs, "
    "69 store or nft unavailable, 75 another pass is at work, 77 missing privilege, 78 bad configuration; "
    "of several failures: 78, 77, 75, 69, 65, 4, 3, 1.",
)
@click.version_option(__version__, prog_name="reconcile", message="%(prog)s %(version)s")
@global_options(is_hidden=False)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Show what a pass would do; write nothing anywhere.")
@click.option(
    "--against",
    type=Against(),
    metavar="live|status|empty|git:REV[:PATH]|snapshot:FILE",
    default=None,
    help="With --dry-run, what to compare with: the kernel [default], the last pass, nothing, a host as `reconcile snapshot` "
    "saw it, or the specs at a commit, which needs no host: then --host takes `all`, names and globs.",
)
@click.option(
    "--output",
    "outputs",
    type=Output(),
    metavar=METAVAR,
    multiple=True,
    help="With --dry-run, the form of the plan [default: text], printed or written to FILE; may be repeated.",
)
@click.option("--objects", "are_objects_wanted", is_flag=True, help="With --dry-run, show the kernel's objects too.")
@click.option(
    "--hosts-file",
    metavar="FILE",
    help="With --against git:, more names of hosts, one a line.",
)
@click.option(
    "--fail-on",
    "fail_on",
    type=Conditions(),
    metavar=",".join(CONDITIONS),
    default=(),
    help="With --dry-run: exit 3 when the change brings one of these, all of which are listed.",
)
@click.option(
    "--out",
    metavar="FILE",
    help="With --dry-run against the host as it is: save the plan, for `reconcile apply FILE`.",
)
@click.option("--detailed-exitcode", "is_detailed", is_flag=True, help="With --dry-run: exit 2 when there are changes.")
@click.option(
    "--allow-prune",
    "is_prune_allowed",
    is_flag=True,
    help="Remove networks that are not declared any more, however many.",
)
@click.option(
    "--unprotect", "unprotected", multiple=True, metavar="NAME", help="Remove this protected network; may be repeated."
)
@click.option(
    "--take-over",
    "is_taking_over",
    is_flag=True,
    help="Run this host from these folders of state and specs, though it was run from others.",
)
@click.option(
    "--rollback-on-failure",
    "is_rollback_wanted",
    is_flag=True,
    help="Go back to the last good specs when these cannot be verified, and do not try them again until they change.",
)
@click.pass_context
def reconcile(
    context: click.Context,
    *,
    is_dry_run: bool,
    against: str | None,
    outputs: tuple[Form, ...],
    are_objects_wanted: bool,
    hosts_file: str | None,
    fail_on: tuple[str, ...],
    out: str | None,
    is_detailed: bool,
    is_prune_allowed: bool,
    unprotected: tuple[str, ...],
    is_taking_over: bool,
    is_rollback_wanted: bool,
) -> ExitCode | None:
    """Bring this host's container networks to what the specs declare.

    Without a command: one pass. It changes only what differs, looks again, and writes the status files.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_of_a_pass(context)
        return None
    if not is_dry_run:
        _refuse_options_of_a_dry_run(context)
    if is_dry_run and is_rollback_wanted:
        raise click.UsageError("--rollback-on-failure does not go with --dry-run")
    if hosts_file and not (against or "").startswith(GIT):
        raise click.UsageError("--hosts-file goes with --against git:REV")
    if out and against not in (None, "live"):
        raise click.UsageError("--out goes with --against live: what is applied starts from the host as it is")
    from reconciler.guard.orders import Orders

    orders = Orders(
        is_prune_allowed=is_prune_allowed,
        unprotected=frozenset(unprotected),
        is_rollback_wanted=is_rollback_wanted,
        is_taking_over=is_taking_over,
    )
    if is_dry_run:
        from reconciler.cli.reviewing import Asked, dry_run

        asked = Asked(
            against=against or "live",
            outputs=outputs,
            are_objects_wanted=are_objects_wanted,
            hosts_file=hosts_file,
            fail_on=fail_on,
            out=out,
            is_detailed=is_detailed,
        )
        return dry_run(context, orders, asked)
    from reconciler.cli.passes import apply_pass

    return apply_pass(context, orders)


_OF_A_DRY_RUN: Final = {
    "against": "--against",
    "outputs": "--output",
    "are_objects_wanted": "--objects",
    "hosts_file": "--hosts-file",
    "fail_on": "--fail-on",
    "out": "--out",
    "is_detailed": "--detailed-exitcode",
}


def _refuse_options_of_a_dry_run(context: click.Context) -> None:
    for name, flag in _OF_A_DRY_RUN.items():
        if context.params[name]:
            raise click.UsageError(f"{flag} goes with --dry-run")


def _refuse_options_of_a_pass(context: click.Context) -> None:
    flags = {
        "is_dry_run": "--dry-run",
        **_OF_A_DRY_RUN,
        "is_prune_allowed": "--allow-prune",
        "unprotected": "--unprotect",
        "is_taking_over": "--take-over",
        "is_rollback_wanted": "--rollback-on-failure",
    }
    for name, flag in flags.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flag} belongs to a pass and cannot stand before `{context.invoked_subcommand}`")


def _show(error: click.ClickException) -> None:
    """As click does, but that what was typed controls no terminal: it may have come out of a file or a script."""
    text = io.StringIO()
    error.show(text)
    click.echo(printable(text.getvalue(), keep="\n"), err=True, nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code. A bug is no error of the tree and surfaces with its traceback."""
    keep_streams_usable()
    # Who started us may ignore it; then no child's exit code can be had, and a failure of git or nft would look like success.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    configure_logs(0, "text")
    gc.set_threshold(*_COLLECTOR)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it looks for some in every package of the host
    try:
        result = reconcile.main(args=arguments, prog_name="reconcile", standalone_mode=False)
    except click.UsageError as error:
        _show(error)
        return ExitCode.USAGE
    except click.ClickException as error:
        _show(error)
        return ExitCode.FAILED
    except click.Abort:
        log.warning("interrupted; the next pass goes on from here")
        return _INTERRUPTED
    except PrivilegeError as error:
        needed = "CAP_NET_ADMIN, CAP_SYS_ADMIN and, to watch, CAP_NET_BROADCAST"
        log.error("%s; it takes root, or the capabilities %s", error, needed)
        return error.exit_code
    except ReconcilerError as error:
        log.error("%s", error)
        return error.exit_code
    except (OSError, MemoryError) as error:
        log.debug("no adapter expected this", exc_info=error)
        told = surroundings_error(error)
        log.error("%s", told)
        return told.exit_code
    return result if isinstance(result, int) else ExitCode.OK
