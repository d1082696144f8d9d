"""Forwarding that we switch on makes the host no router for others: what is of no network of ours goes no further than before."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import struct
from typing import Any

import pytest

from tests.kernel.firewall_host import BLOCKED_S
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  net:
    enable_ipv6: true
    driver_opts: {com.docker.network.bridge.name: br-net}
    ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: "fd01::/64"}]}
attachments:
  member: {networks: [net], ports: ["8080:80"]}
"""
SWITCHES = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


@pytest.fixture(autouse=True)
def neighbours(machine: Machine, host_ns: str) -> None:
    """Two of others, each with a link of its own to the host, by which it sends all that it has to send."""
    machine.detect_no_duplicates(host_ns)
    for number, name in enumerate(("left", "right"), 1):
        machine.add_namespace(name)
        machine.add_veth("H", f"{name}0", name, "eth0")
        machine.ip_batch(
            "H",
            f"address add 10.8.{number}.1/24 dev {name}0",
            f"address add fd08:{number}::1/64 dev {name}0 nodad",
        )
        machine.ip_batch(
            name,
            f"address add 10.8.{number}.2/24 dev eth0",
            f"address add fd08:{number}::2/64 dev eth0 nodad",
            f"route add default via 10.8.{number}.1",
            f"route add default via fd08:{number}::1",
        )


_NUMBERS = {"left": 1, "right": 2}


def crossing(machine: Machine, expected: set[int]) -> set[int]:
    """Return by which versions of IP the neighbours reach each other, both or none."""
    arrived: set[tuple[str, int]] = set()
    with contextlib.ExitStack() as stack:

        def opened(ns: str) -> socket.socket:
            with machine.inside(ns):
                return stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))

        servers, clients = {name: opened(name) for name in _NUMBERS}, {name: opened(name) for name in _NUMBERS}
        for server in servers.values():
            server.bind(("::", 9))

        def has_come(wanted: set[tuple[str, int]]) -> bool:
            for name, number in _NUMBERS.items():
                (other,) = _NUMBERS.keys() - {name}
                for version, target in ((4, f"::ffff:10.8.{number}.2"), (6, f"fd08:{number}::2")):
                    with contextlib.suppress(OSError):  # the host has said that there is no way
                        clients[other].sendto(bytes([version]), (target, 9))
                with contextlib.suppress(BlockingIOError):
                    while True:
                        arrived.add((name, servers[name].recv(1)[0]))
            return wanted <= arrived

        everything = {(name, version) for name in _NUMBERS for version in SWITCHES}
        eventually(lambda: has_come({(name, version) for name in _NUMBERS for version in expected}))
        if len(expected) < len(SWITCHES):
            eventually(lambda: has_come(everything), BLOCKED_S)
    assert {version for _, version in arrived} == {
        version for version in SWITCHES if {*_NUMBERS} <= {n for n, v in arrived if v == version}
    }
    return {version for _, version in arrived}


def assert_crossing(machine: Machine, *expected: int) -> None:
    assert crossing(machine, {*expected}) == {*expected}


def switches(machine: Machine) -> list[int]:
    """Return the versions that the host forwards."""
    return [v for v, name in SWITCHES.items() if machine.run("H", "sysctl", "-n", name).stdout.strip() == "1"]


def elements(machine: Machine, set_name: str) -> list[Any]:
    listed = json.loads(machine.run("H", "nft", "-j", "list", "set", "inet", "reconciler", set_name).stdout)
    return list(listed["nftables"][1]["set"].get("elem", ()))


def dropped(machine: Machine) -> set[tuple[str, str]]:
    """Return between which links something was dropped."""
    return {(each["concat"][1], each["concat"][2]) for each in elements(machine, "transit_dropped")}


def assert_networks_work(machine: Machine) -> None:
    """Insist that the member sends to both, and that both reach what it publishes."""
    with machine.tcp_server("member", port=80), machine.tcp_server("right") as port:
        assert machine.tcp("member", "10.8.2.2", port) == "10.8.2.1"
        assert machine.tcp("member", "fd08:2::2", port) == "fd08:2::1"
        assert machine.tcp("left", "10.8.1.1", 8080) == "10.8.1.2"
        assert machine.tcp("left", "fd08:1::1", 8080) == "fd08:1::2"


def test_others_do_not_reach_each_other_through_a_host_that_forwards_for_us_alone(
    forked: ForkedReconcile, machine: Machine
) -> None:
    assert_crossing(machine)
    forked.write(all=SPECS)

    assert "+ nft element no_transit { ipv6 }" in forked.ok("--dry-run", "--objects").stdout
    up = forked.ok().writes

    assert switches(machine) == [4, 6]
    assert_crossing(machine)
    assert_networks_work(machine)
    assert eventually(lambda: dropped(machine) == {("left0", "right0"), ("right0", "left0")})
    assert forked.ok().writes == (), "what the rules have learned is no drift"
    assert guarded_all_along(up, is_up=True)

    # One that stays without an address of a version, or an internal one, needs no forwarding.
    forked.write(all=SPECS.replace("enable_ipv6", "internal").replace(', {subnet: "fd01::/64"}', ""))
    forked.ok("--bridge", "none")
    assert switches(machine) == []
    assert elements(machine, "no_transit") == []
    assert_crossing(machine)
    forked.write(all=SPECS)
    forked.ok("--bridge", "none")

    down = forked.ok("down").writes

    assert guarded_all_along(down, is_up=False)
    assert switches(machine) == []
    assert_crossing(machine)


