"""Overlay networks between hosts on the real kernel: what passes, what does not, and what a look finds again."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

import pytest
from msgspec.structs import replace

from reconciler.kinds.neighbours import apply
from reconciler.model.identifiers import PROTOCOL, NsRef
from reconciler.model.objects import Neighbour
from reconciler.model.plan import Action, Operation, Plan
from reconciler.observe.memory import Memory
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.source import Watched
from tests.fakes.world import world
from tests.kernel.overlay_hosts import Cluster, Member, Net, cluster_on
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

LAN = Net(name="lan", subnets=(("10.9.0.0/24", 300),))
WEB = Member(name="web", net=LAN, host="A", interfaces=("10.9.0.2/24",))
DB = Member(name="db", net=LAN, host="B", interfaces=("10.9.0.3/24",))
MQ = Member(name="mq", net=LAN, host="C", interfaces=("10.9.0.4/24",))
PAYLOAD = LAN.mtu - 28
"""Bytes that fill a packet of the network's MTU: IPv4 20, ICMP 8."""


@pytest.fixture
def cluster(machine: Machine) -> Iterator[Cluster]:
    with cluster_on(machine, ("A", "B", "C")) as made:
        yield made


@pytest.fixture
def pair(machine: Machine) -> Iterator[Cluster]:
    with cluster_on(machine, ("A", "B")) as made:
        yield made


def fdb(machine: Machine, ns: str) -> dict[str, str]:
    """Give VTEPs by MAC address."""
    entries = machine.run(ns, "bridge", "fdb", "show", "dev", "vxlan0").stdout.splitlines()
    return {line.split()[0]: line.split()[2] for line in entries if " dst " in line}


def neighbours(machine: Machine, ns: str) -> dict[str, str]:
    return {
        entry["dst"]: entry["lladdr"]
        for entry in machine.ip_json(ns, "neigh", "show", "dev", "vxlan0", "nud", "permanent")
    }


@pytest.mark.quick
def test_sandboxes_on_three_hosts_reach_each_other(cluster: Cluster, machine: Machine) -> None:
    cluster.converge(WEB, DB, MQ)

    assert machine.ping("web", "10.9.0.3")
    assert machine.ping("db", "10.9.0.4")
    assert machine.ping("mq", "10.9.0.2")


def test_two_sandboxes_of_one_host_reach_each_other(pair: Cluster, machine: Machine) -> None:
    neighbour = replace(DB, host="A")

    pair.converge(WEB, neighbour)

    assert machine.ping("web", "10.9.0.3")


def test_a_packet_of_the_networks_mtu_passes_whole(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)

    assert machine.ping("web", "10.9.0.3", size_bytes=PAYLOAD)
    assert not machine.ping("web", "10.9.0.3", size_bytes=PAYLOAD + 1, deadline_s=1)


def test_ipv6_sandboxes_reach_each_other(pair: Cluster, machine: Machine) -> None:
    lan = Net(name="lan6", subnets=(("fd09::/64", 301),))
    web = Member(name="web", net=lan, host="A", interfaces=("fd09::2/64",))
    db = Member(name="db", net=lan, host="B", interfaces=("fd09::3/64",))

    pair.converge(web, db)

    assert machine.ping("web", "fd09::3")
    assert machine.ping("db", "fd09::1")


def test_a_dual_stack_network_carries_both_families(pair: Cluster, machine: Machine) -> None:
    lan = Net(name="both", subnets=(("10.9.0.0/24", 300), ("fd09::/64", 301)))
    web = Member(name="web", net=lan, host="A", interfaces=("10.9.0.2/24", "fd09::2/64"))
    db = Member(name="db", net=lan, host="B", interfaces=("10.9.0.3/24", "fd09::3/64"))

    pair.converge(web, db)

    assert machine.ping("web", "10.9.0.3")
    assert machine.ping("web", "fd09::3")

    heir, moved = replace(db, name="heir"), replace(db, interfaces=("10.9.0.4/24", "fd09::4/64"))
    pair.converge(web, moved, heir)

    assert eventually(
        lambda: _all_ports_forward(machine, pair.hosts["B"].ns_of(lan))
    )  # the kernel has them do so a bit later
    for target in ("10.9.0.3", "fd09::3"):
        first = machine.run("web", "ping", "-n", "-q", "-c", "1", "-W", "1", target, check=False)
        assert first.returncode == 0, f"{target} has another MAC on the other host, and web was told"


