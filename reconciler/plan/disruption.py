"""What traffic notices of an operation."""

from __future__ import annotations

from reconciler.model.identifiers import HOST
from reconciler.model.objects import (
    Address,
    Bridge,
    DeadEnd,
    FdbEntry,
    FirewallElement,
    Ipvlan,
    LinkUp,
    Macvlan,
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
    VethPair,
    Vlan,
    Vxlan,
)
from reconciler.model.plan import Action, Disruption

_FLAPPING_FIELDS: dict[type[Object], set[str]] = {
    Bridge: {"mac", "is_up"},
    VethPair: {"master", "peer_mac", "is_up"},
    Vxlan: {"master", "is_up"},
    DeadEnd: {"is_up"},
    Vlan: {"is_up"},
    Macvlan: {"mac"},
}
"""Changing these in place loses packets for a moment: neighbours must learn anew, or the port was down."""

_IMMUTABLE_FIELDS: dict[type[Object], frozenset[str]] = {
    VethPair: frozenset({"peer_ns", "peer_ifname"}),
    Vxlan: frozenset({"vni", "local", "port", "is_learning", "is_proxy"}),
    DeadEnd: frozenset({"has_carrier"}),
    Vlan: frozenset({"parent", "vlan_id"}),
    Macvlan: frozenset({"parent", "mode"}),
    Ipvlan: frozenset({"parent", "mode", "flag"}),
}
"""The kernel cannot change these, or not without side effects: the object is made anew."""

_TOLD_ONCE = (PluginScope, PluginNetwork, PluginEndpoint, PluginPorts)
"""The plugin protocol has no way to change anything."""


_REPLAYED = frozenset({"incarnation"})
"""A plugin that was started anew is asked again for addresses that it gave, and told again of hosts."""


def changed_fields(before: Object, after: Object) -> frozenset[str]:
    old, new = before.attributes(), after.attributes()
    return frozenset(name for name in new if new[name] != old[name])


def must_be_made_anew(before: Object, after: Object) -> bool:
    if isinstance(after, _TOLD_ONCE):
        return before != after
    if isinstance(after, (PluginNode, PluginPool, PluginAddress)):
        return bool(changed_fields(before, after) - _REPLAYED)
    return bool(changed_fields(before, after) & _IMMUTABLE_FIELDS.get(type(after), frozenset()))


def disruption_of(action: Action, before: Object | None, after: Object | None) -> Disruption:
    """Classify one operation; half of a pair that makes an object anew counts as a delete."""
    if action is Action.CREATE:
        return Disruption.NONE
    if action is Action.DELETE:
        return _of_delete(before)
    assert before is not None
    assert after is not None
    if changed_fields(before, after) & _FLAPPING_FIELDS.get(type(after), set()):
        return Disruption.FLAP
    return Disruption.LIVE if isinstance(after, _FELT) else Disruption.NONE


_FELT = (
    Bridge,
    VethPair,
    Vxlan,
    DeadEnd,
    Vlan,
    Macvlan,
    Ipvlan,
    FdbEntry,
    Neighbour,
    LinkUp,
    Address,
    Route,
    FirewallElement,
)


def _of_delete(before: Object | None) -> Disruption:
    match before:
        case Bridge() | VethPair() | Vxlan() | DeadEnd() | Vlan() | Macvlan() | Ipvlan():
            return Disruption.RECREATE
        case PluginLink() | PluginEndpoint() | PluginNetwork():
            return Disruption.RECREATE
        case Address(ns=ns):
            # Every connection of a sandbox's address dies with it. A gateway has few of its own, members only change their way out.
            return Disruption.FLAP if ns == HOST else Disruption.RECREATE
        case Route() | FirewallElement() | FdbEntry() | Neighbour() | PluginPorts():
            return Disruption.LIVE
    return Disruption.NONE
