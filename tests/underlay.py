"""What hosts are joined to, made of namespaces: the world outside, or a switch with other hosts. For tests, demo and bench."""

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


def rejoin_switch(machine: Machine, name: str, number: int, address: str, mac: str) -> None:
    """Join a namespace made anew as the host with that number. address: with prefix length; mac: of its interface."""
    port = port_of(number)
    machine.ip_batch(SWITCH, f"link add {port} master sw0 type veth peer {UPLINK} address {mac} netns {name}")
    machine.raise_veth(name, UPLINK, SWITCH, port)
    machine.ip_batch(name, f"address add {address} dev {UPLINK}")


def port_of(number: int) -> str:
    """Name the switch's port of the host with that number, counted from 1."""
    return f"port{number}"


def add_uplink(machine: Machine, host_ns: str) -> str:
    """Join a host to a new namespace that plays the world outside, and give its name; see the fixture `uplink`."""
    outside = "outside"
    machine.add_namespace(outside)
    machine.add_veth(host_ns, "uplink0", outside, "downlink0")
    for ns, ifname, number, others in (
        (host_ns, "uplink0", 1, ("route add default via 192.0.2.2", "route add default via 2001:db8::2")),
        (outside, "downlink0", 2, ()),
    ):
        addresses = (f"192.0.2.{number}/24", f"2001:db8::{number}/64 nodad")
        machine.ip_batch(ns, *(f"address add dev {ifname} {each}" for each in addresses), *others)
    return outside
