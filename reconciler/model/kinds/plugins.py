"""What exists at plugins: what they were told and asked for."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import (
    ALL_FIELDS,
    Apart,
    Disruption,
    Felt,
    Key,
    OwnerLookup,
    Traits,
    all_but,
    told_plugin,
)
from reconciler.model.units import Unit, nodes_unit


class OfNetwork(Apart, frozen=True, kw_only=True):
    """The family of what a plugin is told of a network."""

    network: str

    @property
    def key(self) -> Key:
        return (self.kind, self.network)

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return Unit(network=self.network)


class OfEndpoint(OfNetwork, frozen=True, kw_only=True):
    """The family of what a plugin is told of an endpoint."""

    attachment: str

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment)

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return Unit(network=self.network, attachment=self.attachment)


class PluginScope(OfNetwork, frozen=True, kw_only=True):
    """What a plugin said of the scope of its networks (NetworkDriver.GetCapabilities), for as long as it has this one."""

    kind: ClassVar[str] = "PluginScope"
    traits: ClassVar[Traits] = told_plugin(5, ALL_FIELDS, is_awaited=True)
    network: str
    driver: str
    is_complete: bool = True

    def describe(self) -> str:
        return f"scope of {self.network} at plugin {self.driver}"


class PluginNetwork(OfNetwork, frozen=True, kw_only=True):
    """A network as a plugin was told of it (NetworkDriver.CreateNetwork).

    id: 64 hex digits. options, ipv4, ipv6: JSON, as they go to the plugin, but for the address space.
    address_space: "" for the default of the plugin's scope. is_complete: as observed False when nobody knows whether the call was
    made, because we were killed meanwhile or no usable answer came.
    """

    kind: ClassVar[str] = "PluginNetwork"
    traits: ClassVar[Traits] = told_plugin(20, ALL_FIELDS, Felt(update=Disruption.NONE, delete=Disruption.RECREATE))
    network: str
    driver: str
    id: str
    options: str
    ipv4: str = "[]"
    ipv6: str = "[]"
    address_space: str = ""
    is_complete: bool = True

    def describe(self) -> str:
        return f"network {self.network} at plugin {self.driver}"

    def touches(self) -> tuple[NsRef, ...]:
        return (HOST,)


class PluginEndpoint(OfEndpoint, frozen=True, kw_only=True):
    """An endpoint as a plugin was told of it (CreateEndpoint and Join).

    interface, options, join_options: JSON, as they go to the plugin. ns, inode: the sandbox that was joined; the
    inode is 0 while it does not exist. network_told: digest of what the plugin was told of the network: with that made anew, its
    endpoints are. is_complete: as for PluginNetwork; also False when the link that the plugin made is lost.
    """

    kind: ClassVar[str] = "PluginEndpoint"
    traits: ClassVar[Traits] = told_plugin(30, ALL_FIELDS, Felt(update=Disruption.NONE, delete=Disruption.RECREATE))
    network: str
    attachment: str
    driver: str
    network_id: str
    network_told: str
    id: str
    ns: NsRef
    inode: int
    interface: str
    options: str
    join_options: str
    is_complete: bool = True

    def describe(self) -> str:
        return f"endpoint of {self.attachment} on {self.network} at plugin {self.driver}"

    def touches(self) -> tuple[NsRef, ...]:
        return HOST, self.ns

    def is_endpoint(self) -> bool:
        return self.is_complete


class PluginPorts(OfEndpoint, frozen=True, kw_only=True):
    """The ports that a plugin was told to publish at an endpoint (ProgramExternalConnectivity). options: as for PluginEndpoint."""

    kind: ClassVar[str] = "PluginPorts"
    traits: ClassVar[Traits] = told_plugin(40, ALL_FIELDS, Felt(update=Disruption.NONE, delete=Disruption.LIVE))
    network: str
    attachment: str
    driver: str
    network_id: str
    endpoint_id: str
    options: str
    is_complete: bool = True

    def describe(self) -> str:
        return f"ports of {self.attachment} on {self.network} at plugin {self.driver}"

    def touches(self) -> tuple[NsRef, ...]:
        return (HOST,)


class PluginNode(Apart, frozen=True, kw_only=True):
    """A host of the cluster that a plugin was told of (DiscoverNew).

    incarnation: of the plugin that was told, "" where nothing tells one from another: one that was started anew is told again.
    """

    kind: ClassVar[str] = "PluginNode"
    traits: ClassVar[Traits] = told_plugin(10, all_but("incarnation"), is_news=True)
    driver: str
    address: str
    bind_address: str
    is_self: bool
    incarnation: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.driver, self.address)

    def describe(self) -> str:
        return f"node {self.address} at plugin {self.driver}"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return nodes_unit(self.driver)

    def touches(self) -> tuple[NsRef, ...]:
        return (HOST,)


class PluginPool(OfNetwork, frozen=True, kw_only=True):
    """A pool of a network as an IPAM plugin was asked for it, with its gateway and auxiliary addresses.

    version: 4 or 6; number: among those of its family. pool, sub_pool, gateway: "" for what is the plugin's choice. aux,
    options: JSON of names and texts. scope_driver: the plugin whose scope decides the address space, "" for a local network.
    incarnation: of the plugin when it was asked, where it wants to be asked again for what was given before it started; else "".
    """

    kind: ClassVar[str] = "PluginPool"
    traits: ClassVar[Traits] = told_plugin(15, all_but("incarnation"), is_awaited=True)
    network: str
    driver: str
    version: int
    number: int
    pool: str
    sub_pool: str
    gateway: str
    aux: str
    options: str
    scope_driver: str
    incarnation: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, str(self.version), str(self.number))

    def describe(self) -> str:
        return f"IPv{self.version} pool {self.pool or self.number} of {self.network} at plugin {self.driver}"


class PluginAddress(OfEndpoint, frozen=True, kw_only=True):
    """An endpoint's address as an IPAM plugin was asked for it. address: "" for any. mac: "" where the plugin does not need it."""

    kind: ClassVar[str] = "PluginAddress"
    traits: ClassVar[Traits] = told_plugin(25, all_but("incarnation"), is_awaited=True)
    network: str
    attachment: str
    driver: str
    version: int
    pool_id: str
    address: str
    mac: str
    incarnation: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment, str(self.version))

    def describe(self) -> str:
        return f"IPv{self.version} address of {self.attachment} on {self.network} at plugin {self.driver}"
