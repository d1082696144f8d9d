"""Bridges of others that networks take over in place, and give back as they were found."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ExitCode
from reconciler.model.identifiers import LINK_GROUP
from tests.command_line import Reconcile
from tests.kernel.test_pass_killed import ALL
from tests.machine import Machine
from tests.pipeline.forked import Forked, ForkedReconcile
from tests.pipeline.host_view import records
from tests.waiting import eventually, exit_code_of, patient

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  lan:
    adopt: true
    driver_opts: {com.docker.network.bridge.name: lan0}
attachments:
  web: {networks: {lan: {}}}
"""


PUBLISHED = SPECS.replace("web: {", "web: {ports: ['8080:80'], ")
SETTINGS = (
    *(("ipv4", key) for key in ("promote_secondaries", "route_localnet")),
    *(("ipv6", key) for key in ("disable_ipv6", "accept_ra", "autoconf", "accept_dad")),
)


@pytest.fixture
def lan(machine: Machine, host_ns: str) -> str:
    """Have a bridge of others on the host, with an address and a machine behind a port."""
    machine.add_namespace("vm")
    machine.ip_batch(
        host_ns,
        "link add lan0 mtu 1450 type bridge ageing_time 10000",
        "link set lan0 alias uplink-of-vms",
        "address add 10.9.0.5/24 dev lan0",
        "link add port0 mtu 1450 type veth peer name eth0 netns vm",
        "link set port0 master lan0 up",
        "link set lan0 up",
    )
    machine.ip_batch("vm", "address add 10.9.0.77/24 dev eth0", "link set eth0 up")
    assert machine.ping("vm", "10.9.0.5")
    return host_ns


def bridge(machine: Machine, host: str, name: str = "lan0") -> dict[str, Any]:
    """Tell of a bridge what somebody could have changed of it."""
    (addresses,), ports = machine.ip_jsons(host, f"address show {name}", f"link show master {name}")
    link = addresses
    options = link["linkinfo"]["info_data"]
    chosen = {key: options[key] for key in ("ageing_time", "stp_state", "vlan_filtering", "mcast_snooping")}
    told = {
        key: link.get(key) for key in ("ifindex", "address", "mtu", "flags", "group", "ifalias", "inet6_addr_gen_mode")
    }
    held = [(a["local"], a["prefixlen"], a.get("protocol")) for a in addresses["addr_info"]]
    conf = {f"{family}/{key}": (Path(f"/proc/sys/net/{family}/conf/{name}/{key}")) for family, key in SETTINGS}
    with machine.inside(host):
        settings = {key: path.read_text().strip() for key, path in conf.items()}
    return {**told, **chosen, **settings, "addresses": held, "ports": [port["ifname"] for port in ports]}


