"""Whoever sends router advertisements on a network of ours: neither the host nor fellow members follow them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.advertisements import PREFIX, ROUTER, advertise
from tests.machine import Machine, eventually
from tests.pipeline.forked import ForkedReconcile

pytestmark = pytest.mark.kernel

NETWORKS = """
networks:
  plain: {driver_opts: {com.docker.network.bridge.name: br-plain}, ipam: {config: [{subnet: 10.1.0.0/24}]}}
  inner: {internal: true, driver_opts: {com.docker.network.bridge.name: br-inner}, ipam: {config: [{subnet: 10.2.0.0/24}]}}
  six:
    enable_ipv6: true
    driver_opts: {com.docker.network.bridge.name: br-six}
    ipam: {config: [{subnet: 10.3.0.0/24}, {subnet: "fd03::/64"}]}
  lone: {driver: macvlan, ipam: {config: [{subnet: 10.4.0.0/24}]}}
attachments:
  plain-member: {networks: {plain: {}}}
  inner-member: {networks: {inner: {}}}
  six-member: {networks: {six: {}}}
  lone-member: {networks: {lone: {}}}
  docker-member: {network_mode: bridge}
"""


def ipv6_state(machine: Machine, ns: str) -> tuple[list[Any], list[Any]]:
    """Give a namespace's IPv6 routes and addresses, without what ages."""
    routes = [(r["dst"], r.get("gateway"), r["dev"]) for r in machine.ip_json(ns, "-6", "route", "show")]
    addresses = [
        (link["ifname"], info["local"])
        for link in machine.ip_json(ns, "-6", "address", "show")
        for info in link["addr_info"]
    ]
    return sorted(routes, key=str), sorted(addresses)


def test_no_sandbox_gives_the_host_a_way_out_or_an_address(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    forked.write(all=NETWORKS)
    forked.ok()
    bridges = {"br-plain", "br-inner", "docker0", "br-six"}
    has_ipv6 = {link["ifname"] for link in machine.ip_json("H", "-6", "address", "show")}
    assert has_ipv6 & bridges == {"br-six"}, "an IPv4 bridge has no fe80:: address that sandboxes could call"
    before = ipv6_state(machine, "H")

    for member in ("plain-member", "inner-member", "six-member", "lone-member", "docker-member"):
        advertise(machine, member, "eth0")
    machine.run("H", "sysctl", "-qw", "net.ipv6.conf.br-plain.accept_ra=2", "net.ipv6.conf.br-plain.disable_ipv6=0")
    forked.ok()
    advertise(machine, "plain-member", "eth0")

    # What the bridge heeds is decided when the packet comes in, in the same breath as that it answers this.
    assert machine.ping("six-member", "fd03::1")
    assert machine.ping("plain-member", "10.1.0.1")
    assert ipv6_state(machine, "H") == before
    assert forked.ok().writes == ()


def test_the_packet_of_these_tests_is_heeded_where_somebody_does(machine: Machine, uplink: str) -> None:
    advertise(machine, uplink, "downlink0")

    def has_default_route() -> bool:
        routes = machine.ip_json("H", "-6", "route", "show", "default")
        return any(route.get("gateway") == ROUTER or ROUTER in str(route) for route in routes)

    assert eventually(has_default_route)
    addresses = machine.run("H", "ip", "-6", "address", "show", "dev", "uplink0").stdout
    assert PREFIX.removesuffix("::") in addresses