def is_written(write: str, version: int) -> bool:
    return write.endswith(SWITCHES[version].replace(".", "/"))


def guarded_all_along(writes: tuple[str, ...], *, is_up: bool) -> bool:
    """Return whether the switches were on only while the rules that came first, or went last, were there."""
    rules = [number for number, write in enumerate(writes) if write == "Nft.run"]
    turned = [number for number, write in enumerate(writes) for version in SWITCHES if is_written(write, version)]
    return len(turned) == len(SWITCHES) and (rules[0] < min(turned) if is_up else max(turned) < rules[-1])


@pytest.mark.parametrize("version", SWITCHES)
def test_what_was_forwarded_before_us_stays_forwarded(version: int, forked: ForkedReconcile, machine: Machine) -> None:
    """Whoever switched it on wants a router; the other version of IP he left off."""
    machine.run("H", "sysctl", "-qw", f"{SWITCHES[version]}=1")
    forked.write(all=SPECS)

    forked.ok()

    assert elements(machine, "no_transit") == [f"ipv{10 - version}"]
    assert_crossing(machine, version)
    assert_networks_work(machine)
    forked.ok("down")
    assert switches(machine) == [version]
    assert_crossing(machine, version)


def test_links_that_forwarded_one_by_one_go_on_doing_so(forked: ForkedReconcile, machine: Machine) -> None:
    forces = bool(machine.run("H", "sysctl", "-aN", "-r", "left0.force_forwarding").stdout)
    for link in ("left0", "right0"):
        machine.run("H", "sysctl", "-qw", f"net.ipv4.conf.{link}.forwarding=1")
        if forces:
            machine.run("H", "sysctl", "-qw", f"net.ipv6.conf.{link}.force_forwarding=1")
    as_before = (4, 6) if forces else (4,)
    assert_crossing(machine, *as_before)
    forked.write(all=SPECS)

    forked.ok()

    assert elements(machine, "no_transit") == ["ipv4", "ipv6"]
    assert_crossing(machine, *as_before)
    assert forked.ok().writes == ()
    forked.ok("down")
    assert_crossing(machine, *as_before)


def test_the_option_leaves_it_open_and_what_was_dropped_is_named(forked: ForkedReconcile, machine: Machine) -> None:
    forked.write(all=SPECS)
    forked.ok()
    inspected = forked.ok("network", "inspect", "net").stdout
    assert_crossing(machine)
    assert eventually(lambda: len(dropped(machine)) == 2)

    (found,) = findings(forked)
    assert found["severity"] == "warning"
    assert "left0 to right0, right0 to left0" in found["what"]
    assert "ip-forward-no-drop: true" in found["mend"][-1]
    asked = ("explain", "outside", "--to", "10.8.2.2")
    assert "it forwarded none before us; `--ip-forward-no-drop` lets them through" in " ".join(
        forked(*asked).stdout.split()
    )

    planned = forked.ok("--ip-forward-no-drop", "--dry-run", "--objects").stdout
    assert [line.strip() for line in planned.splitlines() if "- nft" in line] == [
        f"- nft element no_transit {{ ipv{version} }}  # changes while traffic flows" for version in SWITCHES
    ]
    forked.ok("--ip-forward-no-drop")
    assert switches(machine) == [4, 6]
    assert_crossing(machine, 4, 6)
    assert findings(forked, "--ip-forward-no-drop") == []
    assert "no-drop" not in forked(*asked, "--ip-forward-no-drop").stdout
    assert forked.ok("network", "inspect", "net").stdout == inspected

    forked.ok()
    assert_crossing(machine)
    forked.ok("down")
    assert switches(machine) == []


def findings(forked: ForkedReconcile, *options: str) -> list[dict[str, Any]]:
    found = json.loads(forked("doctor", "--format", "json", *options).stdout)["findings"]
    return [each for each in found if each["check"] == "transit"]


def test_a_pass_that_dies_leaves_no_router(forked: ForkedReconcile, machine: Machine) -> None:
    """Before IPv6 follows IPv4, and where all of ours is gone but the switches."""
    forked.write(all=SPECS)
    forked.ok()
    down = forked.ok("down").writes
    whole = forked.ok().writes
    forked.ok("down")

    assert forked(die_before=next(n for n, write in enumerate(whole) if is_written(write, 6))).was_killed
    assert switches(machine) == [4]
    assert_crossing(machine)
    forked.ok()
    assert_crossing(machine)
    assert_networks_work(machine)
    assert forked("down", die_before=next(n for n, write in enumerate(down) if is_written(write, 6))).was_killed
    assert switches(machine) == [6]
    assert_crossing(machine)
    forked.ok("down")
    assert switches(machine) == []
    assert machine.run("H", "nft", "list", "ruleset").stdout == ""