@contextmanager
def no_packet_lost(machine: Machine, source: str, target: str) -> Iterator[None]:
    """Have a machine send all along: every echo request is answered, in time."""
    command = ["ip", "netns", "exec", source, "ping", "-i", "0.05", "-W", "1", target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pings:
        yield
        pings.send_signal(2)
        told = pings.communicate()[0]
    assert " 0% packet loss" in told, told


def planned(reconcile: Reconcile) -> list[tuple[str, str, str]]:
    document = json.loads(reconcile("--dry-run", "--output", "json").stdout)
    changes = document["resource_changes"]
    return [(c["actions"][0], c["address"], c["disruption"]) for c in changes if c["kind"] == "AdoptedBridge"]


def test_a_bridge_of_others_is_taken_over_without_a_flap_and_given_back_as_it_was_found(
    reconcile: Reconcile, machine: Machine, lan: str, tmp_path: Path
) -> None:
    """By a plan that was saved and approved; told in every form and among the events."""
    before, saved, sarif = bridge(machine, lan), tmp_path / "plan", tmp_path / "sarif"
    reconcile.write(all=SPECS)

    text = reconcile(
        "--dry-run", "--objects", "--out", str(saved), "--output", "text", "--output", f"sarif={sarif}"
    ).stdout
    assert "lan0 is adopted for network lan" in sarif.read_text()
    assert "adopt bridge lan0 of others (mtu 1450)" in text
    assert "lan0 is adopted for network lan, with 10.9.0.5/24, port0 on it" in text
    assert "1 to adopt" in text
    assert planned(reconcile) == [("adopt", "AdoptedBridge/host/lan0", "none")]
    with no_packet_lost(machine, "vm", "10.9.0.5"):
        assert "1 adopted" in reconcile.ok("apply", str(saved)).text
        assert "nothing to do" in reconcile.ok().text
        events = [json.loads(line) for line in reconcile.ok("events").stdout.splitlines()]
        assert [e["action"] for e in events if e.get("kind") == "AdoptedBridge"] == ["adopt"]

        adopted = bridge(machine, lan)
        for unchanged in ("ifindex", "address", "mtu", "flags", "addresses", "ageing_time"):
            assert adopted[unchanged] == before[unchanged]
        assert machine.ping("web", "10.9.0.77")
        assert machine.ping("vm", "10.9.0.5")

        reconcile.ok("down")
    assert bridge(machine, lan) == before


def test_what_others_have_on_it_goes_on_through_the_host_and_among_themselves(
    reconcile: Reconcile, machine: Machine, lan: str
) -> None:
    """From outside to them, unasked, and from them with their own address; while it is adopted and a watcher mends it."""
    machine.add_namespace("far")
    machine.run(lan, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    machine.ip_batch(
        lan, "link add far0 type veth peer name eth0 netns far", "address add 10.3.0.1/24 dev far0", "link set far0 up"
    )
    machine.ip_batch("far", "address add 10.3.0.2/24 dev eth0", "link set eth0 up", "route add default via 10.3.0.1")
    machine.ip_batch("vm", "route add default via 10.9.0.5", "address add fe80::77/64 dev eth0 nodad")
    machine.ip_batch(lan, "address add fe80::5/64 dev lan0 nodad")
    reconcile.write(all=SPECS.replace("lan0}", 'lan0, com.docker.network.bridge.enable_icc: "false"}'))

    with no_packet_lost(machine, "far", "10.9.0.77"), no_packet_lost(machine, "vm", "10.3.0.2"):
        watcher = reconcile.start("watch")
        try:
            assert eventually(lambda: bridge(machine, lan)["group"] not in ("default", None), 30)
            assert machine.ping("web", "10.3.0.2")
            with machine.tcp_server("far") as port, machine.tcp_server("vm") as other:
                assert machine.tcp("vm", "10.3.0.2", port) == "10.9.0.77"
                assert machine.tcp("web", "10.3.0.2", port) == "10.3.0.1"
                assert machine.tcp("far", "10.9.0.77", other) == "10.3.0.2"
            with machine.tcp_server(lan) as port:  # as a DHCP server's answer, or a name server's
                (link,) = machine.ip_json("vm", "link", "show", "eth0")
                with machine.inside("vm"), socket.socket(socket.AF_INET6) as client:
                    client.settimeout(patient(10))
                    client.connect(("fe80::5", port, 0, link["ifindex"]))
            machine.run(lan, "ip", "link", "set", "lan0", "group", "default")
            assert eventually(lambda: bridge(machine, lan)["group"] not in ("default", None), 30)
        finally:
            watcher.terminate()
            assert exit_code_of(watcher) == 0
        reconcile.ok("down")
    assert bridge(machine, lan)["group"] == "default"
    assert bridge(machine, lan)["ifalias"] == "uplink-of-vms"


@pytest.mark.long
def test_killed_anywhere_the_next_pass_adopts_it_or_gives_it_back(
    forked: ForkedReconcile, machine: Machine, lan: str
) -> None:
    forked.write(specs=PUBLISHED.replace("driver_opts: {", 'driver_opts: {com.docker.network.driver.mtu: "1400", '))
    before = bridge(machine, lan)
    forked.ok()
    whole = bridge(machine, lan)
    assert (whole["mtu"], before["mtu"]) == (1400, 1450)
    assert (whole["ipv4/route_localnet"], before["ipv4/route_localnet"]) == ("1", "0")

    deaths = (_deaths(forked.ok("down"), 0), _deaths(forked.ok(), 1))
    forked.ok("down")
    for there, back in zip_longest(deaths[1], deaths[0], fillvalue=None):
        forked(die_before=there)
        forked.ok()
        assert bridge(machine, lan) == whole, there
        forked("down", die_before=back)
        forked.ok("down")
        assert bridge(machine, lan) == before, back
        assert records(machine) == {}, back
    assert min(map(len, deaths)) > 2


def _deaths(done: Forked, first: int) -> list[int]:
    """Return before which writes to die, of two one: those to the kernel's links, to the bridge's settings, and to the store."""
    close = (
        n for n, write in enumerate(done.writes) if write.startswith(("netlink", "SqliteStore")) or "lan0" in write
    )
    return [*close] if ALL else [*close][first::2]


def test_what_is_in_the_way_is_told_and_what_is_not_there_is_made_and_deleted_as_ever(
    reconcile: Reconcile, machine: Machine, host_ns: str
) -> None:
    reconcile.write(all=SPECS)
    machine.run("", "ip", "-n", host_ns, "link", "add", "lan0", "type", "veth", "peer", "name", "far0")
    refused = reconcile()
    assert refused.exit_code == ExitCode.FAILED, refused.text
    assert "lan0 (mtu 1500) is in the way and not ours" in refused.text

    machine.run("", "ip", "-n", host_ns, "link", "delete", "lan0")
    assert planned(reconcile) == []
    reconcile.ok()
    assert "nothing to do" in reconcile.ok().text
    assert bridge(machine, host_ns)["group"] == str(LINK_GROUP)
    reconcile.ok("down")
    assert machine.links(host_ns) == ["lo"]


def test_who_no_longer_adopts_gives_it_back_with_all_that_is_ours_on_it(
    reconcile: Reconcile, machine: Machine, lan: str
) -> None:
    """By `adopt: false` under the same name, by another name, and by taking the network out of the specs."""
    before = bridge(machine, lan)
    for after, exit_code in (
        (SPECS.replace("adopt: true", "adopt: false"), ExitCode.FAILED),
        (SPECS.replace("lan0", "lan1"), ExitCode.OK),
        ("networks: {other: {}}\n", ExitCode.OK),
    ):
        reconcile.write(all=SPECS)
        reconcile.ok()
        reconcile.write(all=after)

        assert planned(reconcile)[0][:2] == ("release", "AdoptedBridge/host/lan0")
        done = reconcile("--allow-prune")

        assert done.exit_code == exit_code, done.text
        assert "released" in done.text
        assert bridge(machine, lan) == before, after
        assert machine.ping("vm", "10.9.0.5")


def test_a_lost_record_leaves_it_as_it_is_and_a_lost_state_folder_deletes_nothing(
    reconcile: Reconcile, machine: Machine, lan: str
) -> None:
    reconcile.write(all=SPECS)
    reconcile.ok()
    adopted = bridge(machine, lan)
    shutil.rmtree(machine.state_dir)

    reconcile.ok()
    assert bridge(machine, lan)["ports"] == adopted["ports"]
    reconcile.ok("down")

    left = bridge(machine, lan)
    assert (left["ports"], left["addresses"], left["group"]) == (["port0"], adopted["addresses"], "default")


def test_an_import_of_the_kernel_plans_nothing_but_to_adopt_its_bridges(
    reconcile: Reconcile, machine: Machine, lan: str, tmp_path: Path
) -> None:
    for name, number in (("a", 1), ("b", 2)):
        machine.add_namespace(name)
        machine.ip_batch(
            lan,
            *(FURTHER if number == 1 else ()),
            f"link add q{number} up master quiet0 type veth peer name eth0 netns {name}",
            f"link add link up0 name mac{number} netns {name} type macvlan mode private",
        )
        machine.ip_batch(
            name,
            f"address add 10.8.0.{number}/24 dev eth0",
            "link set eth0 up",
            f"address add 10.7.0.{number}/24 dev mac{number}",
        )
    machine.run(lan, "nft", "-f", "-", stdin=TRANSLATION)
    folder = tmp_path / "imported"

    done = reconcile.ok("import", "kernel", "--output", str(folder))

    for told in (
        "bridge empty0: not carried: the bridge: nobody has an address on it",
        "bridge quiet0: not carried: who is behind hidden0:",
        "nft chain ip theirs pre: not carried: the translation of tcp port 8080 to 10.9.0.77:80",
        "take vm-eth0 out of aux_addresses, and declare {vm: {networks: {lan0: {ipv4_address: 10.9.0.77, interface_name: eth0}}}}",
    ):
        assert told in " ".join(done.stderr.split()), done.stderr
    document = json.loads(reconcile("--dry-run", "--output", "json", specs=folder).stdout)
    assert document["problems"] == []
    on_host = [c for c in document["resource_changes"] if c["unit"]["network"] not in ("bridge", "")]
    done_to = [(c["actions"], c["address"]) for c in on_host if c["kind"] not in ("KvRecord", "FirewallElement")]
    assert done_to == [(["adopt"], f"AdoptedBridge/host/{name}") for name in ("lan0", "quiet0")]

    before = bridge(machine, lan, "quiet0")
    reconcile.ok(specs=folder)
    assert "nothing to do" in reconcile("--dry-run", specs=folder).stdout
    assert bridge(machine, lan, "quiet0")["addresses"] == before["addresses"]
    assert machine.ping("a", "10.8.0.2")
    assert "adopted it already" in " ".join(reconcile.ok("import", "kernel").stderr.split())
    reconcile.ok("down", specs=folder)
    assert bridge(machine, lan, "quiet0") == before


FURTHER = (
    "link add quiet0 up type bridge",
    "link add empty0 type bridge",
    "link add hidden0 master quiet0 type veth peer name hidden1",
    "link add up0 type veth peer name up1",
    "link add vx0 type vxlan id 7 dstport 4789 local 10.9.0.5",
)
TRANSLATION = """
table ip theirs {
  chain pre { type nat hook prerouting priority -90; tcp dport 8080 dnat to 10.9.0.77:80; }
}
"""
