"""What a host is made of: one small frozen value per kernel object, firewall element, file or record.

Every object has a `key` (what it is: kind, namespace, name) and fields (how it shall be). Drivers give sets of
them, `observe` gives those that exist, `plan` compares the two key by key: equal means nothing to do, so a field that the
kernel cannot tell back does not belong here. `unit` says on whose behalf the object exists and is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface
Plain = str | int | bool | list["Plain"] | None
"""What JSON has by itself."""

Key = tuple[str, ...]
"""Kind first, then what tells objects of the kind apart. Plain strings, so that plans sort the same everywhere."""


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """What fails or succeeds together: a network, an attachment's sandbox, one attachment on one network, or the host.

    An endpoint (both set) needs its network, its sandbox and the host; a network needs the host, but for the two
    that have nothing there.
    """

    network: str = ""
    attachment: str = ""

    def parents(self) -> tuple[Unit, ...]:
        if not self.network:
            return ()
        needs = () if self.network in _NEED_NOTHING else (HOST_UNIT,)
        if not self.attachment:
            return needs
        return (*needs, Unit(network=self.network), Unit(attachment=self.attachment))

    def names(self) -> tuple[str, ...]:
        """Give how messages name it, or a part of it, in front."""
        return str(self), f"network {self.network}", f"attachment {self.attachment}"

    def __str__(self) -> str:
        if self == NAMES_UNIT:
            return "name service"
        if self == CLUSTER_UNIT:
            return "cluster"
        if self == STATUS_UNIT:
            return "status files"
        named = [f"network {self.network}"] if self.network else []
        named += [f"attachment {self.attachment}"] if self.attachment else []
        return ", ".join(named) or "host"


HOST_UNIT = Unit()

NAMES_UNIT = Unit(network="<names>")
"""The name service of all sandboxes: nothing needs it and it needs nothing, so its failure is nobody else's."""

CLUSTER_UNIT = Unit(network="<cluster>")
"""This host's place in the cluster. Networks that need it say so themselves."""

STATUS_UNIT = Unit(network="<status>")
"""What a pass leaves behind for readers and for the next one: files in the status and state folders. Nothing needs it."""

SERVICES = frozenset((NAMES_UNIT.network, CLUSTER_UNIT.network, STATUS_UNIT.network))
"""Stand where a network does, and are none."""

_NEED_NOTHING = frozenset(("host", "none", *SERVICES))


