"""What the specs ask for, checked and in canonical form; addresses and pools not yet chosen.

`reconciler.spec` makes these values; a value that exists is valid by itself. Mappings are tuples of pairs sorted by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

from msgspec import Struct, field

from reconciler.model.adoption import Adopt
from reconciler.model.drivers import DriverTraits, traits_of
from reconciler.model.holds import Holds, OnDrift
from reconciler.model.identifiers import NsRef, vlan_of
from reconciler.model.objects import IPAddress, IPNetwork, Unit
from reconciler.model.values import Value

Pairs = tuple[tuple[str, str], ...]


class Source(Struct, frozen=True, order=True):
    """Where something was declared; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SpecWarning(Struct, frozen=True, order=True):
    """Something in the specs that is allowed and hardly what was meant."""

    source: Source
    message: str

    def __str__(self) -> str:
        return f"{self.source}: warning: {self.message}"


class GatewayMode(StrEnum):
    """`com.docker.network.bridge.gateway_mode_ipv4|6` (docs/design/docker.md#gateway-modes)."""

    NAT = "nat"
    NAT_UNPROTECTED = "nat-unprotected"
    ROUTED = "routed"
    ISOLATED = "isolated"


class BridgeOptions(Struct, frozen=True, kw_only=True):
    """The bridge driver's options, parsed. None: not given, the driver's default holds.

    is_source_validated: endpoints send from their own addresses only, and are no routers.
    """

    link_name: str | None = None
    is_masquerade_enabled: bool = True
    is_icc_enabled: bool = True
    host_binding: IPAddress | None = None
    mtu: int | None = None
    gateway_mode_ipv4: GatewayMode = GatewayMode.NAT
    gateway_mode_ipv6: GatewayMode = GatewayMode.NAT
    is_ipv4_inhibited: bool = False
    trusted_host_interfaces: tuple[str, ...] = ()
    container_iface_prefix: str = "eth"
    host_ipv4: IPv4Address | None = None
    host_ipv6: IPv6Address | None = None
    is_source_validated: bool = True

    def gateway_mode(self, version: int) -> GatewayMode:
        return self.gateway_mode_ipv4 if version == 4 else self.gateway_mode_ipv6

    def source_address(self, version: int) -> IPAddress | None:
        """Return the address of the host that members' packets leave with, None for that of the link they leave by."""
        return self.host_ipv4 if version == 4 else self.host_ipv6

    def is_translated(self, version: int) -> bool:
        """Return whether what members send leaves with an address of the host, where anything leaves."""
        is_nat = self.gateway_mode(version) in (GatewayMode.NAT, GatewayMode.NAT_UNPROTECTED)
        return is_nat and self.is_masquerade_enabled

    def hides(self, version: int) -> bool:
        """Return whether the members' addresses of this family are translated on the way out, or have none."""
        mode = self.gateway_mode(version)
        return mode is GatewayMode.ISOLATED or (mode is not GatewayMode.ROUTED and self.is_masquerade_enabled)


class OverlayOptions(Struct, frozen=True, kw_only=True):
    """The overlay driver's options, parsed. None: not given.

    underlay_mtu: bytes, of the packets between hosts. vnis: one for each subnet, or none at all. port: UDP.
    is_source_validated: as of a bridge.
    """

    underlay_mtu: int | None = None
    vnis: tuple[int, ...] = ()
    port: int | None = None
    is_source_validated: bool = True


class MacvlanMode(StrEnum):
    """`macvlan_mode` (ip-link(8)): who of those on one parent reaches whom."""

    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"
    PASSTHRU = "passthru"


class IpvlanMode(StrEnum):
    """`ipvlan_mode` (Documentation/networking/ipvlan.rst)."""

    L2 = "l2"
    L3 = "l3"
    L3S = "l3s"


class IpvlanFlag(StrEnum):
    """`ipvlan_flag`: who of those on one parent reaches whom."""

    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"


class MacvlanOptions(Struct, frozen=True, kw_only=True):
    """The macvlan driver's options, parsed. parent: the host's link below, "" for none, so that nothing leads outside."""

    parent: str = ""
    mode: MacvlanMode = MacvlanMode.BRIDGE
    mtu: int | None = None


class IpvlanOptions(Struct, frozen=True, kw_only=True):
    """The ipvlan driver's options, parsed. parent: as of a macvlan."""

    parent: str = ""
    mode: IpvlanMode = IpvlanMode.L2
    flag: IpvlanFlag = IpvlanFlag.BRIDGE
    mtu: int | None = None


class SubnetWanted(Struct, frozen=True, kw_only=True):
    """One entry of `ipam.config`; ip_range, gateway and auxiliary addresses lie inside subnet."""

    subnet: IPNetwork
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    aux_addresses: tuple[tuple[str, IPAddress], ...] = ()


