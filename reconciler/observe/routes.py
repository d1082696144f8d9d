"""From dumped routes to the objects and facts that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.kernel.routes import RouteEntry
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import IPNetwork, Route, Seen


def unicast_routes(ns: NsRef, entries: Iterable[RouteEntry], names: Mapping[int, str]) -> Iterator[Seen]:
    """Yield one route for each destination, ours or else the one the kernel would take; connected routes are no objects."""
    chosen: dict[tuple[bytes, int], RouteEntry] = {}
    for entry in entries:
        if entry.is_unicast and not entry.is_kernel_made:
            destination = (entry.destination, entry.prefix_length)
            chosen[destination] = min(chosen.get(destination, entry), entry, key=_preference)
    for entry in chosen.values():
        route = Route(
            ns=ns,
            destination=entry.network(),
            gateway=entry.gateway_address(),
            ifname=names.get(entry.ifindex, ""),
        )
        yield Seen(route, is_ours=entry.is_ours)


def used_destinations(entries: Iterable[RouteEntry], foreign: Mapping[int, str]) -> Iterator[tuple[IPNetwork, str]]:
    """Yield what foreign routes lead to and by which link, default routes left out; a blackhole has the link ""."""
    for entry in entries:
        is_foreign = entry.ifindex in foreign or not entry.is_unicast
        if entry.prefix_length and is_foreign and not entry.is_ours:
            yield entry.network(), foreign.get(entry.ifindex, "")


def uplink_index(entries: Iterable[RouteEntry]) -> int | None:
    """Return the link of the default route: IPv4 before IPv6, the lowest metric; None without one."""
    defaults = [entry for entry in entries if not entry.prefix_length and entry.is_unicast]
    best = min(defaults, key=lambda entry: (len(entry.destination), entry.metric), default=None)
    return best.ifindex if best else None


def advertised_indexes(entries: Iterable[RouteEntry]) -> frozenset[int]:
    """Return the links by which routers made themselves known."""
    return frozenset(entry.ifindex for entry in entries if entry.is_advertised)


def _preference(entry: RouteEntry) -> tuple[bool, int]:
    return (not entry.is_ours, entry.metric)
