"""Whoever sends router advertisements on a network of ours: neither the host nor fellow members follow them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.advertisements import PREFIX, ROUTER, advertise
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

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

    assert eventually(lambda: is_advertised(machine))
    addresses = machine.run("H", "ip", "-6", "address", "show", "dev", "uplink0").stdout
    assert PREFIX.removesuffix("::") in addresses


def settings_of_others(machine: Machine) -> dict[str, str]:
    """Give what stands below net.ipv4 and net.ipv6 on the host."""
    lines = machine.run("H", "sysctl", "-a", "--ignore", "-r", r"^net\.ipv[46]\.", check=False).stdout.splitlines()
    return dict(line.split(" = ", 1) for line in lines if " = " in line and "stable_secret" not in line)


def test_a_host_whose_way_out_is_advertised_keeps_it_and_gets_its_settings_back(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    machine.run("H", "ip", "-6", "route", "delete", "default")
    machine.add_veth("H", "lan0", uplink, "lan1")
    hardened = ("ipv4.conf.all.accept_redirects=0", "ipv4.conf.uplink0.forwarding=1", "ipv4.conf.default.forwarding=1")
    six = ("ipv6.conf.lan0.forwarding=1", "ipv6.conf.default.forwarding=1")
    machine.run("H", "sysctl", "-qw", *(f"net.{setting}" for setting in (*hardened, *six)))
    advertise(machine, uplink, "downlink0")
    assert eventually(lambda: is_advertised(machine))
    before = settings_of_others(machine)
    forked.write(all=NETWORKS)

    forked.ok()

    assert is_advertised(machine)
    machine.run("H", "ip", "-6", "route", "delete", "default", "proto", "ra")
    advertise(machine, uplink, "downlink0")
    assert eventually(lambda: is_advertised(machine)), "the next advertisement counts too"
    assert forked.ok().writes == ()
    assert settings_of_others(machine)["net.ipv6.conf.lan0.accept_ra"] == "1", (
        "it forwarded before, so it heeded nobody"
    )
    forked.ok("down")
    assert is_advertised(machine)
    assert settings_of_others(machine) == before


def is_advertised(machine: Machine) -> bool:
    return ROUTER in machine.run("H", "ip", "-6", "route", "show", "default", "proto", "ra").stdout


LIARS = """
networks:
  lan:
    driver: macvlan
    enable_ipv6: true
    ipam: {config: [{subnet: 10.5.0.0/24}, {subnet: "fd05::/64", gateway: "fd05::1"}]}
  checked: {enable_ipv6: true, ipam: {config: [{subnet: 10.6.0.0/24}, {subnet: "fd06::/64"}]}}
  free:
    enable_ipv6: true
    driver_opts: {com.network-reconciler.source_validation: "false"}
    ipam: {config: [{subnet: 10.7.0.0/24}, {subnet: "fd07::/64"}]}
attachments:
  liar: {networks: {lan: {}}}
  member: {networks: {lan: {}}}
  asking: {networks: {lan: {}}, sysctls: {net.ipv6.conf.eth0.accept_ra: "1"}}
  checked-liar: {networks: {checked: {}}}
  checked-asking: {networks: {checked: {}}, sysctls: {net.ipv6.conf.eth0.accept_ra: "1"}}
  free-liar: {networks: {free: {}}}
  free-asking: {networks: {free: {}}, sysctls: {net.ipv6.conf.eth0.accept_ra: "1"}}
"""


def test_a_member_heeds_routers_only_if_it_asks_to_and_none_on_a_bridge_whose_sources_are_checked(
    forked: ForkedReconcile, machine: Machine
) -> None:
    forked.write(all=LIARS)
    forked.ok()
    before = ipv6_state(machine, "member")

    advertise(machine, "liar", "eth0")

    assert eventually(lambda: ROUTER in str(ipv6_state(machine, "asking")))
    assert ipv6_state(machine, "member") == before
    # These advertise themselves by their own MAC and address, so they forge nothing.
    routers = {name: link_local_of(machine, f"{name}-liar") for name in ("checked", "free")}
    for name, router in routers.items():
        advertise(machine, f"{name}-liar", "eth0", source=router)
    assert eventually(lambda: f"'{routers['free']}'" in str(ipv6_state(machine, "free-asking")))
    assert machine.ping("checked-liar", "10.6.0.1")
    assert f"'{routers['checked']}'" not in str(ipv6_state(machine, "checked-asking"))


def link_local_of(machine: Machine, ns: str) -> str:
    (link,) = machine.ip_json(ns, "-6", "address", "show", "dev", "eth0")
    return str(next(info["local"] for info in link["addr_info"] if info.get("scope") == "link"))


def test_a_host_with_ipv6_switched_off_has_both_families_on_our_networks(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    """As in the engine: what is switched off is so link by link, and ours are set before they are used."""
    machine.run("H", "sysctl", "-qw", *(f"net.ipv6.conf.{which}.disable_ipv6=1" for which in ("all", "default", "lo")))
    forked.write(all=NETWORKS)

    told = forked.ok().stderr

    assert "network six: IPv6 is switched off on this host" in told
    assert "network plain" not in told.replace("network plain (", "")
    assert machine.ping("six-member", "fd03::1")
    assert machine.ping("six-member", "10.3.0.1")
    assert machine.ping("plain-member", "10.1.0.1")


def test_a_new_bridge_routes_ipv6_when_its_first_pass_ends_and_nobody_on_it_can_forbid_its_address(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    machine.run(uplink, "ip", "route", "add", "fd03::/64", "via", "2001:db8::1")
    routed = "com.docker.network.bridge.gateway_mode_ipv6: routed, com.docker.network.bridge.name: br-six"
    forked.write(all=NETWORKS.replace("com.docker.network.bridge.name: br-six", routed))

    forked.ok()

    assert not tentative(machine, "br-six"), "a router asks for neighbours from its link-local address"
    machine.run(uplink, "ping", "-6", "-n", "-c", "1", "fd03::2")
    # Down and up again, as after a flap, it has its address at once too.
    machine.ip_batch("H", "link set br-six down", "link set br-six up")
    forked.ok()
    assert eventually(lambda: any(local.startswith("fe80") for _, local in ipv6_state(machine, "H")[1]))
    assert not tentative(machine, "br-six")


def tentative(machine: Machine, ifname: str) -> str:
    return machine.run("H", "ip", "-6", "address", "show", "dev", ifname, "tentative").stdout
