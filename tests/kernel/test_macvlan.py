"""The macvlan driver on the real kernel: a veth's near end is the parent, behind its far end lies the world."""

from __future__ import annotations

import json
import shutil
import socket
import struct
from collections import Counter
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.errors import ExitCode, NameConflict
from reconciler.model.identifiers import HOST, LINK_GROUP
from reconciler.model.objects import DeadEnd, Macvlan
from tests.command_line import Reconcile
from tests.examples.test_examples import everything
from tests.kernel.engine import Engine
from tests.kernel.test_pass_killed import Way, every_death
from tests.kernel.test_watch import Watched, start
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

__all__ = ["start"]

IPAM = "ipam: {config: [{subnet: 192.0.2.0/24, ip_range: 192.0.2.64/26, gateway: 192.0.2.2}]}"
MEMBERS = "attachments: {a: {networks: {net: {}}}, b: {networks: {net: {}}}}\n"


def network(*options: str, name: str = "net", ipam: str = IPAM, more: str = "") -> str:
    driver_opts = ", ".join(options or ("parent: uplink0",))
    return f"networks: {{{name}: {{driver: macvlan, driver_opts: {{{driver_opts}}}, {ipam}{more}}}}}\n"


def address(machine: Machine, ns: str, family: str = "-4", ifname: str = "eth0") -> str:
    (found,) = machine.ip_json(ns, family, "address", "show", "dev", ifname, "scope", "global")
    local: str = found["addr_info"][0]["local"]
    return local


def link(machine: Machine, ns: str, ifname: str = "eth0") -> dict[str, Any]:
    (found,) = machine.ip_json(ns, "-details", "link", "show", "dev", ifname)
    return found


def mode(machine: Machine, ns: str, ifname: str = "eth0") -> str:
    found: str = link(machine, ns, ifname)["linkinfo"]["info_data"]["mode"]
    return found


def drift(reconcile: Reconcile) -> list[str]:
    plan = json.loads(reconcile("--dry-run", "--output", "json").stdout)
    return [f"{'+'.join(each['actions'])} {each['kind']}" for each in plan["resource_changes"]]


