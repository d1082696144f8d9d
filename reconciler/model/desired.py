"""What this host shall have, every choice made: addresses, pools, names, default routes. Drivers compile this."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import ClassVar

from msgspec import Struct

from reconciler.errors import ReconcilerError
from reconciler.model.adoption import Adopted, BridgeFact
from reconciler.model.identifiers import HOST, VXLAN_PORT, NsRef, bridge_mac
from reconciler.model.objects import IPAddress, IPNetwork, PluginEndpoint, Unit
from reconciler.model.plugins import JoinAnswer, Node
from reconciler.model.values import Value
from reconciler.model.wanted import AttachmentWanted, EndpointWanted, NetworkWanted


class PortBinding(Struct, frozen=True):
    """One published port with every choice made: `host_ip`:`host_port` of the host leads to `target` of the endpoint.

    host_ip: the unspecified address of its family for all that the host has. host_port 0: the network is routed, so the port is
    reached at the endpoint's own address.
    """

    protocol: str
    host_ip: IPAddress
    host_port: int
    target: int


class ParentFact(Struct, frozen=True, kw_only=True):
    """A link of the host that a macvlan or ipvlan network sits on, or below the VLAN that it names. is_ours: we made it."""

    ifname: str
    mtu: int
    is_ours: bool = False


class HostFacts(Value, frozen=True, kw_only=True):
    """What the choices depend on, read from the host. Changes of it are ordinary changes of the desired state.

    name: `--host`. instance: tells reconcilers on one machine apart. uplink_mtu: of the default route's link, None without one.
    vtep: our own underlay address, from `--cluster-advertise`; None outside a cluster. vxlan_port: the cluster's UDP port.
    underlay_mtu: of the link that has the VTEP's address, None without one.
    routes: (destination, link) of every route of the main table but default ones and those on our own links.
    resolv_conf, hosts: text of the host's own files. now: RFC 3339 with nanoseconds, for `Created`.
    resolved_conf: of /run/systemd/resolve/resolv.conf, "" if absent.
    parents: of the links that networks name as parents those that are there, sorted; None: nobody looked.
    state, specs: the folders that it is run from, "" where none are to be named. needed: addresses that the host must go on
    reaching, and what they are: its own, its gateways, the cluster's store.
    ipv6_off: "all" or "lo" where the host's disable_ipv6 is set for these, else "".
    sandbox_sysctls: path and value of what namespaces made by us have unless an attachment asks otherwise.
    uplinks: links of others by which the host may learn its way out from router advertisements.
    bridges: those of others that networks adopted or may adopt, sorted. place: this boot and its namespace, "" for no true host.
    is_transit_open: what is forwarded for our networks may be so between links of others, too.
    """

    uncompared: ClassVar[frozenset[str]] = frozenset({"now"})
    name: str
    instance: str
    hostname: str
    uplink_mtu: int | None
    routes: tuple[tuple[IPNetwork, str], ...]
    resolv_conf: str
    resolved_conf: str
    hosts: str
    has_ipv6: bool
    now: str
    vtep: IPAddress | None = None
    vxlan_port: int = VXLAN_PORT
    underlay_mtu: int | None = None
    parents: tuple[ParentFact, ...] | None = None
    state: str = ""
    specs: str = ""
    needed: tuple[tuple[IPAddress, str], ...] = ()
    ipv6_off: str = ""
    sandbox_sysctls: tuple[tuple[str, str], ...] = ()
    uplinks: tuple[str, ...] = ()
    bridges: tuple[BridgeFact, ...] = ()
    place: str = ""
    is_transit_open: bool = False


class Tunnels(Struct, frozen=True, kw_only=True):
    """Between which addresses the cluster's VXLAN runs, and on which UDP ports. local: our own VTEP. peers: the other hosts'.

    own_ports: those of networks that have a part on this host.
    """

    local: IPAddress
    peers: tuple[IPAddress, ...]
    ports: tuple[int, ...]
    own_ports: tuple[int, ...]


class DesiredSubnet(Struct, frozen=True, kw_only=True):
    """A pool of a network. gateway None: nobody answers there (isolated). is_declared: the user gave the subnet.

    vni: of an overlay's subnet, 24 bits (RFC 7348). is_gateway_declared: the user gave the gateway; inspect shows the
    gateway of a declared subnet only then (what the 20.10 engine does), and always that of a chosen one.
    default_gateway: what containers use as their default route: the gateway, or aux address DefaultGatewayIPv4|6.
    """

    subnet: IPNetwork
    gateway: IPAddress | None
    default_gateway: IPAddress | None
    ip_range: IPNetwork | None = None
    aux_addresses: tuple[tuple[str, IPAddress], ...] = ()
    is_declared: bool = False
    is_gateway_declared: bool = False
    vni: int | None = None


class RemoteEndpoint(Struct, frozen=True, kw_only=True):
    """An endpoint of a global network that lives on another host, as the cluster store tells, checked.

    vtep: the other host's underlay address. name: the attachment's. names: all that it answers to, lower case.
    """

    network: str
    id: str
    name: str
    host: str
    vtep: IPAddress
    mac: str
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    names: tuple[str, ...] = ()


class DesiredNetwork(Struct, frozen=True, kw_only=True):
    """A network with its pools chosen. subnets: IPv4 first. link_name: the device that is ours on the host, "" for none.

    created: RFC 3339 with nanoseconds. mtu: bytes, of the bridge and its endpoints. ns: where the bridge is; an overlay network
    has a namespace of its own. remote_endpoints: of a global network, sorted by id. adopted: its bridge, where others made it.
    """

    wanted: NetworkWanted
    id: str
    created: str
    subnets: tuple[DesiredSubnet, ...] = ()
    link_name: str = ""
    mtu: int = 1500
    scope: str = "local"
    ns: NsRef = HOST
    remote_endpoints: tuple[RemoteEndpoint, ...] = ()
    adopted: Adopted | None = None

    @property
    def name(self) -> str:
        return self.wanted.name

    @property
    def bridge_mac(self) -> str:
        """The MAC address of its bridge on the host."""
        return bridge_mac(self.id) if self.adopted is None else self.adopted.bridge.mac

    @property
    def unit(self) -> Unit:
        return Unit(network=self.name)

    def holds_gateway(self, subnet: DesiredSubnet) -> bool:
        """Return whether the bridge itself has the gateway address, and by that the host a route to the subnet.

        On a bridge to which others gave an address of the subnet, another gateway is somebody else: a router beside the host.
        """
        is_inhibited = self.wanted.bridge_options.is_ipv4_inhibited and subnet.subnet.version == 4
        theirs = self.addresses_of_others(subnet.subnet)
        return subnet.gateway is not None and not is_inhibited and (not theirs or subnet.gateway in theirs)

    def addresses_of_others(self, subnet: IPNetwork) -> tuple[IPAddress, ...]:
        """Return the addresses of a subnet that others gave its bridge."""
        given = () if self.adopted is None else self.adopted.bridge.addresses
        return tuple(interface.ip for interface in given if interface.ip in subnet)

    @property
    def is_bridged(self) -> bool:
        """What passes its bridge is for the host's firewall to judge; nothing of a macvlan comes that way."""
        return self.link_name != "" and self.wanted.sublink is None


