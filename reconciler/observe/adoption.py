"""Bridges of others that networks adopt: how they are, and which program runs them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from reconciler.kernel.links import Link
from reconciler.kernel.processes import command, pids
from reconciler.kinds.address import AddressEntry
from reconciler.kinds.adopted import promotes_secondaries
from reconciler.kinds.ipv6 import ipv6_of
from reconciler.kinds.view import NamespaceView
from reconciler.model.adoption import BridgeFact, Found

_MANAGERS: Final = (
    (re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}"), ("dockerd",)),
    (re.compile(r"virbr\d+"), ("libvirtd", "virtnetworkd")),
    (re.compile(r"lxdbr\d+|lxcbr\d+|incusbr\d+"), ("lxd", "incusd")),
    (re.compile(r"cni\d+|cbr\d+"), ("kubelet", "k3s-server", "k3s-agent")),
)
"""Names that programs give their bridges, and the programs: those keep bridges as they think best while they run."""


def bridges_of_others(host: NamespaceView, names: Collection[str]) -> tuple[BridgeFact, ...]:
    """Return those of these names that there are. host: its own namespace."""
    links = [link for link in host.bridges_of_others if link.ifname in names] if names else []
    return tuple(_fact(link, host) for link in sorted(links, key=lambda link: link.ifname))


def _fact(link: Link, host: NamespaceView) -> BridgeFact:
    on_it = [e for e in host.addresses if e.ifindex == link.ifindex and not e.is_ours and not e.is_kernel_made]
    return BridgeFact(
        ifname=link.ifname,
        mac=link.mac,
        mtu=link.mtu,
        is_up=link.is_up,
        has_ipv6=ipv6_of(link).is_on,
        addresses=tuple(entry.interface() for entry in on_it),
        manager="" if link.is_adopted else manager_of(link.ifname),
        found=None if link.is_adopted else _found(link, on_it, host),
    )


def _found(link: Link, addresses: Collection[AddressEntry], host: NamespaceView) -> Found:
    return Found(
        network="",
        ifname=link.ifname,
        ifindex=link.ifindex,
        mac=link.mac,
        mtu=link.mtu,
        is_up=link.is_up,
        has_ipv6=ipv6_of(link).is_on,
        promotes_secondaries=promotes_secondaries(link),
        alias=link.alias,
        group=link.group,
        addresses=tuple(str(entry.interface()) for entry in addresses),
        ports=tuple(sorted(port.ifname for port in host.foreign if port.master == link.ifindex)),
    )


def manager_of(ifname: str) -> str:
    """Return the running program whose bridges have such names, in words; "" for none."""
    programs = next((programs for names, programs in _MANAGERS if names.fullmatch(ifname)), ())
    running = ((command(pid), pid) for pid in (pids() if programs else ()))
    return next((f"{name} (process {pid})" for name, pid in running if name in programs), "")
