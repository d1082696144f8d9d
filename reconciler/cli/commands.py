"""The commands by name: what `--help` says of each, and where it is. A command's module is imported when it is called for."""

from __future__ import annotations

from importlib import import_module
from typing import Final, NamedTuple

import click


class _Place(NamedTuple):
    """module: of `reconciler.cli`. summary: the first sentence of the command's help. variable: what it is called in its module."""

    module: str
    summary: str
    variable: str = ""


COMMANDS: Final = {
    "apply": _Place(
        "passes", "Carry out a saved plan (`reconcile --dry-run --out PLAN`), exactly that or nothing.", "apply_"
    ),
    "attachment": _Place("inspection", "Show attachments as the last pass left them."),
    "completion": _Place("completion", "Print the completion script of a shell."),
    "doctor": _Place(
        "doctor",
        "Find what keeps networks from working on this host, why that matters, and the command that mends it.",
    ),
    "down": _Place("passes", "Remove all that is ours from this host, and nothing else."),
    "events": _Place(
        "events",
        "Print what passes did and met, a JSON object per line: changes, repairs, failures, refusals, suspensions.",
    ),
    "exec": _Place("execution", "Run a command in a sandbox, with its /etc/hosts and /etc/resolv.conf.", "exec_"),
    "explain": _Place(
        "explaining", "Explain why an attachment reaches another or does not, with the lines of the specs."
    ),
    "fmt": _Place("formatting", "Put the keys of spec files in one order; comments, anchors and layout stay."),
    "graph": _Place(
        "graph", "Draw hosts, networks, who is on them and what is published, or what a change does to them."
    ),
    "import": _Place(
        "importing",
        "Print specs of what is there already: of a container engine, of Compose files, of the kernel.",
        "import_",
    ),
    "manual": _Place("completion", "Print the manual page: `reconcile manual | man -l -`."),
    "network": _Place("inspection", "Show networks as the last pass left them."),
    "node": _Place("nodes", "Show and remove the hosts of the cluster."),
    "probe": _Place(
        "probing",
        "Send pings and TCP between the sandboxes of this host, and say whether they arrive where the specs say.",
    ),
    "resume": _Place("suspension", "End suspensions: those of these networks, or all."),
    "retry": _Place("retry", "Let the watcher try these networks and attachments again at once."),
    "schema": _Place("specs", "Print the JSON Schema of the specs (draft-07, for editors)."),
    "snapshot": _Place(
        "passes", "Print what this host has and promised, for `reconcile --dry-run --against snapshot:FILE` elsewhere."
    ),
    "status": _Place("status", "Show the networks, and what else is not ready or worth knowing."),
    "suspend": _Place(
        "suspension",
        "Let passes change nothing of these networks and the attachments on them; without names, nothing at all.",
    ),
    "try": _Place(
        "trial", "Apply the specs on trial: unless they are confirmed in time, the last good ones come back.", "try_"
    ),
    "validate": _Place("specs", "Check the specs: no rights, no kernel and no store needed."),
    "version": _Place("specs", "Print the version."),
    "watch": _Place(
        "watching", "Stay, and keep this host as the specs declare until SIGTERM, which leaves the networks up."
    ),
}

_MEANT: Final = {
    **dict.fromkeys(("reconcile", "run", "up"), "reconcile"),
    **dict.fromkeys(("diff", "plan", "preview"), "reconcile --dry-run"),
    **dict.fromkeys(("check", "lint"), "reconcile validate"),
    **dict.fromkeys(("list", "ls", "networks"), "reconcile network ls"),
    **dict.fromkeys(("attachments", "ps"), "reconcile attachment ls"),
    **dict.fromkeys(("delete", "destroy", "remove", "rm"), "reconcile down"),
    **dict.fromkeys(("draw", "map", "topology", "tree"), "reconcile graph"),
    "format": "reconcile fmt",
    "inspect": "reconcile network inspect",
    "log": "reconcile events",
    "logs": "reconcile events",
    "man": "reconcile manual",
    "nodes": "reconcile node ls",
}
"""What others call it."""


class Commands(click.Group):
    """Finds commands by name in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command: click.Command = getattr(import_module(f"reconciler.cli.{place.module}"), place.variable or cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands as click does, without importing them."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(name, help=COMMANDS[name].summary).get_short_help_str(limit))
                    for name in self.list_commands(ctx)
                ]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        typed = args[0]
        if typed not in COMMANDS and not typed.startswith("-"):
            raise click.UsageError(f"No such command {typed!r}.{_hint(typed)}", ctx)
        return super().resolve_command(ctx, args)


def _hint(typed: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(typed, COMMANDS, n=1)
    meant = _MEANT.get(typed) or (f"reconcile {near[0]}" if near else "")
    return f" Did you mean `{meant}`?" if meant else ""
