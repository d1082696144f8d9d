"""The object that the embedded server is reconciled by: what it shall serve, as text with a digest. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from reconciler.dns.compile_zones import RowCompiler
from reconciler.dns.zones import (
    NetworkZone,
    SandboxZone,
    ServedEndpoint,
    Zones,
    ZonesUnreadable,
    parse_zones,
    zone_rows,
    zones_digest,
)
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import NAMES_UNIT, IPAddress, NameTables, Unit
from reconciler.model.observed import SandboxFact
from reconciler.model.zone_rows import ZoneRows
from reconciler.plan.make_plan import Blocked
from reconciler.sandbox.resolv_conf import parse_resolv_conf

_IsKept = Callable[[str, str], bool]
"""Given a network and an attachment: whether what is in force for them stays."""


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
        processes = {ns: fact.container.process for ns, fact in sandboxes.items() if fact.container is not None}
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
    blocked = Blocked(failed)

    def is_kept(network: str, attachment: str) -> bool:
        if Unit(network=network, attachment=attachment) in ended:
            return False
        is_unknown = declared is not None and Unit(attachment=attachment) not in declared
        return is_unknown or blocked.covers(Unit(network=network, attachment=attachment))

    new, old = (_zones(text) for text in (wanted.text if wanted else "", in_force))
    merged = Zones(
        networks=tuple(_merged_networks(new.networks, old.networks, is_kept)),
        sandboxes=tuple(_merged_sandboxes(new.sandboxes, old.sandboxes, is_kept)),
        host_servers=new.host_servers or old.host_servers,
    )
    return _tables(zone_rows(merged)) if merged.sandboxes else None


def _tables(rows: ZoneRows) -> NameTables:
    text = rows.text()
    return NameTables(unit=NAMES_UNIT, digest=zones_digest(text), text=text, rows=rows)


def _addresses(texts: Iterable[str]) -> Iterator[IPAddress]:
    for text in texts:
        try:
            yield ip_address(text)
        except ValueError:
            continue


def _zones(text: str) -> Zones:
    try:
        return parse_zones(text) if text else Zones()
    except ZonesUnreadable:
        return Zones()


def _merged_networks(new: Sequence[NetworkZone], old: Sequence[NetworkZone], is_kept: _IsKept) -> Iterator[NetworkZone]:
    endpoints: dict[str, list[ServedEndpoint]] = {zone.name: [] for zone in (*new, *old)}
    for zones, is_old in ((new, False), (old, True)):
        for zone in zones:
            endpoints[zone.name] += (each for each in zone.endpoints if is_kept(zone.name, each.name) == is_old)
    for name, found in sorted(endpoints.items()):
        if found:
            yield NetworkZone(name=name, endpoints=tuple(sorted(found, key=lambda each: each.name)))


def _merged_sandboxes(
    new: Sequence[SandboxZone], old: Sequence[SandboxZone], is_kept: _IsKept
) -> Iterator[SandboxZone]:
    """A sandbox stays as it is when it does on one of its networks."""
    kept = {zone.name for zone in (*new, *old) if any(is_kept(network, zone.name) for network in ("", *zone.networks))}
    found = [zone for zone in new if zone.name not in kept] + [zone for zone in old if zone.name in kept]
    return iter(sorted(found, key=lambda zone: zone.name))
