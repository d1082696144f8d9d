"""What the embedded server shall serve, from what this host shall have. Pure; the engine's side, which the server does without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from operator import attrgetter
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace

from reconciler.dns.zones import (
    LISTEN_ADDRESS,
    Ports,
    SandboxZone,
    ServedEndpoint,
    endpoint_row,
    sandbox_row,
    servers_row,
)
from reconciler.incremental import By, Ordered
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    RemoteEndpoint,
)
from reconciler.model.identifiers import BUILTIN_NETWORKS, NsRef
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.zone_rows import ZoneRows
from reconciler.sandbox.names import endpoint_names
from reconciler.sandbox.resolv_conf import ndots, uses_embedded_server

T = TypeVar("T")


class RowCompiler:
    """The rows of pass after pass, sorted by name. An attachment or network that is the very same as before keeps its rows.

    The built-in networks have no names, a sandbox on those alone no server.
    """

    def __init__(self) -> None:
        self._attachments: By[str, DesiredAttachment] = By(attrgetter("name"))
        self._networks: Mapping[str, DesiredNetwork] = {}
        self._options: Sequence[str] = ()
        self._processes: Mapping[NsRef, NsRef] = {}
        self._here: dict[str, dict[str, str]] = {}
        self._elsewhere: dict[str, _Elsewhere] = {}
        self._rows = ZoneRows()

    def __call__(
        self,
        desired: DesiredState,
        host_servers: Sequence[IPAddress] = (),
        host_options: Sequence[str] = (),
        processes: Mapping[NsRef, NsRef] = MappingProxyType({}),
    ) -> ZoneRows:
        """Return what shall be served, the very same rows as before where nothing changed.

        host_servers, host_options: of the host's own resolv.conf. processes: how the server finds containers, by their reference.
        """
        gone, come = self._attachments(desired.attachments)
        networks, self._networks = self._networks, {each.name: each for each in desired.networks}
        differing = {
            name for name in {*networks, *self._networks} if networks.get(name) is not self._networks.get(name)
        }
        touched = self._place(gone.values(), come.values())
        touched |= {name for name in differing if _differs_elsewhere(networks.get(name), self._networks.get(name))}
        moved = {name for name in differing if _place_of(networks.get(name)) != _place_of(self._networks.get(name))}
        hit = {**come, **self._hit(desired.attachments, moved, host_options, processes)}
        self._rows = _updated(
            self._rows,
            servers_row(host_servers),
            {name: self._network_rows(name) for name in touched},
            {**dict.fromkeys(gone.keys() - come.keys()), **{n: self._sandbox_row(each) for n, each in hit.items()}},
        )
        return self._rows

    def _hit(
        self,
        attachments: Sequence[DesiredAttachment],
        moved: Set[str],
        host_options: Sequence[str],
        processes: Mapping[NsRef, NsRef],
    ) -> Mapping[str, DesiredAttachment]:
        """Return the attachments whose rows differ without their doing: by one of the networks moved, their process or the host."""
        options, self._options = self._options, host_options
        before, self._processes = self._processes, processes
        if options != host_options:
            return {each.name: each for each in attachments}
        others = {ns for ns in before.keys() | processes.keys() if before.get(ns) != processes.get(ns)}
        if not (moved or others):
            return {}
        return {
            each.name: each
            for each in attachments
            if each.ns in others or any(endpoint.network in moved for endpoint in each.endpoints)
        }

    def _place(self, old: Iterable[DesiredAttachment], new: Iterable[DesiredAttachment]) -> set[str]:
        """Put the rows of endpoints in the place of old ones; return the names of their networks."""
        touched = set()
        for attachment in old:
            for name in _named_networks(attachment):
                self._here[name].pop(attachment.name, None)
                touched.add(name)
        for attachment in new:
            for endpoint in attachment.endpoints:
                if _is_named(endpoint):
                    self._here.setdefault(endpoint.network, {})[attachment.name] = _row_here(attachment, endpoint)
                    touched.add(endpoint.network)
        return touched

    def _network_rows(self, name: str) -> tuple[str, ...] | None:
        """Return nothing for a network that nobody on this host is on."""
        here = self._here.get(name)
        if not here:
            self._here.pop(name, None)
            self._elsewhere.pop(name, None)
            return None
        elsewhere = self._elsewhere.setdefault(name, _Elsewhere())
        return (*(here[each] for each in sorted(here)), *elsewhere.rows(self._networks[name].remote_endpoints))

    def _sandbox_row(self, attachment: DesiredAttachment) -> str | None:
        if not uses_embedded_server(attachment):
            return None
        zone = _sandbox(attachment, self._networks, self._options)
        return sandbox_row(replace(zone, ns=self._processes.get(zone.ns, zone.ns)))


class _Elsewhere:
    """The rows of one network's endpoints on other hosts, in the order of these."""

    def __init__(self) -> None:
        self._by: By[str, RemoteEndpoint] = By(attrgetter("id"))
        self._rows: Ordered[str, str] = Ordered()

    def rows(self, endpoints: Sequence[RemoteEndpoint]) -> tuple[str, ...]:
        """endpoints: sorted by id."""
        gone, come = self._by(endpoints)
        for id_ in gone.keys() - come.keys():
            self._rows.drop(id_)
        for id_, endpoint in come.items():
            self._rows.put(id_, _row_elsewhere(endpoint))
        return self._rows.values()