def _all_ports_forward(machine: Machine, ns: str) -> bool:
    ports = machine.ip_json(ns, "-details", "link", "show", "master", "br0")
    return bool(ports) and all(port["linkinfo"]["info_slave_data"]["state"] == "forwarding" for port in ports)


def test_the_underlay_may_be_ipv6(machine: Machine) -> None:
    lan = replace(LAN, mtu=1430)
    web, db = replace(WEB, net=lan), replace(DB, net=lan)
    with cluster_on(machine, ("A", "B"), underlay="2001:db8:1::/64") as made:
        made.converge(web, db)

        assert machine.ping("web", "10.9.0.3", size_bytes=1430 - 28)


@pytest.mark.parametrize(
    ("first", "second"),
    [("10.9.0.{}/24", "10.9.1.{}/24"), ("fd09:0:0:0::{}/64", "fd09:0:0:1::{}/64")],
    ids=["IPv4", "IPv6"],
)
def test_sandboxes_in_different_subnets_of_a_network_reach_each_other(
    pair: Cluster, machine: Machine, first: str, second: str
) -> None:
    subnets = tuple((str(ip_interface(text.format(1)).network), vni) for text, vni in ((first, 300), (second, 301)))
    lan = Net(name="wide", subnets=subnets)
    web = Member(name="web", net=lan, host="A", interfaces=(first.format(2),))
    db = Member(name="db", net=lan, host="B", interfaces=(second.format(2),))

    pair.converge(web, db)

    assert machine.ping("web", str(ip_interface(second.format(2)).ip))
    assert machine.ping("db", str(ip_interface(first.format(2)).ip))


def test_overlays_with_the_same_subnet_are_apart(pair: Cluster, machine: Machine) -> None:
    other = Net(name="other", subnets=(("10.9.0.0/24", 400),))
    stranger = Member(name="stranger", net=other, host="B", interfaces=("10.9.0.3/24",))
    beside = Member(name="beside", net=other, host="A", interfaces=("10.9.0.4/24",))

    pair.converge(WEB, stranger, beside)

    assert machine.ping("beside", "10.9.0.3")
    assert not machine.ping("web", "10.9.0.3", deadline_s=1)
    assert not machine.ping("web", "10.9.0.4", deadline_s=1)


def test_the_host_cannot_be_reached_through_the_overlay(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)
    machine.run("web", "ip", "route", "add", "default", "via", "10.9.0.1")

    assert machine.ping("web", "10.9.0.1")
    for vtep in pair.vteps.values():
        assert not machine.ping("web", str(vtep), deadline_s=1)


def test_nothing_is_sent_to_other_hosts_in_search_of_an_address(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)
    hook = "{ type filter hook prerouting priority -300; udp dport 4789 counter; }"
    machine.run("B", "nft", f"table inet seen {{ chain arrived {hook}; }}")

    assert not machine.ping("web", "10.9.0.77", deadline_s=1)
    assert "packets 0 " in machine.run("B", "nft", "list", "table", "inet", "seen").stdout

    assert machine.ping("web", "10.9.0.3")
    assert "packets 0 " not in machine.run("B", "nft", "list", "table", "inet", "seen").stdout


def test_the_socket_of_vxlan_is_the_hosts(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB)

    assert ":4789" in machine.run("A", "ss", "-lun").stdout
    assert ":4789" not in machine.run(pair.hosts["A"].ns_of(LAN), "ss", "-lun").stdout
    assert machine.links("A") == ["lo", "underlay0"]


def test_entries_follow_the_endpoints_on_other_hosts(cluster: Cluster, machine: Machine) -> None:
    ns = cluster.hosts["A"].ns_of(LAN)
    cluster.converge(WEB, DB, MQ)
    assert fdb(machine, ns) == {DB.mac: "198.51.100.2", MQ.mac: "198.51.100.3"}
    assert neighbours(machine, ns) == {"10.9.0.3": DB.mac, "10.9.0.4": MQ.mac}

    cluster.converge(WEB, replace(DB, host="C"))

    assert fdb(machine, ns) == {DB.mac: "198.51.100.3"}
    assert neighbours(machine, ns) == {"10.9.0.3": DB.mac}
    assert machine.ping("web", "10.9.0.3")


