"""What a host is made of: one small frozen value per kernel object, firewall element, file or record.

Every object has a `key` (what it is: kind, namespace, name) and fields (how it shall be). Drivers give sets of
them, `observe` gives those that exist, `plan` compares the two key by key: equal means nothing to do, so a field that the
kernel cannot tell back does not belong here. `unit` says on whose behalf the object exists and is not compared.
"""

from __future__ import annotations

from msgspec import Struct

from reconciler.model.ip import IPAddress as IPAddress
from reconciler.model.ip import IPInterface as IPInterface
from reconciler.model.ip import IPNetwork as IPNetwork
from reconciler.model.kinds.address import Address as Address
from reconciler.model.kinds.adopted import AdoptedBridge as AdoptedBridge
from reconciler.model.kinds.base import Key as Key
from reconciler.model.kinds.base import Plain as Plain
from reconciler.model.kinds.bridge import Bridge as Bridge
from reconciler.model.kinds.bridge import DeadEnd as DeadEnd
from reconciler.model.kinds.cluster_record import ClusterRecord as ClusterRecord
from reconciler.model.kinds.container_file import ContainerFile as ContainerFile
from reconciler.model.kinds.firewall import FirewallElement as FirewallElement
from reconciler.model.kinds.firewall import FirewallRules as FirewallRules
from reconciler.model.kinds.kv_record import KvRecord as KvRecord
from reconciler.model.kinds.link_up import LinkUp as LinkUp
from reconciler.model.kinds.name_tables import NameTables as NameTables
from reconciler.model.kinds.namespace import Namespace as Namespace
from reconciler.model.kinds.neighbours import FdbEntry as FdbEntry
from reconciler.model.kinds.neighbours import Neighbour as Neighbour
from reconciler.model.kinds.plugin_link import PluginLink as PluginLink
from reconciler.model.kinds.plugins import PluginAddress as PluginAddress
from reconciler.model.kinds.plugins import PluginEndpoint as PluginEndpoint
from reconciler.model.kinds.plugins import PluginNetwork as PluginNetwork
from reconciler.model.kinds.plugins import PluginNode as PluginNode
from reconciler.model.kinds.plugins import PluginPool as PluginPool
from reconciler.model.kinds.plugins import PluginPorts as PluginPorts
from reconciler.model.kinds.plugins import PluginScope as PluginScope
from reconciler.model.kinds.route import Route as Route
from reconciler.model.kinds.sandbox_file import SandboxFile as SandboxFile
from reconciler.model.kinds.sublinks import Ipvlan as Ipvlan
from reconciler.model.kinds.sublinks import Macvlan as Macvlan
from reconciler.model.kinds.sysctl import Sysctl as Sysctl
from reconciler.model.kinds.veth_pair import VethPair as VethPair
from reconciler.model.kinds.vlan import Vlan as Vlan
from reconciler.model.kinds.vxlan import Vxlan as Vxlan
from reconciler.model.units import CLUSTER_UNIT as CLUSTER_UNIT
from reconciler.model.units import HOST_UNIT as HOST_UNIT
from reconciler.model.units import NAMES_UNIT as NAMES_UNIT
from reconciler.model.units import SERVICES as SERVICES
from reconciler.model.units import STATUS_UNIT as STATUS_UNIT
from reconciler.model.units import Unit as Unit
from reconciler.model.units import nodes_unit as nodes_unit

Object = (
    Namespace
    | Bridge
    | AdoptedBridge
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


class Seen(Struct, frozen=True):
    """An object that exists. is_ours: it carries our mark, so it may be changed or deleted."""

    object: Object
    is_ours: bool


def objects_differ(one: object, other: object) -> bool:
    """Return whether two objects differ, either of which may be missing: by their units too, which are not compared."""
    return one is not other and (one != other or _unit(one) != _unit(other))


def seen_differ(one: object, other: object) -> bool:
    """Return the same of two that exist."""
    return one is not other and (
        one != other or (isinstance(one, Seen) and isinstance(other, Seen) and objects_differ(one.object, other.object))
    )


def _unit(found: object) -> object:
    return getattr(found, "unit", None)