class DesiredEndpoint(Struct, frozen=True, kw_only=True):
    """One attachment on one network, addresses chosen.

    ifname: inside the sandbox; link_name: the veth's near side; both "" on host and none, as are the addresses None and mac "".
    gateway_ipv4/6: the default route through this network if it has one, for inspect; is_default_ipv4/6: the sandbox's
    default route goes through here, on link without a gateway (ipvlan l3). ports: what is published here, sorted. told, answer:
    what its plugin is to be told, and what it answered to just that; None on networks of our own drivers, and without an answer.
    """

    wanted: EndpointWanted
    attachment: str
    id: str
    ns: NsRef
    ifname: str = ""
    link_name: str = ""
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    mac: str = ""
    gateway_ipv4: IPv4Address | None = None
    gateway_ipv6: IPv6Address | None = None
    is_default_ipv4: bool = False
    is_default_ipv6: bool = False
    ports: tuple[PortBinding, ...] = ()
    told: PluginEndpoint | None = None
    answer: JoinAnswer | None = None

    @property
    def network(self) -> str:
        return self.wanted.network

    @property
    def unit(self) -> Unit:
        return Unit(network=self.network, attachment=self.attachment)


class DesiredLink(Struct, frozen=True, kw_only=True):
    """A link on the default bridge (docs/design/docker.md#links): `alias` leads to the attachment `target`.

    hostname: the target's own. ports: (first, last, protocol) of what it exposes or publishes.
    """

    target: str
    alias: str
    hostname: str
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    ports: tuple[tuple[int, int, str], ...] = ()


class DesiredAttachment(Struct, frozen=True, kw_only=True):
    """One sandbox with its endpoints, in the order of default-route preference (docs/design/docker.md#default-route).

    links: those on the default bridge, as declared; links on other networks are a matter of names alone. is_declared: False for one
    that is held, of which the specs that could be read say nothing.
    """

    wanted: AttachmentWanted
    id: str
    ns: NsRef
    endpoints: tuple[DesiredEndpoint, ...] = ()
    links: tuple[DesiredLink, ...] = ()
    is_declared: bool = True

    @property
    def name(self) -> str:
        return self.wanted.name

    @property
    def unit(self) -> Unit:
        return Unit(attachment=self.name)


class DesiredState(Struct, frozen=True, kw_only=True):
    """Everything, sorted by name. Units in `failures` could not be decided: they are absent here and stay as they are.

    held, held_networks: what stays as it runs, as it was promised: those that failed, and what specs may declare that cannot be
    read. Nothing is done for them, but whatever is derived from several members or networks counts them.
    withdrawn: endpoints that are absent here and go, with the reason: another host has what they need.
    remarks: what the person should know of units that are as desired, one line each. nodes: the hosts of the cluster, which plugins
    of global scope are told of, None while nobody knows them. tunnels: None where no network of the cluster is known.
    """

    host: HostFacts
    networks: tuple[DesiredNetwork, ...]
    attachments: tuple[DesiredAttachment, ...]
    failures: tuple[tuple[Unit, ReconcilerError], ...] = ()
    withdrawn: tuple[tuple[Unit, ReconcilerError], ...] = ()
    has_faults: bool = False
    remarks: tuple[tuple[Unit, str], ...] = ()
    nodes: tuple[Node, ...] | None = ()
    tunnels: Tunnels | None = None
    held: tuple[DesiredAttachment, ...] = ()
    held_networks: tuple[DesiredNetwork, ...] = ()

    @property
    def members(self) -> tuple[DesiredAttachment, ...]:
        """All that are on networks or shall be: those decided, and those held that have something."""
        return (*self.attachments, *(attachment for attachment in self.held if attachment.endpoints))
