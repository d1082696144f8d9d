"""What choices depend on, read from the host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.errors import refuse_passing
from reconciler.incremental import Kept
from reconciler.kernel.place import place
from reconciler.kernel.sysctl import read_sysctl
from reconciler.kv.address import store_addresses
from reconciler.model.adoption import BridgeFact
from reconciler.model.desired import HostFacts, ParentFact
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.observe.sysctls import sandbox_defaults
from reconciler.records.file import beginning
from reconciler.settings import Settings, advertised

if TYPE_CHECKING:  # `validate` makes facts of a host too, and looks at none
    from reconciler.kinds.route import RouteEntry
    from reconciler.kinds.view import NamespaceView

_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
_HOSTS = Path("/etc/hosts")
HOST_FILES = (_RESOLV_CONF, _RESOLVED_CONF, _HOSTS)
"""What sandboxes are given depends on these."""

OF_HARDWARE = ("", "bond", "team", "vlan")
"""Kinds of links that lead out of this machine: cards, which have none, several in one, and parts of one."""

_MACHINE_ID = Path("/etc/machine-id")
_IPV6_OFF = "net/ipv6/conf/{}/disable_ipv6"
_FILE_MAX = 1 << 20


class OfView(NamedTuple):
    """What follows from the host's own links, addresses and routes. The fields are those of `HostFacts`."""

    uplink_mtu: int | None
    underlay_mtu: int | None
    routes: tuple[tuple[IPNetwork, str], ...]
    needed: tuple[tuple[IPAddress, str], ...]
    vtep: IPAddress | None
    parents: tuple[ParentFact, ...] | None
    uplinks: tuple[str, ...]


def host_facts(
    settings: Settings,
    host: NamespaceView,
    now: str,
    parents: frozenset[str] | None = None,
    bridges: tuple[BridgeFact, ...] = (),
    ask: Kept | None = None,
) -> HostFacts:
    """Return the facts. host: its own namespace; now: RFC 3339 with nanoseconds; parents: names of links to tell of, if there.

    None: it was not looked for any. bridges: those of others that networks adopt. ask: of one who looks again.
    """
    ipv6_off = {which: read_sysctl(_IPV6_OFF.format(which)) for which in ("all", "lo")}
    return HostFacts(
        name=settings.host,
        instance=settings.instance,
        hostname=os.uname().nodename,
        resolv_conf=_text(_RESOLV_CONF),
        resolved_conf=_text(_RESOLVED_CONF),
        hosts=_text(_HOSTS),
        has_ipv6=ipv6_off["all"] is not None,
        now=now,
        state=settings.state_folder,
        specs=settings.specs_folder,
        ipv6_off=next((which for which, is_off in ipv6_off.items() if is_off == "1"), ""),
        sandbox_sysctls=sandbox_defaults(),
        bridges=bridges,
        place=place(),
        is_transit_open=settings.is_transit_open,
        **(ask or Kept())(_of_view, settings, host, parents)._asdict(),
    )


def _of_view(settings: Settings, host: NamespaceView, parents: frozenset[str] | None) -> OfView:
    foreign = {link.ifindex: link.ifname for link in host.foreign}
    uplink = uplink_index(host.routes)
    vtep, underlay = _vtep(settings, host)
    return OfView(
        uplink_mtu=next((link.mtu for link in host.links if link.ifindex == uplink), None),
        underlay_mtu=next((link.mtu for link in host.links if link.ifindex == underlay), None),
        routes=tuple(used_destinations(host.routes, foreign)),
        needed=tuple(_needed(settings, host)),
        vtep=vtep,
        parents=None if parents is None else tuple(_parents(host, parents)),
        uplinks=tuple(_uplinks(host)),
    )


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


def _needed(settings: Settings, host: NamespaceView) -> Iterator[tuple[IPAddress, str]]:
    """Yield the addresses that no network may hide: the host's own, its gateways, the cluster's store."""
    foreign = {link.ifindex: link.ifname for link in host.foreign}
    for entry in host.addresses:
        address = ip_address(entry.address)
        if entry.ifindex in foreign and not (address.is_loopback or address.is_link_local):
            yield address, f"the host's own address {address} of {foreign[entry.ifindex]}"
    for route in host.routes:
        gateway = route.gateway_address()
        if not route.prefix_length and gateway is not None and not gateway.is_link_local:
            yield gateway, f"the gateway {gateway} of the host's default route"
    for address in store_addresses(settings.cluster_store):
        if not address.is_loopback:
            yield address, f"the cluster's store at {address}"


def _uplinks(host: NamespaceView) -> Iterator[str]:
    """Yield the links on which routers may speak to this host: those where they do, and those of hardware that none spoke on yet.

    Not bridges and pairs, on which sandboxes and machines of others are.
    """
    advertised = advertised_indexes(host.routes)
    for link in host.foreign:
        is_of_hardware = link.kind in OF_HARDWARE and not link.master and link.ifname != "lo"
        if link.ifindex in advertised or is_of_hardware:
            yield link.ifname


def machine_id() -> str:
    """Return what tells this machine from all others, "" where nothing does. Raises KernelError."""
    return _text(_MACHINE_ID).strip()


def _vtep(settings: Settings, host: NamespaceView) -> tuple[IPAddress | None, int]:
    """Return the address that other hosts reach this one by, and the index of its link; None where it is not here (yet)."""
    if not settings.cluster_advertise:
        return None, 0
    wanted = advertised(settings.cluster_advertise)
    names = {link.ifindex: link.ifname for link in host.foreign}
    found = [(ip_address(entry.address), entry.ifindex) for entry in host.addresses if entry.ifindex in names]
    found = [
        (address, ifindex)
        for address, ifindex in found
        if (address == wanted.address or names[ifindex] == wanted.ifname)
        and not (address.is_loopback or address.is_link_local)
    ]
    return min(found, key=lambda place: (place[0].version, place[1]), default=(None, 0))


def _parents(host: NamespaceView, names: frozenset[str]) -> Iterator[ParentFact]:
    for link in sorted(host.links, key=lambda link: link.ifname) if names else ():
        if link.ifname in names:
            yield ParentFact(ifname=link.ifname, mtu=link.mtu, is_ours=link.is_ours)


def _text(path: Path) -> str:
    """Return the text of a regular file, its first MiB; "" when there is none that can be read. Raises KernelError."""
    try:
        return beginning(path, _FILE_MAX)
    except OSError as error:
        refuse_passing(error, f"read {path}")
        return ""
