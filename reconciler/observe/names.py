"""What the embedded DNS server has in force."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, field

from reconciler.dns.launch import is_current, published_zones, running_server
from reconciler.model.objects import NameTables, Seen
from reconciler.model.observed import Keyed, keyed


class NamesSeen(Struct, frozen=True, kw_only=True):
    """seen: the tables, or nothing. unserved: attachments without name service although they shall have it, and why.

    zones: the text that was published last. server: the process of the server that answered, 0 without one.
    """

    seen: Keyed = field(default_factory=dict)
    unserved: tuple[tuple[str, str], ...] = ()
    zones: str = ""
    server: int = 0


def observe_names(run_dir: Path) -> NamesSeen:
    """Ask the server. Where one ran that runs no more, or is not of this version and this host, the digest says so in words."""
    running, zones = running_server(run_dir), published_zones(run_dir)
    if running is None:
        return NamesSeen(seen=_seen("no server runs") if zones else {}, zones=zones)
    digest = running.digest if is_current(running) else f"another server runs (version {running.version})"
    unserved = tuple(sorted(running.failures.items()))
    return NamesSeen(seen=_seen(digest), unserved=unserved, zones=zones, server=running.pid)


def _seen(digest: str) -> Keyed:
    return keyed((Seen(NameTables(digest=digest), is_ours=True),))
