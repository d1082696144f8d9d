"""The links that plugins make: moved into sandboxes and back, and told from links that are none of theirs to give."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from reconciler.errors import NameConflict, PluginError
from reconciler.kernel.links import (
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_NET_NS_FD,
    LOOPBACK_INDEX,
    PLUGIN_GROUP,
    RTM_NEWLINK,
    Link,
    decode_link,
    dump_links,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import NetlinkRequest, attribute, mac_attribute, text_attribute, u32_attribute
from reconciler.kinds.address import decode_address, dump_addresses
from reconciler.kinds.links import foreign, found_link
from reconciler.kinds.route import decode_route, dump_routes
from reconciler.kinds.row import SeenInView, Where, scripted
from reconciler.kinds.scripts import Ask, Script, check
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import HOST, PLUGIN_ALIAS, NsRef, is_link_name
from reconciler.model.objects import PluginLink, Seen

_NO_GROUP: Final = 0
_ANY_NAME: Final = "plugin%d"
"""What a link is called whose old name is another's by now; the kernel puts a number in."""


def move_in(ifindex: int, ns_fd: int, ifname: str, alias: str, mac: str) -> NetlinkRequest:
    """Move a link of a plugin into the namespace behind `ns_fd`, under another name, and mark it: all in one message.

    mac: "" leaves it. The kernel moves first (do_setlink in net/core/rtnetlink.c), down and without its addresses; where the name
    is taken it has moved all the same, and answers EEXIST.
    """
    return _moved(ifindex, ns_fd, ifname, PLUGIN_GROUP, alias, mac_attribute(IFLA_ADDRESS, mac) if mac else b"")


def move_back(ifindex: int, ns_fd: int, ifname: str) -> NetlinkRequest:
    """Move such a link back, without our mark. ifname: one with %d is numbered."""
    return _moved(ifindex, ns_fd, ifname, _NO_GROUP, "")


def _moved(ifindex: int, ns_fd: int, ifname: str, group: int, alias: str, more: bytes = b"") -> NetlinkRequest:
    body = (
        IFINFO.pack(0, 0, ifindex, 0, IFF_UP)
        + u32_attribute(IFLA_NET_NS_FD, ns_fd)
        + text_attribute(IFLA_IFNAME, ifname)
        + u32_attribute(IFLA_GROUP, group)
        + attribute(IFLA_IFALIAS, alias.encode())
        + more
    )
    return NetlinkRequest(RTM_NEWLINK, 0, body)


def observe(ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    """Yield the links that were moved there; where they are from stands in their alias, unless somebody changed it."""
    for link in view.links:
        if link.is_a_plugins:
            endpoint, _, src_name = link.alias.removeprefix(PLUGIN_ALIAS).partition(":")
            if not (link.alias.startswith(PLUGIN_ALIAS) and is_link_name(src_name)):
                endpoint = src_name = ""
            found = PluginLink(ns=ns, ifname=link.ifname, mac=link.mac, src_name=src_name, endpoint=endpoint)
            yield Seen(found, is_ours=True)


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
    if link.ifindex == LOOPBACK_INDEX:
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


def create(wanted: PluginLink, namespaces: Namespaces) -> Script:
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


def remove(found: PluginLink, namespaces: Namespaces) -> Script:
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


ROWS = (
    scripted(
        PluginLink,
        seen=SeenInView(Where.SANDBOX | Where.UNNAMED, observe),
        create=create,
        update=None,
        remove=remove,
    ),
)
