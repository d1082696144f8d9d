"""Zones as values, for tests that say what a server shall serve, or ask what an engine would have it serve."""

from __future__ import annotations

from msgspec import Struct

from reconciler.dns.zones import (
    NetworkZone,
    SandboxZone,
    endpoint_row,
    read_endpoints,
    read_rows,
    read_sandbox,
    read_servers,
    sandbox_row,
    servers_row,
)
from reconciler.model.objects import IPAddress
from reconciler.model.zone_rows import ZoneRows


class Zones(Struct, frozen=True, kw_only=True):
    """All of one host."""

    networks: tuple[NetworkZone, ...] = ()
    sandboxes: tuple[SandboxZone, ...] = ()
    host_servers: tuple[IPAddress, ...] = ()


def zone_rows(zones: Zones) -> ZoneRows:
    return ZoneRows(
        host_servers=servers_row(zones.host_servers),
        networks={network.name: tuple(map(endpoint_row, network.endpoints)) for network in zones.networks},
        sandboxes={sandbox.name: sandbox_row(sandbox) for sandbox in zones.sandboxes},
    )


def zones_of(rows: ZoneRows) -> Zones:
    """Return what rows stand for, by name. Raises ZonesUnreadable."""
    return Zones(
        networks=tuple(
            NetworkZone(name=name, endpoints=read_endpoints(each)) for name, each in sorted(rows.networks.items())
        ),
        sandboxes=tuple(read_sandbox(row) for _, row in sorted(rows.sandboxes.items())),
        host_servers=read_servers(rows.host_servers),
    )


def parse_zones(text: str) -> Zones:
    """Read the text form. Raises ZonesUnreadable."""
    return zones_of(read_rows(text))
