"""Have the embedded DNS server run with the tables wanted, or end it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from reconciler.dns.changes import zone_changes
from reconciler.dns.launch import ensure_server, follow_sandboxes, publish_zones, remove_folder, stop_server
from reconciler.errors import ReconcilerError
from reconciler.model.objects import LinkUp, Namespace, NameTables, VethPair
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.settings import Settings

log = logging.getLogger(__name__)


class Published:
    """The tables that were published last by this process: a server that still has them is told what changed."""

    def __init__(self) -> None:
        self._last: NameTables | None = None

    def publish(self, tables: NameTables, in_force: NameTables | None, settings: Settings) -> None:
        """in_force: what the server says it has."""
        changes, last, self._last = None, self._last, None  # who could not be told is told everything the next time
        if last is not None and in_force is not None and in_force.digest == last.digest:
            changes = zone_changes(last.rows, last.digest, tables.rows, tables.digest)
        publish_zones(settings.run_dir, tables.text, changes)
        self._last = tables


def apply_names(operations: Sequence[Operation], settings: Settings, published: Published) -> list[Outcome]:
    """Carry out operations on NameTables; one outcome each, in the same order; never raises for one of them.

    Done once every sandbox that can be served is; which ones cannot be is told by the next look.
    """
    return [Outcome(operation=operation, error=_error_of(operation, settings, published)) for operation in operations]


def _error_of(operation: Operation, settings: Settings, published: Published) -> ReconcilerError | None:
    before = operation.before
    try:
        match operation.after:
            case NameTables() as tables:
                ensure_server(settings.run_dir, settings.netns_dir)
                published.publish(tables, before if isinstance(before, NameTables) else None, settings)
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
    made = (
        op for op in operations if op.action is Action.CREATE and isinstance(op.object, (Namespace, LinkUp, VethPair))
    )
    names = sorted({operation.unit.attachment for operation in made} - {""})
    if not names:
        return
    try:
        follow_sandboxes(settings.run_dir, names)
    except ReconcilerError as error:
        log.warning("%s", error)
