"""What network plugins are told and answer, and how drivers of ours are told from theirs (docs/design/docker.md#plugins)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

from msgspec import Struct, field

from reconciler.model.objects import IPAddress, IPInterface, IPNetwork, Key, PluginCall

OWN_IPAM: Final = frozenset({"default", "null"})
"""IPAM drivers that are no plugins."""

PLUGIN_RECORDS: Final = "plugin/"
"""How the paths of records begin that say what plugins were told."""

Pairs = tuple[tuple[str, str], ...]


class StaticRoute(Struct, frozen=True):
    """next_hop None: on link."""

    destination: IPNetwork
    next_hop: IPAddress | None


class JoinAnswer(Struct, frozen=True, kw_only=True):
    """What a plugin said of one endpoint: to CreateEndpoint (addresses and MAC, "" and None for what it left), Join and
    EndpointOperInfo (info).

    src_name, src_index: the link that it made in the host's namespace, "" and 0 for none. dst_name: what it shall be called, "" for
    dst_prefix and a number.
    """

    src_name: str = ""
    src_index: int = 0
    dst_prefix: str = ""
    dst_name: str = ""
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    mac: str = ""
    gateway_ipv4: IPv4Address | None = None
    gateway_ipv6: IPv6Address | None = None
    routes: tuple[StaticRoute, ...] = ()
    is_gateway_service_disabled: bool = False
    info: Pairs = ()

    @property
    def leads_outside(self) -> bool:
        """Return whether the plugin gave a way out for IPv4 itself (needDefaultGW in moby's libnetwork/default_gateway.go)."""
        is_default = any(r.destination.version == 4 and r.destination.prefixlen == 0 for r in self.routes)
        return self.gateway_ipv4 is not None or is_default

    @property
    def needs_way_out(self) -> bool:
        """Return whether the sandbox shall be given another way out."""
        return not self.leads_outside and not self.is_gateway_service_disabled


class PoolLease(Struct, frozen=True, kw_only=True):
    """What an IPAM plugin gave for a pool. gateway None: none. needs_mac, needs_replay: what it said that it requires."""

    pool_id: str
    pool: IPNetwork
    gateway: IPAddress | None = None
    aux: tuple[tuple[str, IPAddress], ...] = ()
    needs_mac: bool = False
    needs_replay: bool = False


class Scope(Struct, frozen=True, kw_only=True):
    """What a plugin said of its networks, each `local` or `global`: where they are allocated, and how far they reach."""

    data: str
    connectivity: str


class Node(Struct, frozen=True):
    """A host of the cluster, as plugins of global scope are told (DiscoverNew). bind_address: "" where it is the address."""

    address: str
    is_self: bool
    bind_address: str = ""


class PluginFacts(Struct, frozen=True, kw_only=True):
    """What our records say of plugins.

    answers: by network and attachment, of those endpoints only that were joined. scopes: by network and driver.
    pools, addresses: what IPAM plugins gave, by the key of what was asked for.
    """

    calls: tuple[PluginCall, ...] = ()
    answers: Mapping[tuple[str, str], JoinAnswer] = field(default_factory=dict)
    scopes: Mapping[tuple[str, str], Scope] = field(default_factory=dict)
    pools: Mapping[Key, PoolLease] = field(default_factory=dict)
    addresses: Mapping[Key, IPInterface] = field(default_factory=dict)
