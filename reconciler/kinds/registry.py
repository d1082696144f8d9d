"""All kinds of objects: their modules, and what every stage that deals with several kinds asks of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final

from reconciler.kernel.links import Link
from reconciler.kernel.netns import Namespaces
from reconciler.kinds import (
    address,
    adopted,
    bridge,
    cluster_record,
    container_file,
    firewall,
    kv_record,
    link_up,
    name_tables,
    namespace,
    neighbours,
    plugin_link,
    plugins,
    route,
    sandbox_file,
    sublinks,
    sysctl,
    veth_pair,
    vlan,
    vxlan,
)
from reconciler.kinds.links import delete_links
from reconciler.kinds.row import Row, Scripts, SeenInLink, SeenInView, Where
from reconciler.kinds.scripts import Script, run_scripts
from reconciler.kinds.view import Links, NamespaceView, Peers
from reconciler.kinds.world import Handler, World
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import Kind, OfLink
from reconciler.model.objects import Seen
from reconciler.model.plan import Action, Operation, Outcome

_MODULES: Final = (
    *(namespace, bridge, adopted, veth_pair, vxlan, vlan, sublinks, plugin_link, link_up, sysctl, address, route),
    *(neighbours, firewall, sandbox_file, container_file, name_tables, kv_record, cluster_record, plugins),
)

ROWS: Final[Mapping[type[Kind], Row]] = {row.kind: row for module in _MODULES for row in module.ROWS}

_IN_LINK: Final = {
    row.kind.traits.link_kind: row.seen.observe for row in ROWS.values() if isinstance(row.seen, SeenInLink)
}
_IN_VIEW: Final = {
    where: [row.seen.observe for row in ROWS.values() if isinstance(row.seen, SeenInView) and where in row.seen.where]
    for where in Where
}


def objects_in_link(ns: NsRef, link: Link, links: Links, peers: Peers) -> Iterable[Seen]:
    """Return what a link of the host or of an overlay network is. links: all there; peers: far ends of pairs."""
    observe = _IN_LINK.get(link.kind) if link.is_ours and not link.is_a_plugins else None
    return bridge.observe_foreign(ns, link) if observe is None else observe(ns, link, links, peers)


def objects_in_view(where: Where, ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    """Yield what such a namespace holds besides links."""
    return chain.from_iterable(observe(ns, view) for observe in _IN_VIEW[where])


def handlers(world: World) -> Mapping[type[Kind], Handler]:
    """Return who carries out operations on which kind of object; one for all that are carried out together."""
    made = {kind: _apply_scripts if isinstance(row.made, Scripts) else row.made for kind, row in ROWS.items()}
    bound = {apply: partial(apply, world=world) for apply in set(made.values())}
    return {kind: bound[apply] for kind, apply in made.items()}


def _apply_scripts(operations: Sequence[Operation], world: World) -> list[Outcome]:
    """Carry out operations on what is made by scripts. What is already as it shall be, or gone that shall go, is done.

    A foreign object in the way is a NameConflict and stays.
    """
    doomed = {
        number: operation.before
        for number, operation in enumerate(operations)
        if operation.action is Action.DELETE
        and isinstance(operation.before, OfLink)
        and operation.before.traits.link_kind
    }
    others = [number for number in range(len(operations)) if number not in doomed]
    errors = dict(zip(doomed, delete_links(tuple(doomed.values()), world.namespaces), strict=True))
    # A pair's message names the open peer namespace: as many operations at once as may surely stay open together.
    size = max(1, world.namespaces.capacity // 2)
    for start in range(0, len(others), size):
        some = others[start : start + size]
        scripts = [_script(operations[number], world.namespaces) for number in some]
        errors.update(zip(some, run_scripts(scripts, world.namespaces), strict=True))
    return [Outcome(operation=operation, error=errors[number]) for number, operation in enumerate(operations)]


def _script(operation: Operation, namespaces: Namespaces) -> Script:
    found, scripts = operation.object, ROWS[type(operation.object)].made
    assert isinstance(scripts, Scripts)
    if operation.action in (Action.CREATE, Action.ADOPT):
        return scripts.create(found, namespaces)
    if operation.action is Action.UPDATE and scripts.update is not None:
        return scripts.update(operation.before, found, namespaces)
    if operation.action.is_removal and scripts.remove is not None:
        return scripts.remove(found, namespaces)
    raise AssertionError(f"no way to {operation.describe()}")
