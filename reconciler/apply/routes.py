"""Scripts that make, change and delete routes."""

from __future__ import annotations

import errno

from reconciler.apply.scripts import Ask, Script, check, check_gone, found_link, needed_link
from reconciler.errors import NameConflict
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.routes import RouteEntry, decode_route, delete_route, dump_routes, new_route
from reconciler.model.objects import Route


def create_route(route: Route, namespaces: Namespaces) -> Script:
    what = f"create {route.describe()}"
    link = yield from needed_link(route.ns, route.ifname, what)
    reply = yield Ask(route.ns, new_route(route.destination, route.gateway, link.ifindex))
    if reply.errno != errno.EEXIST:
        check(reply, what)
        return
    present = _present(route, namespaces)
    if any((p.ifindex, p.gateway_address()) == (link.ifindex, route.gateway) for p in present):
        return
    own = {link.ifindex} if link.is_ours else set()
    if not any(p.is_ours or p.ifindex in own for p in present):
        raise NameConflict(f"{what}: another route to {route.destination} is in the way and not ours; remove it")
    yield from _replace(route, link.ifindex, what)


def update_route(before: Route, route: Route, namespaces: Namespaces) -> Script:
    """Put the new one in place of the old, so that no packet finds neither. One that others put on a link of ours goes too."""
    what = f"update {route.describe()}"
    link = yield from needed_link(route.ns, route.ifname, what)
    old = yield from found_link(before.ns, before.ifname, what)
    own = {old.ifindex} if old is not None and old.is_ours else set()
    present = _present(route, namespaces)
    if present and not any(p.is_ours or p.ifindex in own for p in present):
        raise NameConflict(f"{what}: the route to {route.destination} is not ours (any more); remove it")
    yield from _replace(route, link.ifindex, what)


def remove_route(route: Route, _: Namespaces) -> Script:
    """Routes of other makers to the same place stay: the request names our protocol number."""
    what = f"delete {route.describe()}"
    link = yield from found_link(route.ns, route.ifname, what)
    if link is not None:
        reply = yield Ask(route.ns, delete_route(route.destination, route.gateway, link.ifindex))
        check_gone(reply, what)


def _replace(route: Route, ifindex: int, what: str) -> Script:
    reply = yield Ask(route.ns, new_route(route.destination, route.gateway, ifindex, is_replacing=True))
    check(reply, what)


def _present(route: Route, namespaces: Namespaces) -> list[RouteEntry]:
    entries = namespaces.socket(route.ns).dump(dump_routes(), decode_route)
    return [entry for entry in entries if entry.network() == route.destination]
