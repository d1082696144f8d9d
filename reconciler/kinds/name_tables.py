"""The tables of the embedded name server: what it has in force, and having it run with those wanted, or end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from reconciler.dns.changes import zone_changes
from reconciler.dns.launch import (
    asked_server,
    ensure_server,
    follow_sandboxes,
    is_current,
    publish_zones,
    published_zones,
    remove_folder,
    stop_server,
    zones_stamp,
)
from reconciler.errors import ReconcilerError, ResolverError, ResolverSilent
from reconciler.kinds.row import Row, SeenApart, one_by_one
from reconciler.kinds.world import World
from reconciler.model.objects import LinkUp, Namespace, NameTables, Seen, VethPair
from reconciler.model.observed import Keyed, keyed
from reconciler.model.plan import Action, Operation
from reconciler.settings import Settings

log = logging.getLogger(__name__)


class NamesSeen(Struct, frozen=True, kw_only=True):
    """seen: the tables, or nothing. unserved: attachments without name service although they shall have it, and why.

    zones: the text that was published last. server: the process of the server that answered, 0 without one.
    """

    seen: Keyed = field(default_factory=dict)
    unserved: tuple[tuple[str, str], ...] = ()
    zones: str = ""
    server: int = 0


class ZonesFile:
    """The text that was published last, read again when its file is another."""

    def __init__(self) -> None:
        self._stamp: tuple[int, ...] | None = None
        self._text = ""

    def text(self, run_dir: Path) -> str:
        stamp = zones_stamp(run_dir)
        if stamp is None or stamp != self._stamp:
            self._text = published_zones(run_dir)
        self._stamp = stamp
        return self._text


def observe_names(run_dir: Path, file: ZonesFile | None = None) -> NamesSeen:
    """Ask the server. Where one ran that runs no more, does not answer, or is not of this version and this host, the digest says so
    in words.

    file: of one who looks again.
    """
    zones = (file or ZonesFile()).text(run_dir)
    try:
        running = asked_server(run_dir)
    except ResolverSilent:
        return NamesSeen(seen=_seen("the server that runs does not answer"), zones=zones)
    if running is None:
        return NamesSeen(seen=_seen("no server runs") if zones else {}, zones=zones)
    digest = running.digest if is_current(running) else f"another server runs (version {running.version})"
    unserved = tuple(sorted(running.failures.items()))
    return NamesSeen(seen=_seen(digest), unserved=unserved, zones=zones, server=running.pid)


def _seen(digest: str) -> Keyed:
    return keyed((Seen(NameTables(digest=digest), is_ours=True),))


class Published:
    """The tables that were published last by this process: a server that still has them is told what changed."""

    def __init__(self) -> None:
        self._last: NameTables | None = None

    def publish(self, tables: NameTables, in_force: NameTables | None, settings: Settings) -> None:
        """in_force: what the server says it has."""
        last, self._last = self._last, None  # who could not be told is told everything the next time
        if last is None or in_force is None or in_force.digest != last.digest or not _is_told(last, tables, settings):
            ensure_server(settings.run_dir, settings.netns_dir)
            publish_zones(settings.run_dir, tables.text)
        self._last = tables


def _is_told(last: NameTables, tables: NameTables, settings: Settings) -> bool:
    """Return whether the server, which was there a moment ago, was told what changed."""
    changes = zone_changes(last.rows, last.digest, tables.rows, tables.digest)
    try:
        publish_zones(settings.run_dir, tables.text, changes)
    except ResolverError:
        return False
    return True


def _carry_out(operation: Operation, world: World) -> None:
    """Done once every sandbox that can be served is; which ones cannot be is told by the next look."""
    before, after, settings = operation.before, operation.after, world.settings
    if isinstance(after, NameTables):
        world.names.publish(after, before if isinstance(before, NameTables) else None, settings)
    else:
        stop_server(settings.run_dir)
        remove_folder(settings.run_dir)


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


ROWS = (Row(NameTables, SeenApart(observe_names), one_by_one(_carry_out)),)