def test_a_boot_that_switches_it_on_makes_the_host_a_router(forked: ForkedReconcile, machine: Machine) -> None:
    """What the state folder says is of the boot before, when an administrator had not asked for that yet."""
    forked.write(all=SPECS)
    forked.ok()
    with sqlite3.connect(machine.state_dir / "state.db") as database:
        changed = database.execute(
            "UPDATE entry SET value = replace(value, '\"place\":\"', '\"place\":\"0') WHERE key LIKE 'sysctl/host/%'"
        )
        assert changed.rowcount == 2
    database.close()
    machine.run("H", "nft", "delete", "table", "inet", "reconciler")
    machine.run("H", "sysctl", "-qw", f"{SWITCHES[6]}=0")

    forked.ok()

    assert elements(machine, "no_transit") == ["ipv6"]
    assert_crossing(machine, 4)
    assert forked.ok().writes == ()
    forked.ok("down")
    assert switches(machine) == [4]


@pytest.mark.parametrize("is_filtered", [True, False], ids=["br_netfilter", "bridge alone"])
def test_frames_on_a_bridge_of_others_pass_and_packets_between_two_do_not(
    is_filtered: bool, forked: ForkedReconcile, machine: Machine
) -> None:
    """Both neighbours are on one bridge and on another: what stays on one is not forwarded, whatever br_netfilter shows of it."""
    value = int(is_filtered)
    machine.run(
        "H", "sysctl", "-qw", *(f"net.bridge.bridge-nf-call-{name}={value}" for name in ("iptables", "ip6tables"))
    )
    machine.ip_batch("H", *(f"link add {bridge} up type bridge" for bridge in ("lan0", "lan1")))
    for name, bridge in (("left", "lan0"), ("right", "lan0"), ("far", "lan1")):
        if name == "far":
            machine.add_namespace(name)
        machine.add_veth("H", f"{name}1", name, "eth1")
        machine.ip_batch("H", f"link set {name}1 master {bridge}")
    machine.ip_batch("H", "address add 10.9.0.1/24 dev lan0", "address add 10.7.0.1/24 dev lan1")
    machine.ip_batch(
        "left",
        "address add 10.9.0.2/24 dev eth1",
        "address add fd09::2/64 dev eth1 nodad",
        "route add 10.7.0.0/24 via 10.9.0.1",
    )
    machine.ip_batch("right", "address add 10.9.0.3/24 dev eth1", "address add fd09::3/64 dev eth1 nodad")
    machine.ip_batch("far", "address add 10.7.0.2/24 dev eth1", "route add default via 10.7.0.1")
    forked.write(all=SPECS)

    forked.ok()

    with machine.tcp_server("right") as port:
        assert machine.tcp("left", "10.9.0.3", port)
        assert machine.tcp("left", "fd09::3", port)
    with machine.tcp_server("far") as port:
        assert machine.tcp("left", "10.7.0.2", port, deadline_s=BLOCKED_S) is None
        assert machine.tcp("H", "10.7.0.2", port)
    assert ("lan0", "lan1") in dropped(machine)
    assert elements(machine, "same_bridge") == [{"concat": ["lan0", "lan0"]}]
    assert forked.ok().writes == ()


def test_what_multicast_routing_passes_on_is_let_through(forked: ForkedReconcile, machine: Machine) -> None:
    """It asks no switch: it forwards as it did on a host that forwards nothing else."""
    forked.write(all=SPECS)
    forked.ok()
    group = "239.1.2.3"
    with machine.inside("H"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as router:
        router.setsockopt(socket.IPPROTO_IP, _MRT_INIT, 1)
        for number in range(len(_NUMBERS)):
            local, remote = (socket.inet_aton(address) for address in (f"10.8.{number + 1}.1", "0.0.0.0"))
            router.setsockopt(socket.IPPROTO_IP, _MRT_ADD_VIF, struct.pack("=HBBI4s4s", number, 0, 1, 0, local, remote))
        ends = socket.inet_aton("10.8.1.2") + socket.inet_aton(group)
        hops = bytes([0, 1, *[0] * 30])
        router.setsockopt(socket.IPPROTO_IP, _MRT_ADD_MFC, struct.pack("=8sH32s2xIIIi", ends, 0, hops, 0, 0, 0, 0))
        with machine.inside("right"):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with machine.inside("left"):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.bind((group, 9))
            receiver.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton(group) + socket.inet_aton("10.8.2.2"),
            )
            receiver.setblocking(False)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)

            def has_come() -> bool:
                sender.sendto(b"x", (group, 9))
                with contextlib.suppress(BlockingIOError):
                    return receiver.recv(1) == b"x"
                return False

            assert eventually(has_come)


_MRT_INIT, _MRT_ADD_VIF, _MRT_ADD_MFC = 200, 202, 204
"""Options of a multicast router's socket (linux/mroute.h)."""
