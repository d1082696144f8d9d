"""In which order operations are carried out.

Promises are written before anything is touched and taken back last of all; other hosts' view of us likewise, networks before
their members and endpoints. What is to go goes from the outside in (published ports,
names, files, routes, addresses, pairs, bridges, namespaces), then the firewall changes in one transaction while the links it guards
are either gone or not yet there (in an overlay network's namespace as soon as that is there), then what is to come is made from the
inside out. Plugins are spoken to when all that is done: one that hangs delays nothing else.
"""

from __future__ import annotations

from reconciler.model.identifiers import FORWARDING, HOST
from reconciler.model.objects import (
    Address,
    Bridge,
    ClusterRecord,
    ContainerFile,
    DeadEnd,
    FdbEntry,
    FirewallElement,
    FirewallRules,
    Ipvlan,
    KvRecord,
    LinkUp,
    Macvlan,
    Namespace,
    NameTables,
    Neighbour,
    Object,
    PluginAddress,
    PluginEndpoint,
    PluginLink,
    PluginNetwork,
    PluginNode,
    PluginPool,
    PluginPorts,
    PluginScope,
    Route,
    SandboxFile,
    Sysctl,
    VethPair,
    Vlan,
    Vxlan,
)
from reconciler.model.plan import Action, Operation

Step = tuple[int, int]
"""Phase, then rank within the phase. Operations of one step are independent of each other."""

_RANKS: dict[type[Object], int] = {
    Namespace: 10,
    Bridge: 20,
    DeadEnd: 20,
    Vlan: 20,
    Vxlan: 25,
    FdbEntry: 27,
    Neighbour: 27,
    VethPair: 30,
    Macvlan: 30,
    Ipvlan: 30,
    PluginLink: 30,
    Sysctl: 40,
    LinkUp: 50,
    Address: 60,
    Route: 70,
    SandboxFile: 80,
    ContainerFile: 85,
    NameTables: 90,
}

_PLUGIN_RANKS: dict[type[Object], int] = {
    PluginScope: 5,
    PluginNode: 10,
    PluginPool: 15,
    PluginNetwork: 20,
    PluginAddress: 25,
    PluginEndpoint: 30,
    PluginPorts: 40,
}
"""Created upwards, deleted downwards (docs/design/docker.md#plugins)."""

_INSIDE = 15
"""Of the firewall in a namespace of ours: when that is there, and before its links are."""

PUBLISHING_SETS = ("published",)
"""How the names of sets begin whose elements lead traffic in: filled when everything behind them stands, emptied before it goes."""


def step(operation: Operation) -> Step:
    """Say when an operation is carried out."""
    is_delete = operation.action is Action.DELETE
    match operation.object:
        case KvRecord():
            return (6, 0) if is_delete else (0, 0)
        case ClusterRecord(path=path):
            return (6, -_depth(path)) if is_delete else (0, _depth(path))
        case FirewallElement(set_name=name) if name.startswith(PUBLISHING_SETS):
            return (1, 0) if is_delete else (5, 0)
        case FirewallRules(ns=ns) | FirewallElement(ns=ns) if ns != HOST:
            return (4, _INSIDE)
        case FirewallRules() | FirewallElement():
            return (3, 0)
        case told if type(told) in _PLUGIN_RANKS:
            rank = _PLUGIN_RANKS[type(told)]
            return (5, 100 - rank) if is_delete else (5, 100 + rank)
        case Sysctl(ns=ns) as setting if ns == HOST:
            return (4, _RANKS[Sysctl] + _turn(setting))
        case Route(gateway=gateway) if gateway is None and not is_delete:
            return (4, _RANKS[Route] - 1)  # what leads to a gateway comes before what leads through it
        case found:
            rank = _RANKS[type(found)]
            return (2, -rank) if is_delete else (4, rank)


def _turn(setting: Sysctl) -> int:
    """Have links heed routers whatever happens before the host begins to forward, and as before when all else is put back.

    Whichever link begins to forward, the kernel forgets the routers of all that do not (rt6_purge_dflt_routers). What the
    switch of the host overrides is put back after it.
    """
    if setting.name.endswith("/accept_ra"):
        return -1 if setting.value == "2" else 2
    return 0 if setting.name in FORWARDING.values() else 1


def _depth(path: str) -> int:
    """Records deeper in the tree speak of those above: `networks/N` before `network/N/members/H`; 1 at the least."""
    return path.count("/")
