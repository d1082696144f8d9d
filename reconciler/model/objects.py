"""What a host is made of: one small frozen value per kernel object, firewall element, file or record.

Every object has a `key` (what it is: kind, namespace, name) and fields (how it shall be). Drivers give sets of
them, `observe` gives those that exist, `plan` compares the two key by key: equal means nothing to do, so a field that the
kernel cannot tell back does not belong here. `unit` says on whose behalf the object exists and is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.ip import IPAddress, IPInterface, IPNetwork
from reconciler.model.kinds.address import Address
from reconciler.model.kinds.base import Key, Plain
from reconciler.model.kinds.bridge import Bridge
from reconciler.model.kinds.cluster_record import ClusterRecord
from reconciler.model.kinds.container_file import ContainerFile
from reconciler.model.kinds.dead_end import DeadEnd
from reconciler.model.kinds.fdb_entry import FdbEntry
from reconciler.model.kinds.firewall_element import FirewallElement
from reconciler.model.kinds.firewall_rules import FirewallRules
from reconciler.model.kinds.ipvlan import Ipvlan
from reconciler.model.kinds.kv_record import KvRecord
from reconciler.model.kinds.link_up import LinkUp
from reconciler.model.kinds.macvlan import Macvlan
from reconciler.model.kinds.name_tables import NameTables
from reconciler.model.kinds.namespace import Namespace
from reconciler.model.kinds.neighbour import Neighbour
from reconciler.model.kinds.plugin_address import PluginAddress
from reconciler.model.kinds.plugin_endpoint import PluginEndpoint
from reconciler.model.kinds.plugin_link import PluginLink
from reconciler.model.kinds.plugin_network import PluginNetwork
from reconciler.model.kinds.plugin_node import PluginNode
from reconciler.model.kinds.plugin_pool import PluginPool
from reconciler.model.kinds.plugin_ports import PluginPorts
from reconciler.model.kinds.plugin_scope import PluginScope
from reconciler.model.kinds.route import Route
from reconciler.model.kinds.sandbox_file import SandboxFile
from reconciler.model.kinds.sysctl import Sysctl
from reconciler.model.kinds.veth_pair import VethPair
from reconciler.model.kinds.vlan import Vlan
from reconciler.model.kinds.vxlan import Vxlan
from reconciler.model.units import CLUSTER_UNIT, HOST_UNIT, NAMES_UNIT, SERVICES, STATUS_UNIT, Unit, nodes_unit

__all__ = [
    "CLUSTER_UNIT",
    "HOST_UNIT",
    "NAMES_UNIT",
    "SERVICES",
    "STATUS_UNIT",
    "Address",
    "Bridge",
    "ClusterRecord",
    "ContainerFile",
    "DeadEnd",
    "FdbEntry",
    "FirewallElement",
    "FirewallRules",
    "IPAddress",
    "IPInterface",
    "IPNetwork",
    "Ipvlan",
    "Key",
    "KvRecord",
    "LinkUp",
    "Macvlan",
    "NameTables",
    "Namespace",
    "Neighbour",
    "Object",
    "Plain",
    "PluginAddress",
    "PluginCall",
    "PluginEndpoint",
    "PluginLease",
    "PluginLink",
    "PluginNetwork",
    "PluginNode",
    "PluginPool",
    "PluginPorts",
    "PluginScope",
    "Route",
    "SandboxFile",
    "Seen",
    "Sysctl",
    "Unit",
    "VethPair",
    "Vlan",
    "Vxlan",
    "nodes_unit",
]

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
