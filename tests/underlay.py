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
    machine.add_namespace(SWITCH)
    machine.run("", "ip", "-n", SWITCH, "link", "add", "sw0", "mtu", str(mtu), "type", "bridge")
    machine.run("", "ip", "-n", SWITCH, "link", "set", "sw0", "up")
    addresses: dict[str, IPAddress] = {}
    for number, name in enumerate(names, 1):
        machine.add_namespace(name)
        machine.add_veth(name, UPLINK, SWITCH, port_of(number))
        machine.run("", "ip", "-n", SWITCH, "link", "set", port_of(number), "mtu", str(mtu), "master", "sw0")
        machine.run("", "ip", "-n", name, "link", "set", UPLINK, "mtu", str(mtu))
        addresses[name] = ip_address(subnet[number])
        nodad = ("nodad",) if subnet.version == 6 else ()
        address = f"{addresses[name]}/{subnet.prefixlen}"
        machine.run("", "ip", "-n", name, "address", "add", address, "dev", UPLINK, *nodad)
    return addresses


def port_of(number: int) -> str:
    """Name the switch's port of the host with that number, counted from 1."""
    return f"port{number}"
