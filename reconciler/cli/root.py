"""The command `reconcile`: its commands, and how errors become exit codes."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click

from reconciler import __version__
from reconciler.cli.logs import configure_logs, log
from reconciler.cli.options import global_options
from reconciler.cli.streams import keep_streams_usable
from reconciler.errors import ExitCode, PrivilegeError, ReconcilerError, surroundings_error

_INTERRUPTED: Final = 130
"""What a shell reports for a command that SIGINT ended: 128 + 2."""

_COLLECTOR: Final = (50_000, 20, 50)
"""When the cyclic garbage collector goes through what is young, older and old.

A pass makes hundreds of thousands of values that stay to its end. Looking among them as often as Python does by itself is a seventh
of a pass with nothing to do at 1,000 attachments (measured 2026-11-29: 2.51 s of CPU time, now 2.17).
"""

_COMMANDS: Final = {
    "attachment": "inspection",
    "completion": "completion",
    "down": "passes",
    "events": "events",
    "exec": "execution",
    "manual": "completion",
    "network": "inspection",
    "node": "nodes",
    "resume": "suspension",
    "retry": "retry",
    "schema": "specs",
    "status": "status",
    "suspend": "suspension",
    "try": "trial",
    "validate": "specs",
    "version": "specs",
    "watch": "watching",
}
"""Where each command is; its module is imported when it is called for, so that `--help` and `network ls` stay quick."""

_MEANT: Final = {
    **dict.fromkeys(("apply", "reconcile", "run", "up"), "reconcile"),
    **dict.fromkeys(("diff", "plan", "preview"), "reconcile --dry-run"),
    **dict.fromkeys(("check", "lint"), "reconcile validate"),
    **dict.fromkeys(("list", "ls", "networks"), "reconcile network ls"),
    **dict.fromkeys(("attachments", "ps"), "reconcile attachment ls"),
    **dict.fromkeys(("delete", "destroy", "remove", "rm"), "reconcile down"),
    "inspect": "reconcile network inspect",
    "log": "reconcile events",
    "logs": "reconcile events",
    "man": "reconcile manual",
    "nodes": "reconcile node ls",
}
"""What others call it."""

_VARIABLES: Final = {"exec": "exec_", "try": "try_"}


class _Commands(click.Group):
    """Finds commands by name in `_COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"reconciler.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, _VARIABLES.get(cmd_name, cmd_name))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        typed = args[0]
        if typed not in _COMMANDS and not typed.startswith("-"):
            near = get_close_matches(typed, _COMMANDS, n=1)
            meant = _MEANT.get(typed) or (f"reconcile {near[0]}" if near else "")
            hint = f" Did you mean `{meant}`?" if meant else ""
            raise click.UsageError(f"No such command {typed!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Options up to --log-format may also stand behind a command, and be given as RECONCILE_<NAME> in the environment "
    "or by name in the configuration file; what stands first in this sentence wins. "
    "Exit codes: 0 fine, 1 something failed, 2 changes (with --detailed-exitcode), 3 refused by a guard, "
    "4 rolled back, 64 usage, 65 bad specs, "
    "69 store or nft unavailable, 75 another pass is at work, 77 missing privilege, 78 bad configuration; "
    "of several failures: 78, 77, 75, 69, 65, 4, 3, 1.",
)
@click.version_option(__version__, prog_name="reconcile", message="%(prog)s %(version)s")
@global_options(is_hidden=False)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Show what a pass would do; write nothing anywhere.")
@click.option(
    "--against",
    type=click.Choice(("live", "status", "empty")),
    default=None,
    help="With --dry-run, what to compare with: the kernel [default], the last pass, or nothing at all.",
)
@click.option(
    "--output",
    type=click.Choice(("text", "json", "github")),
    default="text",
    show_default=True,
    help="With --dry-run, the form of the plan.",
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
    output: str,
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
    is_output_given = context.get_parameter_source("output") is click.core.ParameterSource.COMMANDLINE
    if not is_dry_run and (against is not None or is_detailed or is_output_given):
        raise click.UsageError("--against, --output and --detailed-exitcode go with --dry-run")
    if is_dry_run and is_rollback_wanted:
        raise click.UsageError("--rollback-on-failure does not go with --dry-run")
    from reconciler.cli.passes import apply_pass, dry_run
    from reconciler.guard.orders import Orders

    orders = Orders(
        is_prune_allowed=is_prune_allowed,
        unprotected=frozenset(unprotected),
        is_rollback_wanted=is_rollback_wanted,
        is_taking_over=is_taking_over,
    )
    if is_dry_run:
        return dry_run(context, orders, against=against or "live", output=output, is_detailed=is_detailed)
    return apply_pass(context, orders)


def _refuse_options_of_a_pass(context: click.Context) -> None:
    flags = {
        "is_dry_run": "--dry-run",
        "against": "--against",
        "output": "--output",
        "is_detailed": "--detailed-exitcode",
        "is_prune_allowed": "--allow-prune",
        "unprotected": "--unprotect",
        "is_taking_over": "--take-over",
        "is_rollback_wanted": "--rollback-on-failure",
    }
    for name, flag in flags.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flag} belongs to a pass and cannot stand before `{context.invoked_subcommand}`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code. A bug is no error of the tree and surfaces with its traceback."""
    keep_streams_usable()
    configure_logs(0, "text")
    gc.set_threshold(*_COLLECTOR)
    try:
        result = reconcile.main(args=arguments, prog_name="reconcile", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        error.show()
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
