"""The zones that a server serves by, and what of them changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, TypeVar

from reconciler.dns.changes import changed_zones
from reconciler.dns.view import Views
from reconciler.dns.zones import (
    NetworkZone,
    SandboxZone,
    read_endpoints,
    read_rows,
    read_sandbox,
    read_servers,
    zones_digest,
)
from reconciler.model.zone_rows import ZoneRows
from reconciler.records.lenient import mapping_of

if TYPE_CHECKING:
    from reconciler.model.objects import IPAddress

T = TypeVar("T")


class ZonesInForce:
    """What is in force is of one digest at a time. sandboxes: by name. host_servers: asked from the host's namespace, so a stub on
    its loopback will do.
    """

    def __init__(self) -> None:
        self.digest = ""
        self.sandboxes: dict[str, SandboxZone] = {}
        self.host_servers: tuple[IPAddress, ...] = ()
        self.views = Views()
        self._rows = ZoneRows()

    def put(self, text: str) -> Set[str]:
        """Put a whole text in force, "" for no zones; return the names of sandboxes that are served otherwise than before.

        Raises ZonesUnreadable, everything being as before.
        """
        before, rows = self._rows, read_rows(text)
        changed = _differing(before.networks, rows.networks), _differing(before.sandboxes, rows.sandboxes)
        return self._put(rows, zones_digest(text), *changed)

    def change(self, message: Mapping[str, object]) -> Set[str] | None:
        """As `put`, by a message of `changes`; None when it is about other zones than these, and nothing is done."""
        found = changed_zones(self._rows, self.digest, message)
        if found is None:
            return None
        return self._put(*found, mapping_of(message, "networks").keys(), mapping_of(message, "sandboxes").keys())

    def _put(self, rows: ZoneRows, digest: str, in_networks: Set[str], changed: Set[str]) -> Set[str]:
        """in_networks, changed: the networks and sandboxes whose rows may be others."""
        networks = {name: self._network(name, rows) for name in in_networks}
        sandboxes = {name: read_sandbox(rows.sandboxes[name]) if name in rows.sandboxes else None for name in changed}
        host_servers = read_servers(rows.host_servers)
        if host_servers != self.host_servers:
            changed = changed | self.sandboxes.keys()
        self._rows, self.digest, self.host_servers = rows, digest, host_servers
        self.views.update(networks, sandboxes)
        self.sandboxes.update((name, sandbox) for name, sandbox in sandboxes.items() if sandbox is not None)
        for name in [name for name, sandbox in sandboxes.items() if sandbox is None]:
            self.sandboxes.pop(name, None)
        return changed

    def _network(self, name: str, rows: ZoneRows) -> NetworkZone | None:
        """Return a network with the endpoints that it had before where their rows are the same; None when it is gone."""
        if name not in rows.networks:
            return None
        table = self.views.tables.get(name)
        known = {} if table is None else dict(zip(self._rows.networks[name], table.zone.endpoints, strict=True))
        return NetworkZone(name=name, endpoints=read_endpoints(rows.networks[name], known))


def _differing(before: Mapping[str, T], after: Mapping[str, T]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
