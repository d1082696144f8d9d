"""What the embedded server serves: names per network, and per sandbox which networks, links and servers. Pure.

Each network is there once, however many sandboxes look at it. The text form is the file between the engine and the server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address, ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from reconciler.errors import ReconcilerError
from reconciler.model.identifiers import EMBEDDED_SERVER, NsRef
from reconciler.model.zone_rows import FORMAT, ZoneRows

if TYPE_CHECKING:  # a server starts quickly without the model of a host
    from reconciler.model.objects import IPAddress, IPNetwork

_READABLE: Final = (1, FORMAT)
"""What was written before an upgrade is still read, so that names stay while an attachment is left as it was; 1 has no subnets."""

LISTEN_ADDRESS: Final = IPv4Address(EMBEDDED_SERVER)

Ports = tuple[int, int, str]
"""First, last, protocol."""


class ZonesUnreadable(ReconcilerError):
    """The file of zones is not what the engine of this version writes."""


class ServedEndpoint(Struct, frozen=True, kw_only=True):
    """One endpoint as its network's names see it. name: what its addresses lead back to; names: all it answers to, lower case."""

    name: str
    names: tuple[str, ...]
    addresses: tuple[IPAddress, ...] = ()
    ports: tuple[Ports, ...] = ()


class NetworkZone(Struct, frozen=True, kw_only=True):
    name: str
    endpoints: tuple[ServedEndpoint, ...] = ()


class SandboxZone(Struct, frozen=True, kw_only=True):
    """One sandbox that is served.

    networks: names in the order in which they are asked. links: per network with any, (alias, target) in lower case.
    servers: of the attachment itself, asked from inside the sandbox instead of the host's.
    is_external: one of its networks leads outside.
    is_ndots_set: its resolv.conf has `ndots` above 0 by somebody's wish, so its own search list comes before the world. (The engine
    means that too, but takes 0 as well: docs/design/docker.md#forwarding.)
    subnets: those of its networks that nobody else knows anything of, so that the world is not asked whose their addresses are.
    """

    name: str
    ns: NsRef
    networks: tuple[str, ...]
    links: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    servers: tuple[IPAddress, ...] = ()
    is_external: bool = True
    is_ndots_set: bool = False
    subnets: tuple[IPNetwork, ...] = ()


def zones_digest(text: str) -> str:
    """Return a digest of a text: what a server says is in force can be compared with what shall be."""
    return hashlib.sha256(text.encode()).hexdigest()


def json_row(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def servers_row(servers: Sequence[IPAddress]) -> str:
    return json_row([str(server) for server in servers])


def endpoint_row(endpoint: ServedEndpoint) -> str:
    addresses = [str(address) for address in endpoint.addresses]
    return json_row([endpoint.name, list(endpoint.names), addresses, endpoint.ports])


def sandbox_row(sandbox: SandboxZone) -> str:
    servers = [str(server) for server in sandbox.servers]
    flags = [sandbox.is_external, sandbox.is_ndots_set]
    subnets = [str(subnet) for subnet in sandbox.subnets]
    return json_row([sandbox.name, sandbox.ns, sandbox.networks, sandbox.links, servers, *flags, subnets])


class RawZones:
    """The text form, of which rows are not looked at before somebody asks for them. Raises ZonesUnreadable."""

    def __init__(self, text: str) -> None:
        """text: "" for no zones."""
        self.host_servers = "[]"
        self.networks: dict[str, list[Any]] = {}
        self.sandboxes: dict[str, Any] = {}
        with readable():
            document: Any = (
                json.loads(text) if text else {"format": FORMAT, "host_servers": [], "networks": (), "sandboxes": ()}
            )
            if document["format"] not in _READABLE:
                raise ZonesUnreadable(
                    f"zones are of format {document['format']!r}, this server reads {FORMAT}; restart the server"
                )
            self.host_servers = json_row(document["host_servers"])
            self.networks = {_string(name): rows for name, rows in document["networks"]}
            self.sandboxes = {_string(row[0]): row for row in document["sandboxes"]}


def read_rows(text: str) -> ZoneRows:
    """Split the text form into its rows, "" for no zones. Raises ZonesUnreadable."""
    raw = RawZones(text)
    with readable():
        return ZoneRows(
            host_servers=raw.host_servers,
            networks={name: tuple(map(json_row, rows)) for name, rows in raw.networks.items()},
            sandboxes={name: json_row(row) for name, row in raw.sandboxes.items()},
        )


@contextmanager
def readable() -> Iterator[None]:
    """Raise ZonesUnreadable for whatever the wrong kind of value leads to."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as cause:
        raise ZonesUnreadable(
            f"zones cannot be read ({cause!r}); run `reconcile` to have them written again"
        ) from cause


def read_endpoints(
    rows: Sequence[str], known: Mapping[str, ServedEndpoint] = MappingProxyType({})
) -> tuple[ServedEndpoint, ...]:
    """Return the endpoints of a network. known: some by their rows. Raises ZonesUnreadable."""
    with readable():
        return tuple(known.get(row) or _endpoint(*json.loads(row)) for row in rows)


def read_sandbox(row: str) -> SandboxZone:
    """Raises ZonesUnreadable."""
    with readable():
        return _sandbox_zone(*json.loads(row))


def read_servers(row: str) -> tuple[IPAddress, ...]:
    """Raises ZonesUnreadable."""
    with readable():
        return _addresses(json.loads(row))


def _endpoint(
    name: str, names: Sequence[str], addresses: Sequence[str], ports: Sequence[Sequence[object]]
) -> ServedEndpoint:
    return ServedEndpoint(
        name=_string(name),
        names=_strings(names),
        addresses=_addresses(addresses),
        ports=tuple(_port(*port) for port in ports),  # type: ignore[arg-type]  # checked there
    )


def _port(first: int, last: int, protocol: str) -> Ports:
    return int(first), int(last), _string(protocol)


def _sandbox_zone(
    name: str,
    ns: str,
    networks: Sequence[str],
    links: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    servers: Sequence[str],
    is_external: object,
    is_ndots_set: object,
    subnets: Sequence[str] = (),
) -> SandboxZone:
    return SandboxZone(
        name=_string(name),
        ns=NsRef(_string(ns)),
        networks=_strings(networks),
        links=tuple((_string(network), tuple((_string(a), _string(t)) for a, t in pairs)) for network, pairs in links),
        servers=_addresses(servers),
        is_external=bool(is_external),
        is_ndots_set=bool(is_ndots_set),
        subnets=tuple(ip_network(_string(subnet)) for subnet in subnets),
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _strings(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(_string, values))


def _addresses(values: Sequence[str]) -> tuple[IPAddress, ...]:
    return tuple(ip_address(_string(value)) for value in values)