def test_the_network_leaves_a_host_with_its_last_endpoint_there(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)

    pair.converge(DB)

    assert pair.hosts["A"].ns_of(LAN) not in machine.namespaces()
    assert ":4789" not in machine.run("A", "ss", "-lun").stdout
    assert "web" not in machine.namespaces()


DRIFTS = {
    "forwarding entry deleted": "bridge fdb del {mac} dev vxlan0 self",
    "forwarding entry bent": "bridge fdb replace {mac} dev vxlan0 dst 198.51.100.9 self permanent",
    "flooding": "bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 198.51.100.9 self permanent",
    "forwarding entry by another port": "bridge fdb replace {mac} dev vxlan0 dst 198.51.100.2 port 9 self permanent",
    "stray forwarding entry": "bridge fdb add 02:00:00:00:00:09 dev vxlan0 dst 198.51.100.9 self permanent",
    "neighbour deleted": "ip neigh del 10.9.0.3 dev vxlan0",
    "neighbour bent": "ip neigh replace 10.9.0.3 lladdr 02:00:00:00:00:09 dev vxlan0 nud permanent",
    "neighbour to be forgotten": "ip neigh replace 10.9.0.3 lladdr 02:00:00:00:00:09 dev vxlan0 nud reachable",
    "stray neighbour": "ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev vxlan0 nud permanent",
    "vxlan down": "ip link set vxlan0 down",
    "vxlan deleted": "ip link del vxlan0",
    "vxlan off its bridge": "ip link set vxlan0 nomaster",
    "vxlan learning": "ip link set vxlan0 type vxlan id 300 learning",
    "vxlan smaller": "ip link set vxlan0 mtu 1300",
    "bridge deleted": "ip link del br0",
    "bridge down": "ip link set br0 down",
    "gateway address deleted": "ip address del 10.9.0.1/24 dev br0",
    "pair off its bridge": "ip link set {pair} nomaster",
    "pair deleted": "ip link del {pair}",
}


