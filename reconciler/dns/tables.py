"""The object that the embedded server is reconciled by: what it shall serve, as text with a digest. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from reconciler.dns.compile_zones import compile_zones
from reconciler.dns.zones import (
    NetworkZone,
    SandboxZone,
    ServedEndpoint,
    Zones,
    ZonesUnreadable,
    parse_zones,
    zones_digest,
    zones_text,
)
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import NAMES_UNIT, IPAddress, NameTables, Unit
from reconciler.model.observed import SandboxFact
from reconciler.plan.make_plan import Blocked
from reconciler.sandbox.resolv_conf import parse_resolv_conf

_IsKept = Callable[[str, str], bool]
"""Given a network and an attachment: whether what is in force for them stays."""


def name_tables(desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> Iterator[NameTables]:
    """Yield what shall be in force; nothing where no sandbox is served.

    sandboxes: a container stands there as its process, as the server asks no engine.
    The host's servers are asked from its own namespace, so its file is taken as it is: a stub on loopback serves well.
    """
    theirs = parse_resolv_conf(desired.host.resolv_conf)
    zones = compile_zones(desired, tuple(_addresses(theirs.nameservers)), theirs.options)
    processes = {ns: fact.container.process for ns, fact in sandboxes.items() if fact.container is not None}
    served = tuple(replace(zone, ns=processes[zone.ns]) if zone.ns in processes else zone for zone in zones.sandboxes)
    yield from _tables(replace(zones, sandboxes=served))


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
    return next(_tables(merged), None)


def _tables(zones: Zones) -> Iterator[NameTables]:
    if zones.sandboxes:
        text = zones_text(zones)
        yield NameTables(unit=NAMES_UNIT, digest=zones_digest(text), text=text)


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
