"""`reconcile status`: whether this host is as declared, by what the last pass wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

import click

from reconciler.cli.invoked import begin
from reconciler.cli.options import global_options
from reconciler.cli.table import table
from reconciler.cli.terminal import printable, show
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.settings import Settings
from reconciler.status.read import Kind, name_of, read_documents
from reconciler.status.write import read_summary

if TYPE_CHECKING:
    from reconciler.status.json_text import Json

Fields = Mapping[str, object]

_HEAD: Final = ("NETWORK", "READY", "REVISION", "ENDPOINTS", "DRIFT-REPAIRED", "LAST-ERROR")
_HEAD_OF_ATTACHMENTS: Final = ("ATTACHMENT", "READY", "LAST-ERROR")
_SHORT_COMMIT: Final = 12
_DIRTY: Final = "-dirty"


@click.command()
@global_options()
@click.option("--output", type=click.Choice(("text", "json")), default="text", show_default=True, help="Form.")
@click.pass_context
def status(context: click.Context, *, output: str) -> ExitCode:
    """Show the networks, and the attachments that are not ready. Exit 0 when everything is ready, 1 otherwise."""
    settings = begin(context).settings
    summary = read_summary(settings.status_dir)
    if not summary:
        raise ReconcilerError(f"no status below {settings.status_dir} yet: `reconcile` writes it with its first pass")
    endpoints = _endpoints(settings)
    if output == "json":
        from reconciler.status.json_text import json_text

        show(json_text(status_document(summary, endpoints)))
    else:
        show(status_text(summary, endpoints))
    return ExitCode.OK if is_all_ready(summary) else ExitCode.FAILED


def is_all_ready(summary: Fields) -> bool:
    entries = [summary, *_entries(summary, "networks").values(), *_entries(summary, "attachments").values()]
    return all(_ready(entry).get("status") == "True" for entry in entries)


def status_document(summary: Fields, endpoints: Mapping[str, int]) -> Mapping[str, Json]:
    """Give the summary, and how many endpoints each network has."""
    networks = {
        name: {**entry, "endpoints": endpoints.get(name, 0)} for name, entry in _entries(summary, "networks").items()
    }
    return cast("Mapping[str, Json]", {**summary, "networks": networks})  # what json.loads gave


def status_text(summary: Fields, endpoints: Mapping[str, int]) -> str:
    rows = [_row(name, entry, endpoints) for name, entry in _entries(summary, "networks").items()]
    parts = [table(_HEAD, rows)]
    unready = [
        (printable(name), _word(entry), _last_error(entry))
        for name, entry in _entries(summary, "attachments").items()
        if _ready(entry).get("status") != "True"
    ]
    if unready:
        parts.append(table(_HEAD_OF_ATTACHMENTS, unready))
    faults = summary.get("specFaults")
    if isinstance(faults, list) and faults:
        parts.append("".join(f"{printable(str(fault))}\n" for fault in faults))
    return "\n".join(parts)


def _row(name: str, entry: Fields, endpoints: Mapping[str, int]) -> tuple[str, ...]:
    return (
        printable(name),
        _word(entry),
        _revision(entry),
        str(endpoints.get(name, 0)),
        printable(str(entry.get("driftRepaired", 0))),
        _last_error(entry),
    )


def _word(entry: Fields) -> str:
    """Give whether it is ready, and the reason where it is not."""
    ready = _ready(entry)
    found = printable(str(ready.get("status", "Unknown")))
    return found if found == "True" else f"{found} ({printable(str(ready.get('reason', '')))})"


def _revision(entry: Fields) -> str:
    revision = printable(str(entry.get("observedRevision") or "-"))
    commit = revision.removesuffix(_DIRTY)
    return commit[:_SHORT_COMMIT] + (_DIRTY if commit != revision else "")


def _last_error(entry: Fields) -> str:
    error = entry.get("lastError")
    if not isinstance(error, Mapping):
        return "-"
    return printable(f"{error.get('time', '')}: {error.get('message', '')}")


def _ready(entry: Fields) -> Fields:
    conditions = entry.get("conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, Mapping) and condition.get("type") == "Ready":
            return condition
    return {}


def _entries(summary: Fields, key: str) -> dict[str, Fields]:
    found = summary.get(key)
    entries = found if isinstance(found, Mapping) else {}
    return {str(name): entry for name, entry in sorted(entries.items()) if isinstance(entry, Mapping)}


def _endpoints(settings: Settings) -> dict[str, int]:
    """Count what runs on each network, as `network inspect` lists it."""
    counts = {}
    for document in read_documents(settings.status_dir, Kind.NETWORK):
        containers = document.get("Containers")
        counts[name_of(document)] = len(containers) if isinstance(containers, Mapping) else 0
    return counts
