"""Have the embedded DNS server run with the tables wanted, or end it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from reconciler.dns.launch import ensure_server, follow_sandboxes, publish_zones, remove_folder, stop_server
from reconciler.errors import ReconcilerError
from reconciler.model.objects import LinkUp, Namespace, NameTables, VethPair
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.settings import Settings

log = logging.getLogger(__name__)


def apply_names(operations: Sequence[Operation], settings: Settings) -> list[Outcome]:
    """Carry out operations on NameTables; one outcome each, in the same order; never raises for one of them.

    Done once every sandbox that can be served is; which ones cannot be is told by the next look.
    """
    return [Outcome(operation=operation, error=_error_of(operation, settings)) for operation in operations]


def _error_of(operation: Operation, settings: Settings) -> ReconcilerError | None:
    try:
        match operation.after:
            case NameTables(text=text):
                ensure_server(settings.run_dir, settings.netns_dir)
                publish_zones(settings.run_dir, text)
            case None:
                stop_server(settings.run_dir)
                remove_folder(settings.run_dir)
    except ReconcilerError as error:
        return error
    return None


def serve_new_sandboxes(operations: Sequence[Operation], settings: Settings) -> None:
    """After these operations, have the server look for namespaces that were made anew under names it knows: by itself it does so
    only every few seconds. Harmless without one.
    """
    kinds = {type(operation.object) for operation in operations if operation.action is Action.CREATE}
    is_told = any(isinstance(operation.object, NameTables) for operation in operations)
    if is_told or kinds.isdisjoint({Namespace, LinkUp, VethPair}):
        return
    try:
        follow_sandboxes(settings.run_dir)
    except ReconcilerError as error:
        log.warning("%s", error)