def nodes_unit(driver: str) -> Unit:
    """Give the unit of what a plugin is told of the cluster's hosts: its failure is no network's."""
    return Unit(network=f"<nodes at plugin {driver}>")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    kind: ClassVar[str]
    unit: Unit = field(default=HOST_UNIT, compare=False)

    @property
    def key(self) -> Key:
        raise NotImplementedError

    def describe(self) -> str:
        """Say in a few words what this is, for plans and logs."""
        raise NotImplementedError

    def attributes(self) -> dict[str, Plain]:
        """Give the fields for the plan's JSON: plain values, in order of declaration, without what is not compared."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.compare}


def _plain(value: object) -> Plain:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return [_plain(item) for item in value] if isinstance(value, tuple) else str(value)


def _where(ns: NsRef) -> str:
    return f" in {ns}" if ns else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace(_Object):
    """A named network namespace made by us: /run/netns/<name>, as ip-netns(8) lays it out.

    Marked by `lo`: our link group, and our instance id as its alias.
    """

    kind: ClassVar[str] = "Namespace"
    ns: NsRef
    name: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns)

    def describe(self) -> str:
        return f"namespace {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(_Object):
    """A bridge device that is up.

    mtu: bytes. has_ipv6: whether it takes IPv6 packets at all, has_link_local: whether it makes itself an fe80:: address (both
    wanted on IPv6 networks only). heeds_routers: whether it takes addresses and routes from router advertisements, which any
    sandbox can send. mark: its alias on the host, see `model.marks`.
    """

    kind: ClassVar[str] = "Bridge"
    ns: NsRef
    ifname: str
    mac: str
    mtu: int
    has_ipv6: bool = False
    has_link_local: bool = False
    heeds_routers: bool = False
    is_up: bool = True
    mark: str = ""

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"bridge {self.ifname} (mtu {self.mtu}){_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VethPair(_Object):
    """A veth pair whose near side is up, a port of `master`; the peer sits in the sandbox under its final name.

    The peer's own state is a `LinkUp`. Near side: no link-local address (addrgenmode none).
    peer_ns: as observed it may be "?" when the peer is in no namespace that we looked into. mtu: as observed 0 says that the
    two ends differ.
    """

    kind: ClassVar[str] = "VethPair"
    ns: NsRef
    ifname: str
    master: str
    mtu: int
    peer_ns: NsRef
    peer_ifname: str
    peer_mac: str
    is_hairpin: bool = False
    is_up: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        peer = f"{self.peer_ifname} in {self.peer_ns}" if self.peer_ifname else "a peer out of sight"
        return f"veth {self.ifname} on {self.master} to {peer} (mtu {self.mtu})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan(_Object):
    """A VXLAN device that is up, a port of `master`; its UDP socket stays in the host's namespace, which is the underlay.

    vni: 24 bits (RFC 7348). local: our VTEP; None: chosen by routing. port: UDP. mtu: bytes, of the inner packets.
    is_proxy: answers ARP and neighbour solicitations from its neighbour table. No link-local address.
    """

    kind: ClassVar[str] = "Vxlan"
    ns: NsRef
    ifname: str
    master: str
    vni: int
    local: IPAddress | None
    port: int
    mtu: int
    is_learning: bool = False
    is_proxy: bool = True
    is_up: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"vxlan {self.ifname} on {self.master} (vni {self.vni}, mtu {self.mtu}){_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEnd(_Object):
    """A link of ours on the host that leads nowhere, for macvlan and ipvlan links to sit on: a bridge without ports or addresses.

    Its MAC address is left to the kernel: a bridge without ports that was given one has no carrier (br_port_state_selection),
    nor have the links on it. has_ipv6: as for `Bridge`.
    """

    kind: ClassVar[str] = "DeadEnd"
    ns: NsRef
    ifname: str
    mtu: int
    has_carrier: bool = True
    has_ipv6: bool = False
    is_up: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"dead end {self.ifname} (mtu {self.mtu}){_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan(_Object):
    """A VLAN link of ours on a link of the host, for macvlan and ipvlan links to sit on. vlan_id: 1 to 4094 (IEEE 802.1Q).

    Its MTU is its parent's, and the host has no address on it, nor takes one from routers there: has_ipv6, as for `Bridge`.
    """

    kind: ClassVar[str] = "Vlan"
    ns: NsRef
    ifname: str
    parent: str
    vlan_id: int
    has_ipv6: bool = False
    is_up: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"vlan {self.ifname} (id {self.vlan_id}) on {self.parent or '?'}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan(_Object):
    """A macvlan link in a sandbox, on a link of the host's own namespace. Its own state is a `LinkUp`.

    parent: as observed "" when it sits on no link of the host. mode: bridge, private, vepa or passthru. mtu: bytes.
    """

    kind: ClassVar[str] = "Macvlan"
    ns: NsRef
    ifname: str
    parent: str
    mode: str
    mac: str
    mtu: int

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"macvlan {self.ifname} on {self.parent or '?'} ({self.mode}, mtu {self.mtu}){_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipvlan(_Object):
    """An ipvlan link in a sandbox; all on one parent share its MAC address. mode: l2, l3 or l3s. flag: bridge, private or vepa.

    Otherwise as `Macvlan`.
    """

    kind: ClassVar[str] = "Ipvlan"
    ns: NsRef
    ifname: str
    parent: str
    mode: str
    flag: str
    mtu: int

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        kind = f"{self.mode} {self.flag}"
        return f"ipvlan {self.ifname} on {self.parent or '?'} ({kind}, mtu {self.mtu}){_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour(_Object):
    """A permanent neighbour entry on a VXLAN device: what its proxy answers for a remote endpoint."""

    kind: ClassVar[str] = "Neighbour"
    ns: NsRef
    ifname: str
    address: IPAddress
    mac: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, str(self.address))

    def describe(self) -> str:
        return f"neighbour {self.address} at {self.mac} on {self.ifname}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbEntry(_Object):
    """A permanent forwarding entry of a VXLAN device: frames to `mac` go to the host with the underlay address `vtep`.

    vtep: as observed None when it leads there by another port or VNI.
    """

    kind: ClassVar[str] = "FdbEntry"
    ns: NsRef
    ifname: str
    mac: str
    vtep: IPAddress | None

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, self.mac)

    def describe(self) -> str:
        return f"fdb entry {self.mac} to {self.vtep} on {self.ifname}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp(_Object):
    """A link in a sandbox that is administratively up: `lo`, a veth's peer, a macvlan. Never deleted by itself."""

    kind: ClassVar[str] = "LinkUp"
    ns: NsRef
    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"link {self.ifname} up{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(_Object):
    """An address with its prefix length on a link; IPv6 without duplicate address detection. Broadcast is derived."""

    kind: ClassVar[str] = "Address"
    ns: NsRef
    ifname: str
    interface: IPInterface

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, str(self.interface))

    def describe(self) -> str:
        return f"address {self.interface} on {self.ifname}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(_Object):
    """A unicast route of the main table. `gateway` None: on link."""

    kind: ClassVar[str] = "Route"
    ns: NsRef
    destination: IPNetwork
    gateway: IPAddress | None
    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, str(self.destination))

    def describe(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"route {self.destination}{via} dev {self.ifname}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(_Object):
    """A setting below /proc/sys of a namespace. name: path with slashes, as `net/ipv4/ip_forward`."""

    kind: ClassVar[str] = "Sysctl"
    ns: NsRef
    name: str
    value: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.name)

    def describe(self) -> str:
        return f"sysctl {self.name} = {self.value}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallRules(_Object):
    """One owned nft table with its constant chains, sets and maps. digest: of the text that `firewall.ruleset` gives.

    ns: the host, or the namespace of an overlay network.
    """

    kind: ClassVar[str] = "FirewallRules"
    ns: NsRef = HOST
    family: str
    table: str
    digest: str

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.family, self.table)

    def describe(self) -> str:
        return f"nft table {self.family} {self.table} ({self.digest}){_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallElement(_Object):
    """One element of an owned set or map. element: its parts as nft prints them; value: the map's right side, "" in a set.

    The unit travels as the element's comment, so that whoever finds it knows whose it is.
    """

    kind: ClassVar[str] = "FirewallElement"
    ns: NsRef = HOST
    family: str
    table: str
    set_name: str
    element: tuple[str, ...]
    value: str = ""

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.family, self.table, self.set_name, *self.element)

    def describe(self) -> str:
        value = f" : {self.value}" if self.value else ""
        return f"nft element {self.set_name} {{ {' . '.join(self.element)}{value} }}{_where(self.ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFile(_Object):
    """/etc/hosts or /etc/resolv.conf of one sandbox: <run-dir>/sandboxes/<attachment>/<name>.

    netns_name: where `ip netns exec` shall find it too, a link from /etc/netns/<netns_name>/<name>; "" for none.
    """

    kind: ClassVar[str] = "SandboxFile"
    attachment: str
    name: str
    content: str
    netns_name: str = ""

    @property
    def key(self) -> Key:
        return (self.kind, self.attachment, self.name)

    def describe(self) -> str:
        return f"file {self.name} of {self.attachment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFile(_Object):
    """/etc/hosts or /etc/resolv.conf of one container: the engine's own file at `path`, which it mounts into the container.

    process: the container's, as `Container` has it; the engine writes the file anew for each.
    """

    kind: ClassVar[str] = "ContainerFile"
    attachment: str
    name: str
    path: str
    content: str
    process: NsRef = field(default=NsRef(""), compare=False)

    @property
    def key(self) -> Key:
        return (self.kind, self.attachment, self.name)

    def describe(self) -> str:
        return f"file {self.name} in the container of {self.attachment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTables(_Object):
    """What the embedded DNS server of this host has in force. digest: of the text that `dns.zones` gives.

    As observed the text is "", and the digest says in words why a server that runs, or does not, is not the one wanted.
    """

    kind: ClassVar[str] = "NameTables"
    digest: str
    text: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return (self.kind,)

    def describe(self) -> str:
        return "name tables of the embedded DNS server"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginScope(_Object):
    """What a plugin said of the scope of its networks (NetworkDriver.GetCapabilities), for as long as it has this one."""

    kind: ClassVar[str] = "PluginScope"
    network: str
    driver: str
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network)

    def describe(self) -> str:
        return f"scope of {self.network} at plugin {self.driver}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginNetwork(_Object):
    """A network as a plugin was told of it (NetworkDriver.CreateNetwork).

    id: 64 hex digits. options, ipv4, ipv6: JSON, as they go to the plugin, but for the address space.
    address_space: "" for the default of the plugin's scope. is_complete: as observed False when nobody knows whether the call was
    made, because we were killed meanwhile or no usable answer came.
    """

    kind: ClassVar[str] = "PluginNetwork"
    network: str
    driver: str
    id: str
    options: str
    ipv4: str = "[]"
    ipv6: str = "[]"
    address_space: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network)

    def describe(self) -> str:
        return f"network {self.network} at plugin {self.driver}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginEndpoint(_Object):
    """An endpoint as a plugin was told of it (CreateEndpoint and Join).

    interface, options, join_options: JSON, as they go to the plugin. ns, inode: the sandbox that was joined; the
    inode is 0 while it does not exist. network_told: digest of what the plugin was told of the network: with that made anew, its
    endpoints are. is_complete: as for PluginNetwork; also False when the link that the plugin made is lost.
    """

    kind: ClassVar[str] = "PluginEndpoint"
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

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment)

    def describe(self) -> str:
        return f"endpoint of {self.attachment} on {self.network} at plugin {self.driver}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginPorts(_Object):
    """The ports that a plugin was told to publish at an endpoint (ProgramExternalConnectivity). options: as for PluginEndpoint."""

    kind: ClassVar[str] = "PluginPorts"
    network: str
    attachment: str
    driver: str
    network_id: str
    endpoint_id: str
    options: str
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment)

    def describe(self) -> str:
        return f"ports of {self.attachment} on {self.network} at plugin {self.driver}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginNode(_Object):
    """A host of the cluster that a plugin was told of (DiscoverNew).

    incarnation: of the plugin that was told, "" where nothing tells one from another: one that was started anew is told again.
    """

    kind: ClassVar[str] = "PluginNode"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginPool(_Object):
    """A pool of a network as an IPAM plugin was asked for it, with its gateway and auxiliary addresses.

    version: 4 or 6; number: among those of its family. pool, sub_pool, gateway: "" for what is the plugin's choice. aux,
    options: JSON of names and texts. scope_driver: the plugin whose scope decides the address space, "" for a local network.
    incarnation: of the plugin when it was asked, where it wants to be asked again for what was given before it started; else "".
    """

    kind: ClassVar[str] = "PluginPool"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginAddress(_Object):
    """An endpoint's address as an IPAM plugin was asked for it. address: "" for any. mac: "" where the plugin does not need it."""

    kind: ClassVar[str] = "PluginAddress"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginLink(_Object):
    """A link that a plugin made in the host's namespace, moved into a sandbox: when it goes, it is moved back.

    mac: "" for whatever it has. src_name: what it was called and shall be called again; src_index: by which it is found there, a
    namesake is not it. endpoint: short id of the endpoint. As observed the first and the third are as the link's alias tells.
    """

    kind: ClassVar[str] = "PluginLink"
    ns: NsRef
    ifname: str
    mac: str = field(default="", compare=False)
    src_name: str = field(default="", compare=False)
    src_index: int = field(default=0, compare=False)
    endpoint: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname)

    def describe(self) -> str:
        return f"link {self.ifname} in {self.ns}, a plugin's {self.src_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KvRecord(_Object):
    """A promise in the key-value store. value: JSON with sorted keys."""

    kind: ClassVar[str] = "KvRecord"
    path: str
    value: str

    @property
    def key(self) -> Key:
        return (self.kind, self.path)

    def describe(self) -> str:
        return f"record {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord(_Object):
    """A record in the cluster's store, where other hosts read it. value: JSON with sorted keys.

    With some records other keys are claimed in the same transaction (an endpoint's addresses, a network's VNIs); these follow from
    path and value and are no objects of their own.
    """

    kind: ClassVar[str] = "ClusterRecord"
    path: str
    value: str

    @property
    def key(self) -> Key:
        return (self.kind, self.path)

    @property
    def is_common(self) -> bool:
        """Say whether several hosts may write it: a network's own record, once all agree on what it shall say."""
        return self.path.startswith("networks/")

    def describe(self) -> str:
        return f"cluster record {self.path}"


Object = (
    Namespace
    | Bridge
    | VethPair
    | Vxlan
    | DeadEnd
    | Vlan
    | Macvlan
    | Ipvlan
    | Neighbour
    | FdbEntry
    | LinkUp
    | Address
    | Route
    | Sysctl
    | FirewallRules
    | FirewallElement
    | SandboxFile
    | ContainerFile
    | NameTables
    | PluginScope
    | PluginNetwork
    | PluginEndpoint
    | PluginPorts
    | PluginNode
    | PluginPool
    | PluginAddress
    | PluginLink
    | KvRecord
    | ClusterRecord
)

PluginLease = PluginPool | PluginAddress
"""What an IPAM plugin is asked for."""

PluginCall = PluginScope | PluginNetwork | PluginEndpoint | PluginPorts | PluginNode | PluginLease
"""What exists at a plugin; what is known of it is what our records say, as the protocol has no way to ask."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that exists. is_ours: it carries our mark, so it may be changed or deleted."""

    object: Object
    is_ours: bool