@pytest.mark.parametrize("command", DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_is_repaired(pair: Cluster, machine: Machine, command: str) -> None:
    pair.converge(WEB, DB)
    ns = pair.hosts["A"].ns_of(LAN)
    near = next(name for name in machine.links(ns) if name.startswith("rcv"))
    machine.run(ns, *command.format(mac=DB.mac, pair=near).split())
    assert pair.hosts["A"].plan((WEB, DB), pair.vteps).operations

    pair.converge(WEB, DB)

    assert machine.ping("web", "10.9.0.3")


def test_a_mark_taken_off_inside_the_sandbox_changes_nothing(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)
    machine.run("web", "ip", "link", "set", "eth0", "group", "0")

    pair.converge(WEB, DB)

    assert machine.ping("web", "10.9.0.3")


def test_a_namespace_deleted_by_others_is_made_again(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)
    machine.delete_namespace(pair.hosts["A"].ns_of(LAN))
    assert eventually(lambda: ":4789" not in machine.run("A", "ss", "-lun").stdout)

    pair.converge(WEB, DB)

    assert machine.ping("web", "10.9.0.3")


def test_a_foreign_device_with_our_vni_is_named_and_left(pair: Cluster, machine: Machine) -> None:
    machine.run(
        "A", "ip", "link", "add", "theirs", "type", "vxlan", "id", "300", "dstport", "4789", "local", "198.51.100.1"
    )
    host = pair.hosts["A"]

    outcomes = host.carry_out(host.plan((WEB,), pair.vteps))

    errors = [str(outcome.error) for outcome in outcomes if outcome.error and not outcome.skipped]
    assert len(errors) == 1
    assert "another VXLAN device has VNI 300 on UDP port 4789" in errors[0]
    assert "theirs" in machine.links("A")


def test_a_pass_killed_anywhere_is_healed_by_the_next(pair: Cluster, machine: Machine) -> None:
    host = pair.hosts["A"]
    operations = host.plan((WEB, DB), pair.vteps).operations
    for cut in range(1, len(operations)):
        host.carry_out(Plan(operations=operations[:cut]))

        pair.converge(WEB, DB)

        assert machine.ping("web", "10.9.0.3"), f"after {operations[cut - 1].describe()}"
        pair.converge(DB)


def test_leftovers_of_a_killed_pass_go_when_nobody_wants_them(pair: Cluster, machine: Machine) -> None:
    host = pair.hosts["A"]
    operations = host.plan((WEB, DB), pair.vteps).operations
    for cut in range(1, len(operations)):
        host.carry_out(Plan(operations=operations[:cut]))

        pair.converge()

        assert machine.namespaces() == ["A", "B", "switch"], f"after {operations[cut - 1].describe()}"


def test_a_pass_with_nothing_to_do_sends_no_change(pair: Cluster) -> None:
    pair.converge(WEB, DB)
    host = pair.hosts["A"]
    before = host.namespaces.writes

    host.carry_out(host.plan((WEB, DB), pair.vteps))

    assert host.namespaces.writes == before


def test_a_network_on_another_udp_port_stands_beside(machine: Machine) -> None:
    with cluster_on(machine, ("A", "B")) as made:
        for host in made.hosts.values():
            host.facts = replace(host.facts, vxlan_port=4790)
        made.converge(WEB, DB)

        assert machine.ping("web", "10.9.0.3")
        assert ":4790" in machine.run("A", "ss", "-lun").stdout


@pytest.mark.parametrize(
    "command",
    [
        "ip neigh del 10.9.0.3 dev vxlan0",
        "ip neigh replace 10.9.0.3 lladdr 02:00:00:00:00:09 dev vxlan0 nud permanent protocol {protocol}",
        "bridge fdb del {mac} dev vxlan0 self",
        "bridge fdb replace {mac} dev vxlan0 dst 198.51.100.9 self permanent",
        "bridge fdb add 02:00:00:00:00:09 dev vxlan0 dst 198.51.100.9 self permanent",
        "bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 198.51.100.9 self permanent",
        "ip link set vxlan0 down",
    ],
    ids=["neighbour", "other MAC", "forwarding entry", "other VTEP", "stray forwarding entry", "flooding", "link"],
)
def test_a_watcher_hears_of_drift_and_looks_there_only(pair: Cluster, machine: Machine, command: str) -> None:
    pair.converge(WEB, DB)
    host, memory = pair.hosts["A"], Memory()
    ns = host.ns_of(LAN)
    ref = NsRef(f"netns:{ns}")
    with machine.inside("A"):
        events = KernelEvents(host.namespaces)
        events.arm(Watched(namespaces={ref: host.namespaces.present_inode(ref)}))
        events.drain()
        host.namespaces.release()
    try:
        assert host.plan((WEB, DB), pair.vteps, memory).operations == ()
        machine.run(ns, *command.format(mac=DB.mac, protocol=PROTOCOL).split())

        def is_seen() -> bool:
            told = events.drain()
            memory.forget(told.namespaces)
            memory.stale_entries |= told.entries
            return bool(host.plan((WEB, DB), pair.vteps, memory).operations)

        assert eventually(is_seen)
    finally:
        events.close()
    assert host.look(["web"], memory) == host.look(["web"])


def test_an_entry_on_a_device_that_is_gone_fails_alone_and_leaves_alone(pair: Cluster, machine: Machine) -> None:
    pair.converge(WEB, DB)
    ns = NsRef(f"netns:{pair.hosts['A'].ns_of(LAN)}")
    fits = Neighbour(ns=ns, ifname="vxlan0", address=ip_address("10.9.0.8"), mac="02:00:00:00:00:08")
    astray = replace(fits, ifname="vxlan7")
    operations = [
        Operation(action=Action.CREATE, before=None, after=astray, unit=astray.unit),
        Operation(action=Action.CREATE, before=None, after=fits, unit=fits.unit),
        Operation(action=Action.DELETE, before=astray, after=None, unit=astray.unit),
    ]

    with machine.inside("A"):
        failed, made, gone = apply(operations, world(namespaces=pair.hosts["A"].namespaces))
        pair.hosts["A"].namespaces.release()

    assert str(failed.error).startswith("create neighbour 10.9.0.8 at 02:00:00:00:00:08 on vxlan7")
    assert (made.error, gone.error) == (None, None)
    assert neighbours(machine, ns.removeprefix("netns:"))["10.9.0.8"] == "02:00:00:00:00:08"
