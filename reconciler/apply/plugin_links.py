"""Moving the links that plugins make into sandboxes and back, and telling them from links that are none of theirs to give."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from reconciler.apply.scripts import Ask, Script, check, foreign, found_link
from reconciler.errors import NameConflict, PluginError
from reconciler.kernel.addresses import decode_address, dump_addresses
from reconciler.kernel.links import Link, decode_link, dump_links, move_back, move_in
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.routes import decode_route, dump_routes
from reconciler.model.identifiers import HOST, PLUGIN_ALIAS
from reconciler.model.objects import PluginLink

_LOOPBACK_INDEX = 1
_ANY_NAME = "plugin%d"
"""What a link is called whose old name is another's by now; the kernel puts a number in."""


def host_link(src_name: str, namespaces: Namespaces) -> Link:
    """Find the link of the host that a plugin says it made for a sandbox.

    Raises PluginError when there is none, or when the host or somebody else uses it: a plugin may name any. A link that was there
    before and is not in use may be given away, as some plugins hand out devices.
    """
    links = namespaces.socket(HOST).dump(dump_links(), decode_link)
    link = next((link for link in links if link.ifname == src_name), None)
    if link is None:
        raise PluginError(f"the plugin names interface {src_name}, but there is none on the host")
    reason = next(_uses(link, links, namespaces), None)
    if reason is not None:
        raise PluginError(f"the plugin names interface {src_name}, which is not for it to give: {reason}")
    return link


def _uses(link: Link, links: list[Link], namespaces: Namespaces) -> Iterator[str]:
    if link.ifindex == _LOOPBACK_INDEX:
        yield "it is the host's loopback"
    if link.is_ours:
        yield "it is one of ours"
    if link.kind == "bridge":
        yield "it is a bridge"
    if link.master:
        yield "it is a port of another link"
    for other in links:
        if other.master == link.ifindex:
            yield f"{other.ifname} is a port of it"
        is_stacked = other.peer == link.ifindex and other.peer_nsid == -1 and other.kind != "veth"
        if is_stacked and other.ifindex != link.ifindex:
            yield f"{other.ifname} stands on it"
    addresses = namespaces.socket(HOST).dump(dump_addresses(), decode_address)
    if any(address.ifindex == link.ifindex and not address.is_kernel_made for address in addresses):
        yield "it has an address"
    routes = namespaces.socket(HOST).dump(dump_routes(), decode_route)
    if any(route.ifindex == link.ifindex and not route.is_kernel_made for route in routes):
        yield "routes of the host lead through it"


def create_plugin_link(wanted: PluginLink, namespaces: Namespaces) -> Script:
    """Move it in. One that is there already, of the same endpoint, serves as well."""
    what = f"create {wanted.describe()}"
    present = yield from found_link(wanted.ns, wanted.ifname, what)
    alias = _alias(wanted)
    if present is not None:
        if not (present.is_a_plugins and present.alias == alias):
            raise foreign(present, wanted.ns)
        return
    link = host_link(wanted.src_name, namespaces)
    if link.ifindex != wanted.src_index:
        raise PluginError(f"{what}: another link has its name by now")
    reply = yield Ask(HOST, move_in(link.ifindex, namespaces.fd(wanted.ns), wanted.ifname, alias, wanted.mac))
    if reply.errno == errno.EEXIST:
        yield from _back_again(wanted, namespaces, what)
        raise NameConflict(f"{what}: another link there has its name; remove or rename it")
    check(reply, what)


def _back_again(wanted: PluginLink, namespaces: Namespaces, what: str) -> Script:
    """Take back a link that could not be renamed: the kernel moves it before it finds out (do_setlink)."""
    stray = yield from found_link(wanted.ns, wanted.src_name, what)
    if stray is not None and (yield from found_link(HOST, wanted.src_name, what)) is None:
        yield Ask(wanted.ns, move_back(stray.ifindex, namespaces.fd(HOST), wanted.src_name))


def remove_plugin_link(found: PluginLink, namespaces: Namespaces) -> Script:
    """Move it back to the host, as the engine does: it is the plugin's to delete."""
    what = f"move {found.describe()} back"
    link = yield from found_link(found.ns, found.ifname, what)
    if link is None:
        return
    if not link.is_a_plugins:
        raise foreign(link, found.ns)
    is_free = bool(found.src_name) and (yield from found_link(HOST, found.src_name, what)) is None
    name = found.src_name if is_free else _ANY_NAME
    check((yield Ask(found.ns, move_back(link.ifindex, namespaces.fd(HOST), name))), what)


def _alias(link: PluginLink) -> str:
    return f"{PLUGIN_ALIAS}{link.endpoint}:{link.src_name}"