def test_bridge_mode_joins_the_world_and_each_other(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(net=network(), members=MEMBERS)

    reconcile.ok()

    assert (address(machine, "a"), address(machine, "b")) == ("192.0.2.64", "192.0.2.65")
    assert machine.ping("a", "192.0.2.65")
    assert machine.ping("a", "192.0.2.2")
    assert machine.ping(uplink, "192.0.2.64")
    assert machine.default_gateway("a") == "192.0.2.2"
    assert not machine.ping("a", "192.0.2.1", deadline_s=1), "the host itself is not reached over its own parent"
    found = link(machine, "a")
    assert (found["address"], found["mtu"], mode(machine, "a")) == ("02:42:c0:00:02:40", 1500, "bridge")
    assert found["group"] == str(LINK_GROUP)
    assert drift(reconcile) == []


@pytest.mark.parametrize("options", ["parent: uplink0", "macvlan_mode: bridge"], ids=["parent", "no parent"])
def test_a_lost_state_folder_changes_nothing_that_runs(
    options: str, reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    undeclared = "enable_ipv6: false"
    all_three = "attachments: {a: {networks: {net: {}}}, b: {networks: {net: {}}}, c: {networks: {net: {}}}}"
    other = network(name="net0", ipam=undeclared)
    reconcile.write(net=network(options, ipam=undeclared), other=other, members=all_three)
    reconcile.ok()
    reconcile.write(net=network(options, ipam=undeclared), members=all_three.replace("a: {networks: {net: {}}}, ", ""))
    reconcile.ok("--allow-prune")
    before = [(link(machine, ns)["ifindex"], address(machine, ns)) for ns in ("b", "c")]
    shutil.rmtree(machine.state_dir)

    reconcile.ok()

    assert [(link(machine, ns)["ifindex"], address(machine, ns)) for ns in ("b", "c")] == before
    assert machine.ping("b", before[1][1])


@pytest.mark.parametrize("word", ["private", "vepa"])
def test_members_of_private_and_vepa_reach_the_world_but_not_each_other(
    word: str, reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(net=network("parent: uplink0", f"macvlan_mode: {word}"), members=MEMBERS)

    reconcile.ok()

    assert machine.ping("a", "192.0.2.2")
    assert not machine.ping("a", "192.0.2.65", deadline_s=1)
    assert mode(machine, "a") == word
    assert drift(reconcile) == []


def test_passthru_gives_the_parent_to_one_alone_and_back(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    machine.add_veth(host_ns, "spare0", uplink, "spare1")
    machine.run("", "ip", "-n", uplink, "address", "add", "198.51.100.2/24", "dev", "spare1")
    before = everything(machine, host_ns)
    ipam = "ipam: {config: [{subnet: 198.51.100.0/24}]}"
    reconcile.write(net=network("parent: spare0", "macvlan_mode: passthru", ipam=ipam), members=MEMBERS)

    done = reconcile()

    assert done.exit_code == ExitCode.FAILED
    assert "attachment b: network net is in mode passthru, which attachment a has to itself" in done.text
    assert machine.ping("a", "198.51.100.2")
    assert link(machine, "a")["address"] == "02:42:c6:33:64:01"
    assert "b" not in machine.namespaces()
    reconcile.ok("down")
    assert everything(machine, host_ns) == before


def test_ipv6_reaches_the_world_and_each_other(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    pool = "{subnet: '2001:db8::/64', gateway: '2001:db8::2', ip_range: '2001:db8::a0/124'}"
    ipam = f"enable_ipv4: false, enable_ipv6: true, ipam: {{config: [{pool}]}}"
    reconcile.write(net=network(ipam=ipam), members=MEMBERS)

    reconcile.ok()

    assert (address(machine, "a", "-6"), address(machine, "b", "-6")) == ("2001:db8::a0", "2001:db8::a1")
    assert machine.ping("a", "2001:db8::a1")
    assert machine.ping("a", "2001:db8::2")
    assert machine.default_gateway("a", "-6") == "2001:db8::2"
    assert drift(reconcile) == []


def test_what_a_router_advertises_is_no_drift_and_no_competition(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    pool = "{subnet: '2001:db8::/64', gateway: '2001:db8::2', ip_range: '2001:db8::a0/124'}"
    listening = MEMBERS.replace("a: {", "a: {sysctls: {net.ipv6.conf.eth0.accept_ra: '1'}, ", 1)
    reconcile.write(net=network(ipam=f"enable_ipv6: true, ipam: {{config: [{pool}]}}"), members=listening)
    reconcile.ok()

    advertise(machine, uplink, "downlink0", "2001:db8:5::")

    def has_autoconfigured() -> bool:
        found = machine.ip_json("a", "-6", "address", "show", "dev", "eth0", "scope", "global")
        return any(each.get("local", "").startswith("2001:db8:5:") for each in found[0]["addr_info"])

    assert eventually(has_autoconfigured)
    assert drift(reconcile) == []
    reconcile.ok()
    assert has_autoconfigured()
    defaults = machine.ip_json("a", "-6", "route", "show", "default")
    assert {"2001:db8::2"} < {each["gateway"] for each in defaults}
    best = min(defaults, key=lambda route: int(route["metric"]))
    assert (best["gateway"], best["protocol"]) == ("2001:db8::2", "178")
    machine.run("a", "ip", "-6", "route", "delete", "default", "via", "2001:db8::2")
    reconcile.ok()
    assert "2001:db8::2" in {each["gateway"] for each in machine.ip_json("a", "-6", "route", "show", "default")}


def advertise(machine: Machine, ns: str, ifname: str, prefix: str) -> None:
    """Send one router advertisement with one /64 prefix to configure addresses from (RFC 4861, sections 4.2 and 4.6.2)."""
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + ip_address(prefix).packed
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option
    with machine.inside(ns), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
        index = socket.if_nametoindex(ifname)
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        router.sendto(message, ("ff02::1", 0, 0, index))


def test_mtu_is_the_declared_one_else_the_parents(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    reconcile.write(net=network("parent: uplink0", "com.docker.network.driver.mtu: 1400"), members=MEMBERS)
    reconcile.ok()
    assert link(machine, "a")["mtu"] == 1400
    assert machine.ping("a", "192.0.2.2", size_bytes=1372)
    assert not machine.ping("a", "192.0.2.2", size_bytes=1373, deadline_s=1)

    machine.run("", "ip", "-n", host_ns, "link", "set", "uplink0", "mtu", "1300")
    done = reconcile()
    assert done.exit_code == ExitCode.FAILED
    assert "MTU 1400 is more than that of its parent uplink0, 1300" in done.text

    reconcile.write(net=network(), members=MEMBERS)
    reconcile.ok()
    assert link(machine, "a")["mtu"] == 1300
    machine.run("", "ip", "-n", host_ns, "link", "set", "uplink0", "mtu", "1500")
    reconcile.ok()
    assert link(machine, "a")["mtu"] == 1500


@pytest.mark.parametrize(
    ("damage", "planned"),
    [
        ("ip link delete eth0", "create Macvlan"),
        ("ip link set eth0 address 02:00:00:00:00:01", "update Macvlan"),
        ("ip link set eth0 mtu 1280", "update Macvlan"),
        ("ip link set eth0 type macvlan mode private", "delete+create Macvlan"),
        ("ip link set eth0 down && ip link set eth0 name other", "delete Macvlan"),
        ("ip link set eth0 down", "create LinkUp"),
    ],
)
def test_drift_in_the_sandbox_is_put_right(
    damage: str, planned: str, reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(net=network(), members=MEMBERS)
    reconcile.ok()
    machine.run("a", "sh", "-c", damage)
    assert planned in drift(reconcile)

    reconcile.ok()

    assert machine.links("a") == ["eth0", "lo"]
    assert (link(machine, "a")["address"], link(machine, "a")["mtu"]) == ("02:42:c0:00:02:40", 1500)
    assert mode(machine, "a") == "bridge"
    assert machine.ping("a", "192.0.2.65")
    assert machine.ping("a", "192.0.2.2")
    assert drift(reconcile) == []


def test_a_foreign_link_of_that_name_stays_and_is_reported(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    machine.add_namespace("a")
    machine.run("", "ip", "-n", host_ns, "link", "add", "link", "uplink0", "eth0", "netns", "a", "type", "macvlan")
    reconcile.write(net=network(), members=MEMBERS)
    before = link(machine, "a")

    down = reconcile()
    machine.run("", "ip", "-n", "a", "link", "set", "eth0", "up")
    up = reconcile()

    for done in (down, up):
        assert done.exit_code == ExitCode.FAILED
        assert "not ours" in done.text
    assert link(machine, "a")["ifindex"] == before["ifindex"]
    assert machine.ping("b", "192.0.2.2")


def test_changing_the_parent_moves_the_members(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    machine.add_veth(host_ns, "spare0", uplink, "spare1")
    machine.run("", "ip", "-n", uplink, "address", "add", "198.51.100.2/24", "dev", "spare1")
    other = "ipam: {config: [{subnet: 198.51.100.0/24, gateway: 198.51.100.2}]}"
    reconcile.write(net=network(), members=MEMBERS)
    reconcile.ok()

    reconcile.write(net=network("parent: spare0", ipam=other), members=MEMBERS)
    reconcile.ok()

    assert machine.ping("a", "198.51.100.2")
    assert machine.ping("a", address(machine, "b"))
    assert drift(reconcile) == []


def test_down_leaves_parent_and_foreign_sandboxes_as_they_were(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    machine.add_namespace("a")
    before, sandbox = everything(machine, host_ns), everything(machine, "a")
    reconcile.write(net=network(), members=MEMBERS)
    reconcile.ok()

    reconcile.ok("down")

    assert everything(machine, host_ns) == before
    assert everything(machine, "a") == sandbox


def test_an_attachment_that_is_gone_leaves_nothing_in_a_foreign_sandbox(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    machine.add_namespace("a")
    machine.add_namespace("elsewhere")
    reconcile.write(net=network(), members="attachments: {a: {networks: {net: {}}}}")
    reconcile.ok()

    reconcile.write(net=network(), members="attachments: {a: {sandbox: {netns: elsewhere}, networks: {net: {}}}}")
    reconcile.ok()
    assert machine.links("a") == ["lo"]
    assert machine.ping("elsewhere", "192.0.2.2")

    reconcile.write(
        net=network(), members="attachments: {a: {sandbox: {netns: /run/netns/elsewhere}, networks: {net: {}}}}"
    )
    reconcile.ok()
    assert machine.ping("elsewhere", "192.0.2.2")

    reconcile.write(net=network())
    reconcile.ok()
    assert machine.links("elsewhere") == ["lo"]
    assert drift(reconcile) == []


@pytest.mark.parametrize("more", ["", ", internal: true"], ids=["no parent", "internal"])
def test_without_a_parent_members_reach_each_other_and_nothing_else(
    more: str, reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    before = everything(machine, host_ns)
    ipam = "ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.254}]}"
    reconcile.write(net=network("macvlan_mode: bridge", ipam=ipam, more=more), members=MEMBERS)

    reconcile.ok()

    assert machine.ping("a", address(machine, "b"))
    assert machine.default_gateway("a") is None
    machine.run("a", "ip", "route", "add", "default", "dev", "eth0")
    assert not machine.ping("a", "192.0.2.1", deadline_s=1)
    assert not machine.ping("a", "192.0.2.2", deadline_s=1)
    parent = next(name for name in machine.links(host_ns) if name.startswith("dm-"))
    assert machine.ip_json(host_ns, "address", "show", "dev", parent)[0]["addr_info"] == []
    reconcile.ok("down")
    assert everything(machine, host_ns) == before


def test_an_internal_network_on_a_parent_has_no_default_route(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(net=network(more=", internal: true"), members=MEMBERS)

    reconcile.ok()

    assert machine.default_gateway("a") is None
    assert machine.ping("a", "192.0.2.65")


@pytest.mark.parametrize(
    ("prepare", "parent", "message"),
    [
        ((), "eth9", "there is no link eth9 on this host"),
        (("ip link add br9 type bridge", "ip link set uplink0 master br9"), "uplink0", "uplink0 is in use"),
        (("ip link add link uplink0 other type macvlan mode passthru",), "uplink0", "bears no such link"),
    ],
    ids=["missing", "port of a bridge", "passthru of others"],
)
def test_a_parent_that_cannot_be_had_harms_that_network_only(
    prepare: tuple[str, ...],
    parent: str,
    message: str,
    reconcile: Reconcile,
    machine: Machine,
    host_ns: str,
    uplink: str,
) -> None:
    for command in prepare:
        machine.run(host_ns, *command.split())
    reconcile.write(
        net=network(f"parent: {parent}"),
        members=MEMBERS,
        lan="networks: {lan: {ipam: {config: [{subnet: 10.5.0.0/24}]}}}\nattachments: {c: {networks: {lan: {}}}}",
    )

    done = reconcile()

    assert done.exit_code == ExitCode.FAILED
    assert message in done.text
    assert machine.ping("c", "10.5.0.1")
    inspected = json.loads(reconcile("network", "inspect", "net").stdout)
    assert [each["Containers"] for each in inspected if each["Containers"]] == []  # no endpoint that could not be made


def test_a_link_of_ours_is_no_parent(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    lan = "networks: {lan: {driver_opts: {com.docker.network.bridge.name: br-lan}, ipam: {config: [{subnet: 10.5.0.0/24}]}}}"
    reconcile.write(lan=lan)
    reconcile.ok()
    reconcile.write(lan=lan, net=network("parent: br-lan"), members=MEMBERS)

    done = reconcile()

    assert "network net: parent br-lan is a link of ours" in done.text


def test_networks_that_exclude_each_other_on_one_parent(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    other = "ipam: {config: [{subnet: 198.51.100.0/24}]}"
    reconcile.write(net=network(), members=MEMBERS)
    reconcile.ok()
    reconcile.write(
        net=network(),
        members=MEMBERS,
        alone=network("parent: uplink0", "macvlan_mode: passthru", name="alone", ipam=other),
        more="attachments: {c: {networks: {alone: {}}}}",
    )

    done = reconcile()

    assert done.exit_code == ExitCode.FAILED
    assert "network alone: network net is already using parent interface uplink0" in done.text
    assert machine.ping("a", "192.0.2.2")


def test_two_networks_share_a_parent(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    other = "ipam: {config: [{subnet: 198.51.100.0/24}]}"
    reconcile.write(
        net=network(),
        other=network(name="other", ipam=other),
        members="attachments: {a: {networks: {net: {priority: 1}, other: {}}}, b: {networks: {net: {}, other: {}}}}",
    )

    reconcile.ok()

    assert machine.ping("a", "192.0.2.65")
    assert machine.ping("a", address(machine, "b", ifname="eth1"))
    assert drift(reconcile) == []


def test_ipvlan_is_refused_with_the_reason_where_the_kernel_has_none(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    reconcile.write(net=network().replace("macvlan", "ipvlan"), members=MEMBERS)
    probe = ("ip", "link", "add", "link", "uplink0", "probe", "type", "ipvlan")
    has_ipvlan = machine.run(host_ns, *probe, check=False).returncode == 0
    if has_ipvlan:
        machine.run(host_ns, "ip", "link", "delete", "probe")

    done = reconcile()

    if has_ipvlan:
        assert done.exit_code == ExitCode.OK, done.text
        assert machine.ping("a", "192.0.2.2")
        assert machine.ping("a", "192.0.2.65")
    else:
        assert done.exit_code == ExitCode.FAILED
        assert "this kernel has no ipvlan links (CONFIG_IPVLAN); do without them" in done.text


def test_a_vlan_is_made_below_the_members_or_refused_where_the_kernel_has_none(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    probe = ("ip", "link", "add", "link", "uplink0", "name", "probe", "type", "vlan", "id", "9")
    has_vlan = machine.run(host_ns, *probe, check=False).returncode == 0
    if has_vlan:
        machine.run(host_ns, "ip", "link", "delete", "probe")
        machine.run(uplink, "ip", "link", "add", "link", "downlink0", "name", "v10", "type", "vlan", "id", "10")
        machine.run(uplink, "ip", "link", "set", "v10", "up")
        machine.run(uplink, "ip", "address", "add", "198.51.100.2/24", "dev", "v10")
    before = everything(machine, host_ns)
    reconcile.write(
        net=network("parent: uplink0.10", ipam="ipam: {config: [{subnet: 198.51.100.0/24}]}"), members=MEMBERS
    )

    done = reconcile()

    if has_vlan:
        assert done.exit_code == ExitCode.OK, done.text
        assert machine.ping("a", "198.51.100.2")
        assert drift(reconcile) == []
    else:
        assert done.exit_code == ExitCode.FAILED
        assert "this kernel has no vlan links (CONFIG_VLAN_8021Q); do without them" in done.text
    reconcile.ok("down")
    assert everything(machine, host_ns) == before


def test_published_ports_are_remarked_names_served_and_options_shown(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    members = "attachments: {a: {networks: {net: {aliases: [first]}}, ports: ['8080:80']}, b: {networks: {net: {}}}}"
    reconcile.write(net=network("parent: uplink0", "macvlan_mode: bridge"), members=members)

    done = reconcile.ok()

    assert "no port is published: on macvlan network net it is reached at its own address" in done.text
    assert machine.run("b", "getent", "hosts", "first").stdout.split()[0] == "192.0.2.64"
    with machine.tcp_server("a", port=80):
        assert machine.tcp(uplink, "192.0.2.64", 80) == "192.0.2.2"
        assert machine.tcp(uplink, "192.0.2.1", 8080, deadline_s=1) is None
    document = json.loads(reconcile.ok("network", "inspect", "net").stdout)[0]
    assert (document["Driver"], document["Options"]) == ("macvlan", {"macvlan_mode": "bridge", "parent": "uplink0"})
    assert {each["IPv4Address"] for each in document["Containers"].values()} == {"192.0.2.64/24", "192.0.2.65/24"}


def test_the_watcher_waits_for_the_parent_and_mends_what_goes_with_it(
    start: Any, reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    ipam = "ipam: {config: [{subnet: 198.51.100.0/24}]}"
    reconcile.write(net=network("parent: spare0", ipam=ipam), members=MEMBERS)
    watched: Watched = start()
    assert eventually((machine.status_dir / "summary.json").exists, 20)
    conditions = {each["type"]: each for each in watched.network("net")["conditions"]}
    assert conditions["Ready"]["reason"] == "ParentMissing"

    for _ in range(2):
        machine.add_veth(host_ns, "spare0", uplink, "spare1")
        machine.run("", "ip", "-n", uplink, "address", "replace", "198.51.100.2/24", "dev", "spare1")
        assert eventually(lambda: "a" in machine.namespaces() and "eth0" in machine.links("a"), 20)
        assert machine.ping("a", "198.51.100.2")
        machine.run(host_ns, "ip", "link", "delete", "spare0")
        assert machine.links("a") == ["lo"]


def test_a_network_that_becomes_a_macvlan_and_back_is_made_anew(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    bridge = "networks: {net: {ipam: {config: [{subnet: 10.5.0.0/24}]}}}\n"
    for _ in range(2):
        reconcile.write(net=bridge, members=MEMBERS)
        reconcile.ok()
        assert machine.ping("a", "10.5.0.1")

        reconcile.write(net=network(), members=MEMBERS)
        reconcile.ok()
        assert machine.ping("a", "192.0.2.2")
        assert machine.links("a") == ["eth0", "lo"]
        assert drift(reconcile) == []


def test_a_parent_of_ours_that_lost_its_carrier_is_made_anew(
    reconcile: Reconcile, machine: Machine, host_ns: str
) -> None:
    reconcile.write(
        net=network("macvlan_mode: bridge", ipam="ipam: {config: [{subnet: 10.9.0.0/24}]}"), members=MEMBERS
    )
    reconcile.ok()
    parent = next(name for name in machine.links(host_ns) if name.startswith("dm-"))
    for damage in (f"ip link set {parent} address 02:00:00:00:00:01", f"ip link set {parent} down"):
        machine.run(host_ns, *damage.split())
        assert drift(reconcile) != []

        reconcile.ok()

        assert machine.ping("a", address(machine, "b"))
        assert machine.ip_json(host_ns, "address", "show", "dev", parent)[0]["addr_info"] == []
        assert drift(reconcile) == []


@pytest.mark.parametrize("port", ["of others", "of others, down", "of others, gone again, parent down", "of ours"])
def test_a_parent_of_ours_that_has_or_had_a_port_is_made_anew_as_planned(
    port: str, reconcile: Reconcile, machine: Machine, host_ns: str
) -> None:
    reconcile.write(
        net=network("macvlan_mode: bridge", ipam="ipam: {config: [{subnet: 10.9.0.0/24}]}"),
        members=MEMBERS,
        other="networks: {other: {}}\nattachments: {c: {networks: [other]}}\n",
    )
    reconcile.ok()
    parent = next(name for name in machine.links(host_ns) if name.startswith("dm-"))
    name = next(name for name in machine.links(host_ns) if name.startswith("rcv"))
    if port != "of ours":
        name = "stranger0"
        machine.add_veth(host_ns, name, host_ns, "stranger1")
        index = link(machine, host_ns, name)["ifindex"]
    machine.ip_batch(host_ns, f"link set {name} master {parent}")
    if port.endswith("others, down"):
        machine.ip_batch(host_ns, f"link set {name} down")
    if "again" in port:
        machine.ip_batch(host_ns, f"link set {name} nomaster", f"link set {parent} down")

    planned = Counter(action for each in drift(reconcile) for action in each.split()[0].split("+"))
    done = reconcile.ok().stderr

    told = f"{planned['create']} created, {planned['update']} changed, {planned['delete']} deleted in "
    assert planned["create"] > 0
    assert done.splitlines()[-1].startswith(told), (planned, done)
    assert machine.ping("a", address(machine, "b"))
    if port != "of ours":
        assert link(machine, host_ns, name)["ifindex"] == index
        assert "master" not in link(machine, host_ns, name)
    assert drift(reconcile) == []


def test_the_engine_takes_what_is_there_already_or_in_part(engine: Engine, machine: Machine, uplink: str) -> None:
    sandbox = engine.make_sandbox("a")
    wanted = Macvlan(ns=sandbox, ifname="eth0", parent="uplink0", mode="bridge", mac="02:42:c0:00:02:40", mtu=1400)
    engine.create(wanted)
    index = link(machine, "a")["ifindex"]

    for damage in ("true", "ip link set eth0 address 02:00:00:00:00:01", "ip link set eth0 mtu 1300"):
        machine.run("a", *damage.split())
        assert engine.create_error(wanted) is None
        assert engine.has(wanted)
    assert link(machine, "a")["ifindex"] == index

    error = engine.create_error(replace(wanted, mode="vepa"))
    assert isinstance(error, NameConflict)
    assert "another link of ours has the name eth0" in str(error)
    machine.run("a", *["ip", "link", "set", "eth0", "group", "default"])
    assert isinstance(engine.create_error(wanted), NameConflict)
    assert isinstance(engine.update_error(wanted, wanted), NameConflict)
    assert isinstance(engine.delete_error(wanted), NameConflict)
    machine.run("a", *f"ip link set eth0 group {LINK_GROUP}".split())
    assert engine.delete_error(wanted) is None
    assert engine.delete_error(wanted) is None
    assert machine.links("a") == ["lo"]


def test_a_dead_end_takes_what_is_there_already_or_in_part(engine: Engine, machine: Machine, host_ns: str) -> None:
    wanted = DeadEnd(ns=HOST, ifname="dm-0123456789ab", mtu=1400)
    machine.run(host_ns, *f"ip link add dm-0123456789ab group {LINK_GROUP} type bridge".split())
    for _ in range(2):
        assert engine.create_error(wanted) is None
        assert engine.has(wanted)
    assert machine.ip_json(host_ns, "address", "show", "dev", "dm-0123456789ab")[0]["addr_info"] == []

    machine.run(host_ns, *["ip", "link", "set", "dm-0123456789ab", "group", "default"])
    assert isinstance(engine.create_error(wanted), NameConflict)
    assert isinstance(engine.delete_error(wanted), NameConflict)


KILLED = """
networks:
  net: {driver: macvlan, driver_opts: {parent: uplink0}, ipam: {config: [{subnet: 192.0.2.0/24, ip_range: 192.0.2.64/26}]}}
  alone: {driver: macvlan, ipam: {config: [{subnet: 10.9.0.0/24}]}}
attachments:
  one: {networks: {net: {}, alone: {}}}
  two: {networks: {net: {}}}
"""


@pytest.mark.long
def test_pass_and_down_killed_anywhere_are_completed_by_the_next_also_in_a_foreign_sandbox(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    machine.add_namespace("two")
    before = everything(machine, "H")
    forked.write(specs=KILLED)

    def built(where: str) -> None:
        forked.ok()
        assert machine.links("one") == ["eth0", "eth1", "lo"], where
        assert machine.links("two") == ["eth0", "lo"], where

    def gone(where: str) -> None:
        forked.ok("down")
        assert everything(machine, "H") == before, where
        assert machine.links("two") == ["lo"], where

    count = every_death(
        Way(run=lambda number: forked(die_before=number), judge=built, again=forked.ok, share=(0, 5)),
        Way(run=lambda number: forked("down", die_before=number), judge=gone, share=(1, 5)),
        ("netlink",),
    )

    assert count > 8
    assert everything(machine, "H") == before
    assert machine.links("two") == ["lo"]
