"""Make, change and delete links, addresses and routes."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.apply.addresses import create_address, remove_address
from reconciler.apply.link_deletion import delete_links
from reconciler.apply.links import (
    create_bridge,
    create_veth,
    set_link_up,
    update_bridge,
    update_veth,
)
from reconciler.apply.plugin_links import create_plugin_link, remove_plugin_link
from reconciler.apply.routes import create_route, remove_route, update_route
from reconciler.apply.scripts import Script, run_scripts
from reconciler.apply.sublinks import (
    create_dead_end,
    create_sublink,
    create_vlan,
    update_dead_end,
    update_sublink,
    update_vlan,
)
from reconciler.apply.vxlan import create_vxlan, update_vxlan
from reconciler.kernel.netns import Namespaces
from reconciler.model.kinds.base import OfLink
from reconciler.model.objects import (
    Address,
    Bridge,
    DeadEnd,
    Ipvlan,
    LinkUp,
    Macvlan,
    PluginLink,
    Route,
    VethPair,
    Vlan,
    Vxlan,
)
from reconciler.model.plan import Action, Operation, Outcome


def apply_rtnetlink(operations: Sequence[Operation], namespaces: Namespaces) -> list[Outcome]:
    """Carry out operations on links of all kinds, addresses and routes that are independent of each other.

    Gives one outcome each, in the same order; never raises for one of them. What is already as it shall be, or gone that shall
    go, is done; a foreign object in the way is a NameConflict and stays.
    """
    doomed = {
        number: operation.before
        for number, operation in enumerate(operations)
        if operation.action is Action.DELETE
        and isinstance(operation.before, OfLink)
        and operation.before.traits.link_kind
    }
    others = [number for number in range(len(operations)) if number not in doomed]
    errors = dict(zip(doomed, delete_links(tuple(doomed.values()), namespaces), strict=True))
    # A pair's message names the open peer namespace: as many operations at once as may surely stay open together.
    size = max(1, namespaces.capacity // 2)
    for start in range(0, len(others), size):
        some = others[start : start + size]
        scripts = [_script(operations[number], namespaces) for number in some]
        errors.update(zip(some, run_scripts(scripts, namespaces), strict=True))
    return [Outcome(operation=operation, error=errors[number]) for number, operation in enumerate(operations)]


def _script(operation: Operation, namespaces: Namespaces) -> Script:
    match operation.action:
        case Action.CREATE:
            return _creation(operation, namespaces)
        case Action.UPDATE:
            return _update(operation, namespaces)
        case Action.DELETE:
            return _deletion(operation, namespaces)


def _creation(operation: Operation, namespaces: Namespaces) -> Script:
    match operation.after:
        case Bridge() as bridge:
            return create_bridge(bridge, namespaces)
        case VethPair() as pair:
            return create_veth(pair, namespaces)
        case Vxlan() as vxlan:
            return create_vxlan(vxlan, namespaces)
        case DeadEnd() as end:
            return create_dead_end(end, namespaces)
        case Vlan() as vlan:
            return create_vlan(vlan, namespaces)
        case (Macvlan() | Ipvlan()) as sublink:
            return create_sublink(sublink, namespaces)
        case PluginLink() as link:
            return create_plugin_link(link, namespaces)
        case LinkUp() as link:
            return set_link_up(link)
        case Address() as address:
            return create_address(address, namespaces)
        case Route() as route:
            return create_route(route, namespaces)
    raise AssertionError(f"no way to {operation.describe()}")


def _update(operation: Operation, namespaces: Namespaces) -> Script:
    match operation.before, operation.after:
        case Bridge() as before, Bridge() as after:
            return update_bridge(before, after, namespaces)
        case VethPair(), VethPair() as pair:
            return update_veth(pair)
        case Vxlan(), Vxlan() as vxlan:
            return update_vxlan(vxlan)
        case DeadEnd(), DeadEnd() as end:
            return update_dead_end(end, namespaces)
        case Vlan(), Vlan() as vlan:
            return update_vlan(vlan, namespaces)
        case (Macvlan(), Macvlan() as sublink) | (Ipvlan(), Ipvlan() as sublink):
            return update_sublink(sublink)
        case Route() as before, Route() as after:
            return update_route(before, after, namespaces)
    raise AssertionError(f"no way to {operation.describe()}")


def _deletion(operation: Operation, namespaces: Namespaces) -> Script:
    match operation.before:
        case Address() as address:
            return remove_address(address)
        case Route() as route:
            return remove_route(route)
        case PluginLink() as link:
            return remove_plugin_link(link, namespaces)
    raise AssertionError(f"no way to {operation.describe()}")
