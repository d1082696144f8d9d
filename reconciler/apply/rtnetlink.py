"""Make, change and delete links, addresses and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

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
from reconciler.model.kinds.base import Kind, OfLink
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


class Way(NamedTuple):
    """How objects of one kind are made, changed and removed; None for what does not happen, and for links, which go together."""

    create: Callable[[Any, Namespaces], Script]
    update: Callable[[Any, Any, Namespaces], Script] | None
    remove: Callable[[Any, Namespaces], Script] | None


K = TypeVar("K", bound=Kind)


def _way(
    kind: type[K],
    create: Callable[[K, Namespaces], Script],
    update: Callable[[K, K, Namespaces], Script] | None = None,
    remove: Callable[[K, Namespaces], Script] | None = None,
) -> tuple[type[Kind], Way]:
    return kind, Way(create, update, remove)


WAYS: Final[Mapping[type[Kind], Way]] = dict(
    (
        _way(Bridge, create_bridge, update_bridge),
        _way(VethPair, create_veth, update_veth),
        _way(Vxlan, create_vxlan, update_vxlan),
        _way(DeadEnd, create_dead_end, update_dead_end),
        _way(Vlan, create_vlan, update_vlan),
        _way(Macvlan, create_sublink, update_sublink),
        _way(Ipvlan, create_sublink, update_sublink),
        _way(PluginLink, create_plugin_link, remove=remove_plugin_link),
        _way(LinkUp, set_link_up),
        _way(Address, create_address, remove=remove_address),
        _way(Route, create_route, update_route, remove_route),
    )
)


def _script(operation: Operation, namespaces: Namespaces) -> Script:
    way, found = WAYS[type(operation.object)], operation.object
    if operation.action is Action.CREATE:
        return way.create(found, namespaces)
    if operation.action is Action.UPDATE and way.update is not None:
        return way.update(operation.before, found, namespaces)
    if operation.action is Action.DELETE and way.remove is not None:
        return way.remove(found, namespaces)
    raise AssertionError(f"no way to {operation.describe()}")
