"""The commands by name: what `--help` says of each, and where it is. A command's module is imported when it is called for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar, Final, NamedTuple

import click


class CommandPlace(NamedTuple):
    """module: of `reconciler.cli`. summary: the first sentence of the command's help. variable: what it is called in its module."""

    module: str
    summary: str
    variable: str = ""


COMMANDS: Final = {
    "apply": CommandPlace(
        "passes", "Carry out a saved plan (`reconcile --dry-run --out PLAN`), exactly that or nothing.", "apply_"
    ),
    "attachment": CommandPlace("inspection", "Show attachments as the last pass left them."),
    "completion": CommandPlace("completion", "Print the completion script of a shell."),
    "doctor": CommandPlace(
        "doctor",
        "Find what keeps networks from working on this host, why that matters, and the command that mends it.",
    ),
    "down": CommandPlace("passes", "Remove all that is ours from this host, and nothing else."),
    "events": CommandPlace(
        "events",
        "Print what passes did and met, a JSON object per line: changes, repairs, failures, refusals, suspensions.",
    ),
    "exec": CommandPlace("execution", "Run a command in a sandbox, with its /etc/hosts and /etc/resolv.conf.", "exec_"),
    "explain": CommandPlace(
        "explaining", "Explain why an attachment reaches another or does not, with the lines of the specs."
    ),
    "fmt": CommandPlace("formatting", "Put the keys of spec files in one order; comments, anchors and layout stay."),
    "graph": CommandPlace(
        "graph", "Draw hosts, networks, who is on them and what is published, or what a change does to them."
    ),
    "import": CommandPlace(
        "importing",
        "Print specs of what is there already: of a container engine, of Compose files, of the kernel.",
        "import_",
    ),
    "manual": CommandPlace("completion", "Print the manual page: `reconcile manual | man -l -`."),
    "network": CommandPlace("inspection", "Show networks as the last pass left them."),
    "node": CommandPlace("nodes", "Show and remove the hosts of the cluster."),
    "probe": CommandPlace(
        "probing",
        "Send pings and TCP between the sandboxes of this host, and say whether they arrive where the specs say.",
    ),
    "resume": CommandPlace("suspension", "End suspensions: those of these networks, or all."),
    "retry": CommandPlace("retry", "Let the watcher try these networks and attachments again at once."),
    "schema": CommandPlace("specs", "Print the JSON Schema of the specs (draft-07, for editors)."),
    "snapshot": CommandPlace(
        "passes", "Print what this host has and promised, for `reconcile --dry-run --against snapshot:FILE` elsewhere."
    ),
    "status": CommandPlace("status", "Show the networks, and what else is not ready or worth knowing."),
    "suspend": CommandPlace(
        "suspension",
        "Let passes change nothing of these networks and the attachments on them; without names, nothing at all.",
    ),
    "try": CommandPlace(
        "trial", "Apply the specs on trial: unless they are confirmed in time, the last good ones come back.", "try_"
    ),
    "validate": CommandPlace("specs", "Check the specs: no rights, no kernel and no store needed."),
    "version": CommandPlace("specs", "Print the version."),
    "watch": CommandPlace(
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


class LazyGroup(click.Group):
    """A group whose commands stand in `places` by name; a command's module is imported when it is called for."""

    places: ClassVar[Mapping[str, CommandPlace]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        command: click.Command = getattr(import_module(f"reconciler.cli.{place.module}"), place.variable or cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands as click does, without importing them."""
        limit = formatter.width - 6 - max(map(len, self.places))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(name, help=self.places[name].summary).get_short_help_str(limit))
                    for name in self.list_commands(ctx)
                ]
            )


class Commands(LazyGroup):
    places = COMMANDS

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
