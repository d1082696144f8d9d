"""Routes of the main table (linux/rtnetlink.h)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from struct import Struct
from typing import Final, NamedTuple

from reconciler.errors import NameConflict
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import (
    ADDRESS_SIZES,
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    CodecError,
    NetlinkRequest,
    Span,
    address_of,
    attribute,
    attributes,
    raw,
    u32,
    u32_attribute,
)
from reconciler.kinds.links import found_link, needed_link
from reconciler.kinds.row import SeenInView, Where, scripted
from reconciler.kinds.scripts import Ask, Script, check, check_gone
from reconciler.kinds.view import NamespaceView, name_of
from reconciler.model.identifiers import PROTOCOL, NsRef
from reconciler.model.objects import IPAddress, IPNetwork, Route, Seen

RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25
_RTM_GETROUTE: Final = 26
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_PRIORITY: Final = 6
_RTA_MULTIPATH: Final = 9
_RT_TABLE_MAIN: Final = 254
_RT_SCOPE_UNIVERSE: Final = 0
_RT_SCOPE_LINK: Final = 253
_RT_SCOPE_NOWHERE: Final = 255
_RTN_UNICAST: Final = 1
_RTN_LOCAL: Final = 2
_RTPROT_KERNEL: Final = 2
_RTPROT_RA: Final = 9
_RTM_F_CLONED: Final = 0x200

_RTMSG: Final = Struct("=BBBBBBBBI")
_NEXTHOP: Final = Struct("=HBBi")


class RouteEntry(NamedTuple):
    """What one RTM_NEWROUTE says. gateway: packed, b"" on link; ifindex: of the link, of the first next hop if there are several.

    metric: lower wins. is_unicast: False for blackholes and the like, whose ifindex is 0.
    """

    destination: bytes
    prefix_length: int
    gateway: bytes
    ifindex: int
    metric: int
    protocol: int
    is_unicast: bool

    @property
    def is_ours(self) -> bool:
        return self.protocol == PROTOCOL

    @property
    def is_kernel_made(self) -> bool:
        """True for the connected routes that come and go with addresses."""
        return self.protocol == _RTPROT_KERNEL

    @property
    def is_advertised(self) -> bool:
        """True for those learned from router advertisements, by the kernel or who does it in its place."""
        return self.protocol == _RTPROT_RA

    def network(self) -> IPNetwork:
        return _network(self.destination, self.prefix_length)

    def gateway_address(self) -> IPAddress | None:
        return address_of(self.gateway) if self.gateway else None


def dump_routes() -> NetlinkRequest:
    """Ask for the main table, both families; needs a socket that has strict checking on, else all tables come."""
    return NetlinkRequest(_RTM_GETROUTE, NLM_F_DUMP, _RTMSG.pack(0, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, 0, 0))


def get_route(destination: IPAddress) -> NetlinkRequest:
    """Ask which way packets to an address take."""
    fixed = _RTMSG.pack(FAMILIES[destination.version], destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return NetlinkRequest(_RTM_GETROUTE, 0, fixed + attribute(_RTA_DST, destination.packed))


def is_to_ourselves(buffer: bytes, start: int, end: int) -> bool:
    """Read the answer: whether the address is one of this namespace's own. Raises CodecError."""
    if end - start < _RTMSG.size:
        raise CodecError(f"netlink: a route in {end - start} bytes")
    return bool(_RTMSG.unpack_from(buffer, start)[7] == _RTN_LOCAL)


def new_route(
    destination: IPNetwork, gateway: IPAddress | None, ifindex: int, *, is_replacing: bool = False
) -> NetlinkRequest:
    """Put our route into the main table. is_replacing: in place of the one with this destination, without a gap."""
    scope = _RT_SCOPE_UNIVERSE if gateway is not None or destination.version == 6 else _RT_SCOPE_LINK
    body = _route(destination, gateway, ifindex, scope)
    return NetlinkRequest(RTM_NEWROUTE, NLM_F_CREATE | (NLM_F_REPLACE if is_replacing else NLM_F_EXCL), body)


def delete_route(destination: IPNetwork, gateway: IPAddress | None, ifindex: int) -> NetlinkRequest:
    """Delete a route of ours that is exactly this one."""
    return NetlinkRequest(_RTM_DELROUTE, 0, _route(destination, gateway, ifindex, _RT_SCOPE_NOWHERE))