class NetworkWanted(Struct, frozen=True, kw_only=True):
    """One network. options: as typed, for inspect. bridge, overlay, macvlan, ipvlan: parsed, present when driver is that.

    ipam_options None: never set, which inspect shows as null. is_protected: it stays when it is no longer declared.
    is_overlap_allowed: its subnets may cover what the host reaches elsewhere. adopt: it may take over a bridge of others.
    declaration: of a global network, what the cluster is told that it is, as text; "" while that is not known.
    is_shared: it is one of the cluster's. is_listed: the cluster has it, and this host neither declares nor joins it.
    """

    name: str
    driver: str = "bridge"
    options: Pairs = ()
    bridge: BridgeOptions | None = None
    overlay: OverlayOptions | None = None
    macvlan: MacvlanOptions | None = None
    ipvlan: IpvlanOptions | None = None
    ipam_driver: str = "default"
    ipam_options: Pairs | None = None
    subnets: tuple[SubnetWanted, ...] = ()
    is_internal: bool = False
    is_ipv4_enabled: bool = True
    is_ipv6_enabled: bool = False
    is_attachable: bool = False
    is_external: bool = False
    is_protected: bool = False
    is_overlap_allowed: bool = False
    adopt: Adopt = Adopt.NO
    on_drift: OnDrift = OnDrift.CORRECT
    labels: Pairs = ()
    declaration: str = ""
    is_shared: bool = False
    is_listed: bool = False

    @property
    def traits(self) -> DriverTraits:
        return traits_of(self.driver)

    @property
    def bridge_options(self) -> BridgeOptions:
        """Return the driver's defaults where none are given."""
        return self.bridge or BridgeOptions()

    @property
    def sublink(self) -> MacvlanOptions | IpvlanOptions | None:
        """The options of a driver whose endpoints are links on one of the host's."""
        return self.macvlan or self.ipvlan

    @property
    def is_source_validated(self) -> bool:
        options = self.bridge or self.overlay
        return options is None or options.is_source_validated

    @property
    def leads_outside(self) -> bool:
        return not self.is_internal and (self.sublink is None or self.sublink.parent != "")


class SandboxKind(StrEnum):
    NETNS = "netns"
    PATH = "path"
    PID = "pid"
    PIDFILE = "pidfile"
    CONTAINER = "container"


class SandboxRef(Struct, frozen=True):
    """Which network namespace. NETNS by name below /run/netns, made by us when it is not there; the others must exist."""

    kind: SandboxKind
    value: str

    @property
    def ns(self) -> NsRef:
        return NsRef(f"{self.kind}:{self.value}")


class EndpointWanted(Struct, frozen=True, kw_only=True):
    """One attachment's place on one network. mac: lower case with colons. options: endpoint driver options as typed.

    is_gateway: added by us, as the way out of overlay networks; not among the networks that the attachment is shown with.
    """

    network: str
    ipv4_address: IPv4Address | None = None
    ipv6_address: IPv6Address | None = None
    link_local_ips: tuple[IPAddress, ...] = ()
    mac_address: str | None = None
    aliases: tuple[str, ...] = ()
    priority: int = 0
    gw_priority: int = 0
    interface_name: str | None = None
    options: Pairs = ()
    is_gateway: bool = False


class PortWanted(Struct, frozen=True, kw_only=True):
    """One published range. published (0, 0): ephemeral. Ranges include both ends; host_ip None: the network's binding."""

    target: tuple[int, int]
    published: tuple[int, int]
    protocol: str = "tcp"
    host_ip: IPAddress | None = None


class NetworkMode(StrEnum):
    NETWORKS = "networks"
    NONE = "none"
    HOST = "host"


class AttachmentWanted(Struct, frozen=True, kw_only=True):
    """One sandbox and the networks it joins. mode NETWORKS: `endpoints` says which (`bridge` for the default one).

    hosts: names or globs, empty for every host. expose: (first, last, protocol). links: (attachment, alias).
    extra_hosts: (name, address or "host-gateway"), in the order of their lines. sysctls: names with dots, a slash in them
    for a dot (sysctl(8)), only `net.`.
    """

    name: str
    sandbox: SandboxRef
    mode: NetworkMode = NetworkMode.NETWORKS
    hosts: tuple[str, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    endpoints: tuple[EndpointWanted, ...] = ()
    ports: tuple[PortWanted, ...] = ()
    expose: tuple[tuple[int, int, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    dns: tuple[IPAddress, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: Pairs = ()
    sysctls: Pairs = ()


class WantedState(Value, frozen=True, kw_only=True):
    """All that one host shall have, sorted by name; the built-in networks included.

    has_faults: something declared could not be read, so what is missing here may still be wanted: nothing is pruned.
    holds: what a pass leaves as it is; empty until `guard` has seen this value. sources: where units are declared, for messages;
    no part of what is wanted, so that nothing is done anew for a line that moved.
    """

    uncompared: ClassVar[frozenset[str]] = frozenset({"sources"})
    is_small: ClassVar[bool] = False
    unshown: ClassVar[frozenset[str]] = frozenset({"sources"})
    networks: tuple[NetworkWanted, ...]
    attachments: tuple[AttachmentWanted, ...]
    has_faults: bool = False
    holds: Holds = field(default_factory=Holds)
    sources: Mapping[Unit, Source] = field(default_factory=dict)


def named_parents(wanted: WantedState) -> frozenset[str]:
    """Name the links that networks sit on, and those below that VLANs are on."""
    named = {network.sublink.parent for network in wanted.networks if network.sublink is not None} - {""}
    return frozenset(named | {vlan[0] for name in named if (vlan := vlan_of(name)) is not None})


def adopting_bridges(wanted: WantedState) -> frozenset[str]:
    """Name the bridges that networks take over where others have made them."""
    adopting = (network for network in wanted.networks if network.adopt is not Adopt.NO)
    return frozenset(network.bridge.link_name for network in adopting if network.bridge and network.bridge.link_name)