def _updated(
    before: ZoneRows,
    host_servers: str,
    networks: Mapping[str, tuple[str, ...] | None],
    sandboxes: Mapping[str, str | None],
) -> ZoneRows:
    after = ZoneRows(
        host_servers=host_servers,
        networks=_with(before.networks, networks),
        sandboxes=_with(before.sandboxes, sandboxes),
    )
    is_same = after.networks is before.networks and after.sandboxes is before.sandboxes
    return before if is_same and after.host_servers == before.host_servers else after


def _with(before: Mapping[str, T], changes: Mapping[str, T | None]) -> Mapping[str, T]:
    differing = {name: new for name, new in changes.items() if before.get(name) != new}
    if not differing:
        return before
    after = {**before, **{name: new for name, new in differing.items() if new is not None}}
    for name in [name for name, new in differing.items() if new is None]:
        del after[name]
    return after


def _differs_elsewhere(before: DesiredNetwork | None, now: DesiredNetwork | None) -> bool:
    known, found = (() if each is None else each.remote_endpoints for each in (before, now))
    return known is not found and known != found


def _place_of(network: DesiredNetwork | None) -> object:
    """Return what rows of sandboxes have of a network."""
    return None if network is None else (network.wanted.is_internal, tuple(_private_subnets(network)))


def _is_named(endpoint: DesiredEndpoint) -> bool:
    return endpoint.network not in BUILTIN_NETWORKS and not endpoint.wanted.is_gateway


def _named_networks(attachment: DesiredAttachment) -> tuple[str, ...]:
    return tuple(endpoint.network for endpoint in attachment.endpoints if _is_named(endpoint))


def _row_here(attachment: DesiredAttachment, endpoint: DesiredEndpoint) -> str:
    names, addresses = endpoint_names(attachment, endpoint), _addresses_of(endpoint)
    return endpoint_row(
        ServedEndpoint(name=attachment.name, names=names, addresses=addresses, ports=_ports(attachment))
    )


def _row_elsewhere(endpoint: RemoteEndpoint) -> str:
    return endpoint_row(ServedEndpoint(name=endpoint.name, names=endpoint.names, addresses=_addresses_of(endpoint)))


def _addresses_of(endpoint: DesiredEndpoint | RemoteEndpoint) -> tuple[IPAddress, ...]:
    return tuple(interface.ip for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None)


def _ports(attachment: DesiredAttachment) -> tuple[Ports, ...]:
    published = ((*port.target, port.protocol) for port in attachment.wanted.ports)
    return tuple(sorted({*published, *attachment.wanted.expose}))


def _sandbox(
    attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork], host_options: Sequence[str]
) -> SandboxZone:
    wanted = attachment.wanted
    named = _named_networks(attachment)
    links = tuple(sorted((alias.lower(), target.lower()) for target, alias in wanted.links))
    return SandboxZone(
        name=attachment.name,
        ns=attachment.ns,
        networks=named,
        links=tuple((network, links) for network in named if links),
        servers=tuple(server for server in wanted.dns if server != LISTEN_ADDRESS),
        is_external=any(not networks[endpoint.network].wanted.is_internal for endpoint in attachment.endpoints),
        is_ndots_set=(ndots(wanted.dns_options or host_options) or 0) > 0,
        subnets=tuple(
            subnet for endpoint in attachment.endpoints for subnet in _private_subnets(networks[endpoint.network])
        ),
    )


def _private_subnets(network: DesiredNetwork) -> Iterator[IPNetwork]:
    return (entry.subnet for entry in network.subnets if _is_private(network, entry.subnet.version))


def _is_private(network: DesiredNetwork, version: int) -> bool:
    """Return whether addresses of this family mean nothing outside the network, so that no other server can name them.

    What is part of the physical network, is routed as it is, or is a plugin's may well have names elsewhere.
    """
    wanted = network.wanted
    if wanted.sublink is not None:
        return wanted.sublink.parent == ""
    if wanted.traits.is_plugin:
        return False
    return wanted.traits.is_vxlan or wanted.is_internal or (wanted.bridge is not None and wanted.bridge.hides(version))