def _route(destination: IPNetwork, gateway: IPAddress | None, ifindex: int, scope: int) -> bytes:
    family, length = FAMILIES[destination.version], destination.prefixlen
    return (
        _RTMSG.pack(family, length, 0, 0, _RT_TABLE_MAIN, PROTOCOL, scope, _RTN_UNICAST, 0)
        + (attribute(_RTA_DST, destination.network_address.packed) if length else b"")
        + u32_attribute(_RTA_OIF, ifindex)
        + (b"" if gateway is None else attribute(_RTA_GATEWAY, gateway.packed))
    )


def decode_route(buffer: bytes, start: int, end: int) -> RouteEntry | None:
    """Read the payload of an RTM_NEWROUTE; None for other families, other tables and cached copies. Raises CodecError."""
    if end - start < 12:
        raise CodecError(f"netlink: a route in {end - start} bytes")
    family, prefix_length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(buffer, start)
    size = ADDRESS_SIZES.get(family)
    if size is None or table != _RT_TABLE_MAIN or flags & _RTM_F_CLONED:
        return None
    found = attributes(buffer, start + 12, end)
    ifindex, gateway = _first_hop(buffer, found)
    destination = raw(buffer, found.get(_RTA_DST)) or bytes(size)
    if len(destination) != size or len(gateway) not in (0, size) or prefix_length > size * 8:
        raise CodecError(f"netlink: no proper destination and gateway of family {family} in RTM_NEWROUTE")
    is_unicast = kind == _RTN_UNICAST
    metric = u32(buffer, found.get(_RTA_PRIORITY))
    return RouteEntry(destination, prefix_length, gateway, ifindex if is_unicast else 0, metric, protocol, is_unicast)


def _first_hop(buffer: bytes, found: dict[int, Span]) -> tuple[int, bytes]:
    """Return link and gateway of a route, of its first next hop when it has several."""
    hops = found.get(_RTA_MULTIPATH)
    if hops is None:
        return u32(buffer, found.get(_RTA_OIF)), raw(buffer, found.get(_RTA_GATEWAY))
    if hops[1] - hops[0] < 8:
        raise CodecError("netlink: a multipath route without a next hop")
    length, _, _, ifindex = _NEXTHOP.unpack_from(buffer, hops[0])
    if length < 8 or hops[0] + length > hops[1]:
        raise CodecError(f"netlink: a next hop of {length} bytes")
    hop = attributes(buffer, hops[0] + 8, hops[0] + length)
    return ifindex, raw(buffer, hop.get(_RTA_GATEWAY))


@lru_cache(maxsize=4096)
def _network(packed: bytes, prefix_length: int) -> IPNetwork:
    kind = IPv4Network if len(packed) == 4 else IPv6Network
    return kind((packed, prefix_length), strict=False)


def observe(ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    """Yield one route for each destination, ours or else the one the kernel would take; connected routes are no objects."""
    chosen: dict[tuple[bytes, int], RouteEntry] = {}
    for entry in view.routes:
        if entry.is_unicast and not entry.is_kernel_made:
            destination = (entry.destination, entry.prefix_length)
            chosen[destination] = min(chosen.get(destination, entry), entry, key=_preference)
    for entry in chosen.values():
        ifname = name_of(view.by_index, entry.ifindex)
        route = Route(ns=ns, destination=entry.network(), gateway=entry.gateway_address(), ifname=ifname)
        yield Seen(route, is_ours=entry.is_ours)


def _preference(entry: RouteEntry) -> tuple[bool, int]:
    return (not entry.is_ours, entry.metric)


def create(route: Route, namespaces: Namespaces) -> Script:
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


def update(before: Route, route: Route, namespaces: Namespaces) -> Script:
    """Put the new one in place of the old, so that no packet finds neither. One that others put on a link of ours goes too."""
    what = f"update {route.describe()}"
    link = yield from needed_link(route.ns, route.ifname, what)
    old = yield from found_link(before.ns, before.ifname, what)
    own = {old.ifindex} if old is not None and old.is_ours else set()
    present = _present(route, namespaces)
    if present and not any(p.is_ours or p.ifindex in own for p in present):
        raise NameConflict(f"{what}: the route to {route.destination} is not ours (any more); remove it")
    yield from _replace(route, link.ifindex, what)


def remove(route: Route, _: Namespaces) -> Script:
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


_SEEN: Final = SeenInView(Where.HOST | Where.SANDBOX, observe)
ROWS = (scripted(Route, seen=_SEEN, create=create, update=update, remove=remove),)
