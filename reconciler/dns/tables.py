"""The object that the embedded server is reconciled by: what it shall serve, as text with a digest. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from operator import itemgetter
from typing import TypeVar

from reconciler.dns.compile_zones import RowCompiler
from reconciler.dns.zones import (
    RawZones,
    ZonesUnreadable,
    json_row,
    read_endpoints,
    read_sandbox,
    readable,
    zones_digest,
)
from reconciler.incremental import indexed
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import NsRef
from reconciler.model.ip import address_or_none
from reconciler.model.objects import HOST_UNIT, NAMES_UNIT, IPAddress, NameTables, Unit
from reconciler.model.observed import SandboxFact
from reconciler.model.zone_rows import ZoneRows
from reconciler.plan.make_plan import Blocked
from reconciler.sandbox.resolv_conf import parse_resolv_conf

T = TypeVar("T")


class NameCompiler:
    """Compiles what the server shall serve again and again: rows of what did not change stay the ones they are."""

    def __init__(self) -> None:
        self._compiler = RowCompiler()
        self._last: NameTables | None = None

    def __call__(self, desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> NameTables | None:
        """Return what shall be in force, the very same as before where nothing changed; None where no sandbox is served.

        sandboxes: a container stands there as its process, as the server asks no engine.
        The host's servers are asked from its own namespace, so its file is taken as it is: a stub on loopback serves well.
        """
        theirs = parse_resolv_conf(desired.host.resolv_conf)
        of_containers = indexed(sandboxes, _of_container).get(True, ())
        processes = {ns: found.process for ns in of_containers if (found := sandboxes[ns].container) is not None}
        rows = self._compiler(desired, tuple(_addresses(theirs.nameservers)), theirs.options, processes)
        if self._last is None or self._last.rows is not rows:
            self._last = _tables(rows)
        return self._last if rows.sandboxes else None


def kept_tables(
    wanted: NameTables | None,
    in_force: str,
    failed: frozenset[Unit],
    declared: frozenset[Unit] | None,
    ended: frozenset[Unit] = frozenset(),
) -> NameTables | None:
    """Return `wanted` with what must stay as it is taken from the text in force.

    failed: units that could not be decided or looked at. declared: all that specs speak of, when some of them cannot be read, so
    that what they do not speak of may be declared there; else None. ended: endpoints that go though their network failed.
    """
    keep = _Keep(failed, declared, ended)
    new = ZoneRows() if wanted is None else wanted.rows
    try:
        merged = _merged(new, RawZones(in_force), keep)
    except ZonesUnreadable:
        merged = _merged(new, RawZones(""), keep)
    if merged == new:
        return wanted
    return _tables(merged) if merged.sandboxes else None


def _tables(rows: ZoneRows) -> NameTables:
    text = rows.text()
    return NameTables(unit=NAMES_UNIT, digest=zones_digest(text), text=text, rows=rows)


def _of_container(_: NsRef, fact: SandboxFact) -> Iterator[bool]:
    if fact.container is not None:
        yield True


def _addresses(texts: Iterable[str]) -> Iterator[IPAddress]:
    return (address for text in texts if (address := address_or_none(text)) is not None)


class _Keep:
    """Says of an endpoint whether what is in force for it stays; of a sandbox with "" for the network.

    is_everywhere: that may be so of any. attachments, networks: else of these, or on these, alone.
    """

    def __init__(self, failed: Set[Unit], declared: Set[Unit] | None, ended: Set[Unit]) -> None:
        self._blocked, self._declared, self._ended = Blocked(failed), declared, ended
        self.is_everywhere = HOST_UNIT in failed or declared is not None
        self.attachments = {unit.attachment for unit in failed} - {""}
        self.networks = {unit.network for unit in failed if not unit.attachment} - {""}

    def __call__(self, network: str, attachment: str) -> bool:
        unit = Unit(network=network, attachment=attachment)
        if unit in self._ended:
            return False
        is_unknown = self._declared is not None and Unit(attachment=attachment) not in self._declared
        return is_unknown or self._blocked.covers(unit)


def _merged(new: ZoneRows, old: RawZones, keep: _Keep) -> ZoneRows:
    with readable():
        networks = {name: _merged_network(name, new, old, keep) for name in _networks_to_keep(new, old, keep)}
        sandboxes = {name: _merged_sandbox(name, new, old, keep) for name in _sandboxes_to_keep(new, old, keep)}
        return ZoneRows(
            host_servers=old.host_servers if new.host_servers == "[]" else new.host_servers,
            networks=_with(new.networks, networks),
            sandboxes=_with(new.sandboxes, sandboxes),
        )


def _with(rows: Mapping[str, T], changes: Mapping[str, T | None]) -> Mapping[str, T]:
    return {name: found for name, found in {**rows, **changes}.items() if found}


def _networks_to_keep(new: ZoneRows, old: RawZones, keep: _Keep) -> Set[str]:
    """Return the networks in which something may stay."""
    if keep.is_everywhere:
        return new.networks.keys() | old.networks.keys()
    begins = tuple(f"[{json_row(name)}," for name in keep.attachments)
    here = {name for name, rows in new.networks.items() if any(row.startswith(begins) for row in rows)}
    before = {name for name, rows in old.networks.items() if any(row[0] in keep.attachments for row in rows)}
    return here | before | (keep.networks & (new.networks.keys() | old.networks.keys()))


def _merged_network(name: str, new: ZoneRows, old: RawZones, keep: _Keep) -> tuple[str, ...] | None:
    rows = [(json.loads(row)[0], row, False) for row in new.networks.get(name, ())]
    rows += [(row[0], json_row(row), True) for row in old.networks.get(name, ())]
    read_endpoints([row for _, row, is_old in rows if is_old])
    found = [(member, row) for member, row, is_old in rows if keep(name, member) == is_old]
    return tuple(row for _, row in sorted(found, key=itemgetter(0))) or None


def _sandboxes_to_keep(new: ZoneRows, old: RawZones, keep: _Keep) -> Set[str]:
    """Return the sandboxes that may stay as they are."""
    everyone = new.sandboxes.keys() | old.sandboxes.keys()
    if keep.is_everywhere:
        return everyone
    marks = tuple(map(json_row, keep.networks))
    here = {name for name, row in new.sandboxes.items() if any(mark in row for mark in marks)}
    before = {name for name, row in old.sandboxes.items() if not keep.networks.isdisjoint(row[2])}
    return here | before | (keep.attachments & everyone)


def _merged_sandbox(name: str, new: ZoneRows, old: RawZones, keep: _Keep) -> str | None:
    """It stays as it is when it does on one of its networks."""
    here, before = new.sandboxes.get(name), old.sandboxes.get(name)
    networks = ("", *(json.loads(here)[2] if here else ()), *(before[2] if before else ()))
    if not any(keep(network, name) for network in networks):
        return here
    row = json_row(before) if before else None
    if row is not None:
        read_sandbox(row)
    return row
