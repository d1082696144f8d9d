"""`reconcile status`: whether this host is as declared, by what the last pass wrote down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.cli.table import table
from reconciler.cli.terminal import printable, show
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.settings import Settings
from reconciler.status.entry import READY_MESSAGE
from reconciler.status.read import InspectedKind, name_of, read_documents
from reconciler.status.write import read_summary

if TYPE_CHECKING:
    from reconciler.status.json_text import Json

Fields = Mapping[str, object]

_HEAD: Final = ("NETWORK", "READY", "AGE", "REVISION", "ENDPOINTS", "DRIFT-REPAIRED", "MESSAGE")
_HEAD_OF_ATTACHMENTS: Final = ("ATTACHMENT", "READY", "AGE", "MESSAGE")
_SERVICES: Final = ("names", "cluster")
_SHORT_COMMIT: Final = 12
_DIRTY: Final = "-dirty"
_AGE_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@click.command()
@global_options()
@click.option("--output", type=click.Choice(("text", "json")), default="text", show_default=True, help="Form.")
@click.pass_context
def status(context: click.Context, *, output: str) -> ExitCode:
    """Show the networks, and what else is not ready or worth knowing. Exit 0 when everything is ready, 1 otherwise.

    AGE is how long a network or attachment has been in that state.
    """
    settings = begin(context).settings
    summary = read_summary(settings.status_dir)
    if not summary:
        raise ReconcilerError(f"no status below {settings.status_dir} yet: `reconcile` writes it with its first pass")
    endpoints = _endpoints(settings)
    if output == "json":
        from reconciler.status.json_text import json_text

        show(json_text(status_document(summary, endpoints)))
    else:
        show(f"{_watcher_line(settings)}\n{status_text(summary, endpoints, now=time.time())}")
    return ExitCode.OK if is_all_ready(summary) else ExitCode.FAILED


def is_all_ready(summary: Fields) -> bool:
    entries = [summary, *_entries(summary, "networks").values(), *_entries(summary, "attachments").values()]
    return all(_ready(entry).get("status") == "True" for entry in entries)


def status_document(summary: Fields, endpoints: Mapping[str, int]) -> Mapping[str, Json]:
    """Return the summary, and how many endpoints each network has."""
    networks = {
        name: {**entry, "endpoints": endpoints.get(name, 0)} for name, entry in _entries(summary, "networks").items()
    }
    return cast("Mapping[str, Json]", {**summary, "networks": networks})  # what json.loads gave


def status_text(summary: Fields, endpoints: Mapping[str, int], *, now: float) -> str:
    """Return the host's own state, the networks, the attachments to know of, and the faults of the specs.

    now: seconds since the epoch.
    """
    parts = [_host_lines(summary)]
    rows = [_row(name, entry, endpoints, now) for name, entry in _entries(summary, "networks").items()]
    parts.append(table(_HEAD, rows))
    remarkable = [
        (printable(name), _word(entry), _age(entry, now), _message(entry))
        for name, entry in _entries(summary, "attachments").items()
        if _message(entry) != "-"
    ]
    if remarkable:
        parts.append(table(_HEAD_OF_ATTACHMENTS, remarkable))
    faults = summary.get("specFaults")
    if isinstance(faults, list) and faults:
        parts.append("".join(f"{printable(str(fault))}\n" for fault in faults))
    return "\n".join(parts)


def _watcher_line(settings: Settings) -> str:
    """Return whether a watcher keeps this host as declared. It holds a lock in the host's network namespace."""
    from reconciler.kernel.lock import WATCHER, holder

    try:
        enter_host(settings)
    except ReconcilerError as error:
        return printable(f"watcher: not known, {error}")
    found = holder(WATCHER)
    return printable(f"watcher: {found}") if found else "watcher: none runs, so nothing is repaired between passes"


def _host_lines(summary: Fields) -> str:
    """Return what there is to say of the host as a whole and of its services, where there is something to tell."""
    named = [(f"host {summary.get('host', '')}", summary), *((s, _mapping(summary, s)) for s in _SERVICES)]
    return "".join(
        f"{printable(name)}: {_word(entry)}: {_message(entry)}\n" for name, entry in named if _message(entry) != "-"
    )


def _row(name: str, entry: Fields, endpoints: Mapping[str, int], now: float) -> tuple[str, ...]:
    return (
        printable(name),
        _word(entry),
        _age(entry, now),
        _revision(entry),
        str(endpoints.get(name, 0)),
        printable(str(entry.get("driftRepaired", 0))),
        _message(entry),
    )


def _word(entry: Fields) -> str:
    """Return whether it is ready, the reason where it is not, and whether a person must act."""
    ready = _ready(entry)
    found = printable(str(ready.get("status", "Unknown")))
    if found == "True":
        return found
    stalled = "Stalled: " if _condition(entry, "Stalled").get("status") == "True" else ""
    return f"{found} ({stalled}{printable(str(ready.get('reason', '')))})"


def _message(entry: Fields) -> str:
    """Return what is in the way, or what to know of what is as declared; "-" where there is nothing to tell."""
    ready = _ready(entry)
    message = str(ready.get("message", ""))
    is_plain = ready.get("status") == "True" and message == READY_MESSAGE
    return "-" if is_plain or not message else printable(message)


def _age(entry: Fields, now: float) -> str:
    """Return how long the state has stood, in the largest unit that fits."""
    try:
        since = datetime.fromisoformat(str(_ready(entry).get("lastTransitionTime"))).timestamp()
    except ValueError:
        return "-"
    age_s = max(0.0, now - since)
    unit, length_s = next(((u, s) for u, s in _AGE_UNITS if age_s >= s), _AGE_UNITS[-1])
    return f"{age_s // length_s:.0f}{unit}"


def _revision(entry: Fields) -> str:
    revision = printable(str(entry.get("observedRevision") or "-"))
    commit = revision.removesuffix(_DIRTY)
    return commit[:_SHORT_COMMIT] + (_DIRTY if commit != revision else "")


def _ready(entry: Fields) -> Fields:
    return _condition(entry, "Ready")


def _condition(entry: Fields, kind: str) -> Fields:
    conditions = entry.get("conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            return condition
    return {}


def _mapping(summary: Fields, key: str) -> Fields:
    found = summary.get(key)
    return found if isinstance(found, Mapping) else {}


def _entries(summary: Fields, key: str) -> dict[str, Fields]:
    entries = sorted(_mapping(summary, key).items())
    return {str(name): entry for name, entry in entries if isinstance(entry, Mapping)}


def _endpoints(settings: Settings) -> dict[str, int]:
    """Count what runs on each network, as `network inspect` lists it."""
    counts = {}
    for document in read_documents(settings.status_dir, InspectedKind.NETWORK):
        containers = document.get("Containers")
        counts[name_of(document)] = len(containers) if isinstance(containers, Mapping) else 0
    return counts
