"""Several hosts on one switch: namespaces that play them, joined by a namespace with a bridge. For tests, demo and bench."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from reconciler.model.objects import IPAddress
from tests.machine import Machine

SWITCH = "switch"
UPLINK = "underlay0"


def hosts_on_switch(
    machine: Machine, names: Sequence[str], *, underlay: str = "198.51.100.0/24", mtu: int = 1500
) -> dict[str, IPAddress]:
    """Make a namespace per host with the interface `underlay0`, and give their addresses: the first ones of `underlay`."""
    subnet = ip_network(underlay)
    addresses = {name: ip_address(subnet[number]) for number, name in enumerate(names, 1)}
    for ns in (SWITCH, *names):
        machine.add_namespace(ns)
    lines = [f"link add sw0 mtu {mtu} up type bridge"]
    for number, name in enumerate(names, 1):
        peer = f"type veth peer {UPLINK} mtu {mtu} netns {name}"
        lines.append(f"link add {port_of(number)} mtu {mtu} master sw0 {peer}")
    machine.ip_batch(SWITCH, *lines)
    nodad = " nodad" if subnet.version == 6 else ""
    for number, name in enumerate(names, 1):
        machine.raise_veth(name, UPLINK, SWITCH, port_of(number))
        machine.ip_batch(name, f"address add {addresses[name]}/{subnet.prefixlen} dev {UPLINK}{nodad}")
    return addresses


def port_of(number: int) -> str:
    """Name the switch's port of the host with that number, counted from 1."""
    return f"port{number}"
