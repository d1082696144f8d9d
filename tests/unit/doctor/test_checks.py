"""What checks make of facts: each names its cause, and a command that takes it away."""

from __future__ import annotations

import os
import shlex
import socket
import threading
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

import reconciler.doctor.firewall as of_firewall
import reconciler.doctor.kernel as of_kernel
import reconciler.doctor.limits as of_limits
import reconciler.doctor.managers as of_managers
import reconciler.doctor.mtu as of_mtu
import reconciler.doctor.names as of_names
import reconciler.doctor.owners as of_owners
import reconciler.doctor.pools as of_pools
import reconciler.doctor.resolver as of_resolver
import reconciler.doctor.rights as of_rights
import reconciler.doctor.services as of_services
import reconciler.doctor.specs as of_specs
import reconciler.doctor.state as of_state
import reconciler.doctor.store as of_store
import reconciler.doctor.sysctls as of_sysctls
from reconciler.doctor.chains import legacy_base_chains
from reconciler.doctor.finding import Finding, Severity, written
from reconciler.doctor.firewall import Firewall
from reconciler.doctor.kernel import Kernel, needed_kinds
from reconciler.doctor.limits import KernelLimits
from reconciler.doctor.managers import Managers, unmanaged
from reconciler.doctor.mtu import Mtus
from reconciler.doctor.names import Unserved
from reconciler.doctor.owners import HostOwners, Watcher, watcher_of
from reconciler.doctor.packets import NeededPacket
from reconciler.doctor.pools import Pools, planned
from reconciler.doctor.registry import CHECKS
from reconciler.doctor.resolver import Resolver
from reconciler.doctor.rights import Rights
from reconciler.doctor.rules import HookPacket
from reconciler.doctor.services import Services, plugin_names
from reconciler.doctor.specs import Specs
from reconciler.doctor.state import Folder, State
from reconciler.doctor.store import Store, latest
from reconciler.doctor.sysctls import Sysctls, at_boot
from reconciler.doctor.typed import base
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.model.wanted import MacvlanOptions, NetworkWanted, WantedState

ALL = (1 << 41) - 1
WHOLE = [["0", "0", "4294967295"]]


def test_every_check_says_in_a_sentence_what_it_asks() -> None:
    assert [
        check.name for check in CHECKS if not (check.asks.startswith("Whether ") and check.asks.endswith("."))
    ] == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_missing_rights_are_named_once() -> None:
    (found,) = of_rights.judge(Rights(capabilities=0, uid_map=WHOLE), ["reconcile", "doctor", "--host", "a b"])

    assert found.severity is Severity.ERROR
    assert "CAP_NET_ADMIN and CAP_SYS_ADMIN" in found.what
    assert found.mend == ("sudo reconcile doctor --host 'a b'",)


def test_useful_rights_and_user_namespaces_are_told() -> None:
    assert [*of_rights.judge(Rights(capabilities=ALL, uid_map=WHOLE), [])] == []
    lacking = [*of_rights.judge(Rights(capabilities=ALL & ~(1 << 10), uid_map=[["0", "1000", "1"]]), ["r"])]
    assert [(each.severity, each.what.split()[-1]) for each in lacking] == [
        (Severity.WARNING, "CAP_NET_BIND_SERVICE"),
        (Severity.NOTE, "host"),
    ]


GOOD = Kernel(release="6.1.0-13-amd64", needed=("veth", "bridge"), nft="1.0.6")


def test_a_kernel_that_can_all_is_not_spoken_of() -> None:
    assert [*of_kernel.judge(GOOD)] == []
    assert [*of_kernel.judge(Kernel(release="unknown"))] == []


def test_each_lack_of_a_kernel_is_an_error_with_a_command() -> None:
    bad = Kernel(
        release="5.10.0-9-amd64",
        missing=("vxlan", "vlan"),
        nft="0.9.8",
        refused="no such thing",
        untracked="refused",
        no_sockets="refused",
    )
    found = [*of_kernel.judge(bad), *of_kernel.judge(replace(GOOD, no_nft="nftables is missing"))]

    assert [each.severity for each in found] == [Severity.ERROR] * 8
    assert all(each.mend for each in found)
    assert any("modprobe 8021q" in each.mend[0] for each in found)


def test_kinds_of_links_are_those_that_the_specs_take() -> None:
    networks = (
        NetworkWanted(name="a", driver="overlay"),
        NetworkWanted(name="b", driver="macvlan", macvlan=MacvlanOptions(parent="eth0.7")),
    )

    assert needed_kinds(WantedState(networks=networks, attachments=())) == (
        "veth",
        "bridge",
        "vxlan",
        "macvlan",
        "vlan",
    )


FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


def test_forwarding_matters_once_there_is_something_to_forward() -> None:
    off = Sysctls(values={"net/ipv4/ip_forward": "0"}, uplinks={4: ("eth0",)})

    assert [*of_sysctls.judge(off)] == []
    (found,) = of_sysctls.judge(replace(off, versions=(4,)))
    assert found.mend == ("sysctl -w net.ipv4.ip_forward=1",)


def test_one_link_may_not_forward_and_files_may_switch_it_off() -> None:
    facts = Sysctls(
        values={**FORWARDING, "net/ipv4/conf/eth0.7/forwarding": "0"},
        uplinks={4: ("eth0.7",)},
        versions=(4,),
        at_boot=at_boot(
            {
                "/usr/lib/sysctl.d/50-a.conf": "net.ipv4.ip_forward=1\n",
                "/etc/sysctl.d/60-b.conf": "# off\n net/ipv4/ip_forward = 0\nrest",
            }
        ),
    )

    link, boot = of_sysctls.judge(facts)

    assert link.mend == ("sysctl -w net.ipv4.conf.eth0/7.forwarding=1",)
    assert "/etc/sysctl.d/60-b.conf:2" in boot.what
    assert boot.severity is Severity.WARNING
    mended = at_boot(
        {"/etc/sysctl.d/60-b.conf": "net.ipv4.ip_forward=0", of_sysctls._OWN_FILE: "net.ipv4.ip_forward = 1"}
    )
    assert mended["net/ipv4/ip_forward"][0] == "1"


def test_strict_filtering_matters_where_there_are_two_ways_in() -> None:
    one = Sysctls(values={"net/ipv4/conf/all/rp_filter": "1"}, uplinks={4: ("eth0",)})
    two = replace(one, uplinks={4: ("eth0", "eth1")})

    assert [*of_sysctls.judge(one)] == []
    assert [each.mend for each in of_sysctls.judge(two)] == [
        ("sysctl -w net.ipv4.conf.eth0.rp_filter=2",),
        ("sysctl -w net.ipv4.conf.eth1.rp_filter=2",),
    ]
    loose = {**two.values, "net/ipv4/conf/eth0/rp_filter": "2", "net/ipv4/conf/eth1/rp_filter": "2"}
    assert [*of_sysctls.judge(replace(two, values=loose))] == []


def test_old_chains_that_drop_are_mended_in_their_own_way() -> None:
    packet = HookPacket(version=4, iifname="br-web", oifname="eth0")
    asked = (NeededPacket(hook="forward", link="br-web", means="members reach nobody outside", packet=packet),)
    plain = tuple(legacy_base_chains("-P FORWARD DROP\n-P INPUT DROP\n-P OUTPUT ACCEPT", 4))
    docker = tuple(legacy_base_chains("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER", 4))
    ufw = tuple(legacy_base_chains("-P FORWARD DROP\n-A FORWARD -j ufw-before-forward", 4))

    (found,) = of_firewall.judge(Firewall(chains=plain, asked=asked))
    assert found.mend == (
        "iptables-legacy -I FORWARD -i br-web -j ACCEPT",
        "iptables-legacy -I FORWARD -o br-web -j ACCEPT",
    )
    assert [each.mend[0] for each in of_firewall.judge(Firewall(chains=docker, asked=asked))] == [
        "iptables-legacy -I DOCKER-USER -i br-web -j ACCEPT"
    ]
    assert [each.mend[0] for each in of_firewall.judge(Firewall(chains=ufw, asked=asked))] == [
        "ufw route allow in on br-web"
    ]
    (unread,) = of_firewall.judge(Firewall(asked=asked, unread=("iptables-legacy",)))
    assert unread.severity is Severity.WARNING


def test_what_lets_no_vxlan_in_is_mended_for_its_port() -> None:
    packet = HookPacket(version=4, iifname="eth0", oifname="", protocol="udp", dport=4789)
    asked = (NeededPacket(hook="input", link="VXLAN", means="nothing comes in", packet=packet),)
    rules = "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m state --state ESTABLISHED -j ACCEPT"

    (found,) = of_firewall.judge(Firewall(chains=tuple(legacy_base_chains(rules, 4)), asked=asked))

    assert found.severity is Severity.ERROR
    assert found.mend == ("iptables-legacy -I INPUT -p udp --dport 4789 -j ACCEPT",)
    mended = f"{rules}\n-A INPUT -p udp --dport 4789 -j ACCEPT"
    assert [*of_firewall.judge(Firewall(chains=tuple(legacy_base_chains(mended, 4)), asked=asked))] == []


def test_lines_are_written_as_they_are() -> None:
    assert written("/etc/a b", ["x=1", "it's"]) == "printf '%s\\n' x=1 'it'\"'\"'s' > '/etc/a b'"


def severities(found: Iterable[Finding]) -> list[str]:
    return [str(each.severity) for each in found]


def test_what_is_to_be_run_next_is_meant_for_the_same_host() -> None:
    typed = ["reconcile", "--specs", "doctor.d", "doctor", "--format", "json", "--host=a", "--bundle=x", "--force"]

    assert base(typed) == ["reconcile", "--specs", "doctor.d", "--host=a"]


def test_managers_are_told_of_until_they_are_told_to_leave_our_links_alone() -> None:
    running = Managers(running=frozenset({"NetworkManager"}), links=("lan0",))
    (found,) = of_managers.judge(running)
    told = unmanaged({"x": found.mend[1].partition("' '")[2].partition("' >")[0].replace("' '", "\n")})

    assert "lan0" in told
    assert [*of_managers.judge(replace(running, unmanaged=told))] == []
    assert [*of_managers.judge(replace(running, unmanaged=("rcv*",)))] != []
    assert [*of_managers.judge(Managers(links=("lan0",)))] == []


def test_the_last_file_of_networkmanager_may_forget_the_others() -> None:
    files = {"a": "unmanaged-devices=interface-name:x*;mac:00", "b": "[keyfile]\nunmanaged-devices+=interface-name:=y"}

    assert unmanaged(files) == ("x*", "y")
    assert unmanaged({**files, "c": "unmanaged-devices=driver:z"}) == ()


@pytest.mark.parametrize(
    ("text", "is_managed"),
    [
        ("[Match]\nName=*\n[Network]\nDHCP=yes", True),
        ("[Match]\nType=ether\n[Network]\nDHCP=yes", True),
        ("[Match]\nName=en*\n[Network]\nDHCP=yes", False),
        ("[Match]\nMACAddress=02:00:00:00:00:01\n[Network]\nDHCP=yes", False),
        ("[Match]\nType=wlan\n", False),
    ],
)
def test_networkd_is_told_of_where_a_file_of_it_takes_our_links(text: str, is_managed: bool) -> None:
    files = {"/usr/lib/systemd/network/80-all.network": text}
    running = Managers(running=frozenset({"systemd-network"}), networkd=files)
    found = [*of_managers.judge(running)]

    assert bool(found) == is_managed
    if found:
        lines = found[0].mend[1].partition(" ")[2].partition(" ")[2].rpartition(" > ")[0]
        snippet = "\n".join(word.strip("'") for word in shlex.split(lines))
        assert [*of_managers.judge(replace(running, networkd={**files, of_managers._NETWORKD_FILE: snippet}))] == []


def test_a_foreign_docker0_and_a_ruleset_that_is_flushed_are_told_of() -> None:
    (taken,) = of_managers.judge(Managers(foreign=frozenset({"docker0"}), is_bridge_wanted=True))
    (flushed,) = of_managers.judge(Managers(nftables="#!/usr/sbin/nft -f\nflush ruleset\n"))

    assert "bridge: none" in taken.mend[1]
    assert flushed.severity is Severity.NOTE


def test_subnets_are_held_against_routes_and_vpns_that_are_not_up() -> None:
    own = ((ip_network("172.18.0.0/16"), "web"),)
    routes = (
        (ip_network("172.18.3.0/24"), "tun0"),
        (ip_network("0.0.0.0/1"), "tun0"),
        (ip_network("172.16.0.0/12"), "eth0"),
    )
    text = "[Peer]\nAllowedIPs = 172.18.0.0/24, 0.0.0.0/0, nonsense\n"
    wireguard = tuple(planned({"/etc/wireguard/wg0.conf": text}))

    found = [*of_pools.judge(Pools(own=own, routes=routes, vpns=frozenset({"tun0"}), planned=wireguard))]

    assert severities(found) == ["error", "warning", "warning"]
    assert "VPN tun0" in found[0].what
    assert "192.168.0.0/20" in found[0].why
    assert "wg0.conf" in found[2].what
    assert [*of_pools.judge(Pools(own=own))] == []
    assert severities(
        of_pools.judge(Pools(routes=((ip_network("172.16.0.0/12"), "a"), (ip_network("192.168.0.0/16"), "b"))))
    ) == ["note"]


def test_packets_that_do_not_fit_are_told_of_with_the_size_that_does() -> None:
    found = [
        *of_mtu.judge(
            Mtus(bridged=(("web", 9000),), overlays=(("all", 1450),), uplink=("eth0", 1500), underlay=("eth1", 1480))
        )
    ]

    assert [(str(each.severity), each.mend[0]) for each in found] == [
        ("error", "ip link set dev eth1 mtu 1500"),
        ("warning", "ip link set dev eth0 mtu 9000"),
    ]
    assert [
        *of_mtu.judge(
            Mtus(
                bridged=(("web", 1500),), overlays=(("all", 1430),), uplink=("e", 1500), underlay=("e", 1500), version=6
            )
        )
    ] == []
    assert severities(of_mtu.judge(Mtus(uplink=("e", 1000), underlay=("e", 1000)))) == ["warning"]


def test_a_resolver_that_leads_to_ourselves_is_told_of() -> None:
    member = {ip_address("172.18.0.2"): "dns"}

    assert [*of_resolver.judge(Resolver(servers=("9.9.9.9", "fe80::1%eth0")))] == []
    assert severities(of_resolver.judge(Resolver(servers=("127.0.0.11",)))) == ["error"]
    assert [*of_resolver.judge(Resolver(servers=("127.0.0.11",), is_served=True))] == []
    assert severities(of_resolver.judge(Resolver(servers=("172.18.0.2",), members=member))) == ["warning"]
    assert severities(of_resolver.judge(Resolver(servers=("127.0.0.53",), behind=("172.18.0.2",), members=member))) == [
        "warning"
    ]
    assert severities(of_resolver.judge(Resolver())) == ["warning"]
    (unreadable,) = of_resolver.judge(Resolver(unreadable="expected a regular file", behind=("192.0.2.1",)))
    assert unreadable.mend[1].startswith("ln -s /run/systemd/resolve")


def test_who_has_port_53_is_named() -> None:
    (found,) = of_names.judge((Unserved(attachment="a", reason="in use", holders=((7, "dnsmasq"),)),), ["reconcile"])

    assert "process 7 (dnsmasq) has port 53" in found.what
    assert found.mend == ("kill 7", "reconcile")


def test_limits_are_told_of_before_they_are_met() -> None:
    enough = KernelLimits(folders=9, watched=9, neighbours=1024, members=10)

    assert [*of_limits.judge(enough)] == []
    (few,) = of_limits.judge(replace(enough, watched=3, watches=("user/max_inotify_watches", 3)))
    assert few.mend == ("sysctl -w user.max_inotify_watches=65536",)
    (none,) = of_limits.judge(replace(enough, has_instance=False, instances=("fs/inotify/max_user_instances", 128)))
    assert none.mend == ("sysctl -w fs.inotify.max_user_instances=1024",)
    assert severities(of_limits.judge(replace(enough, connections=(95, 100)))) == ["warning"]
    assert severities(of_limits.judge(replace(enough, connections=(100, 100)))) == ["error"]
    assert severities(of_limits.judge(replace(enough, members=1000, files=1024))) == ["warning", "warning"]


def test_folders_that_cannot_be_written_are_told_of_once() -> None:
    folder = Folder(path="/s/status", above="/s")

    assert [*of_state.judge(State(folders=(folder, replace(folder, path="/s", free=1 << 30))))] == []
    blocked = replace(folder, is_folder=False)
    assert severities(of_state.judge(State(folders=(blocked, replace(blocked, path="/s"))))) == ["error"]
    assert severities(of_state.judge(State(folders=(replace(folder, is_writable=False, free=0),)))) == [
        "error",
        "error",
    ]
    assert severities(of_state.judge(State(folders=(replace(folder, is_open_to_all=True, files=200),)))) == [
        "warning",
        "warning",
    ]
    (read_only,) = of_state.judge(State(folders=(replace(folder, is_read_only=True, above="/proc/self"),)))
    assert read_only.mend == ("mount -o remount,rw /proc",)
    (damaged,) = of_state.judge(State(folders=(), failure="no database", store="/s/state.db"))
    assert damaged.mend == ("mv /s/state.db /s/state.db.damaged",)


def test_folders_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert not of_state._read(tmp_path / "file" / "below").is_folder
    assert of_state._read(tmp_path / "new" / "folder").above == str(tmp_path)


def test_others_who_run_this_host_are_told_of() -> None:
    watchers = (Watcher(pid=1, namespace=5), Watcher(pid=2, namespace=6))
    found = [
        *of_owners.judge(HostOwners(anothers="run with others", watchers=watchers, suspended=("web",)), ["reconcile"])
    ]

    assert [each.mend for each in found] == [("reconcile --take-over",), ("kill 2",), ("reconcile resume web",)]
    assert [*of_owners.judge(HostOwners(watchers=watchers[:1]), ["reconcile"])] == []
    assert watcher_of(os.getpid()) is None


def test_specs_that_come_to_nothing_are_told_of() -> None:
    found = [
        *of_specs.judge(Specs(faults=("a:1:1: x", "b:1:1: y"), failures=(("port", False), ("sandbox", True))), ["r"])
    ]

    assert severities(found) == ["error", "error", "warning"]
    assert found[0].mend == ("r validate",)
    many = [*of_specs.judge(Specs(failures=(("x", False),) * 50, unknown="no store"), ["r"])]
    assert len(many) == 22


GOOD_STORE = Store(address="192.0.2.1:2379", latency_s=0.01, clocks={"192.0.2.1:2379": 1.0})


@pytest.mark.parametrize(
    ("store", "severity", "said"),
    [
        (replace(GOOD_STORE, failure="refused", service="etcd"), "error", "is not reached: refused"),
        (replace(GOOD_STORE, unwritable="no leader"), "error", "no leader"),
        (replace(GOOD_STORE, latency_s=2.0), "warning", "2.0 s"),
        (replace(GOOD_STORE, clocks={"s": -61.0}), "warning", "61 s behind"),
        (replace(GOOD_STORE, ahead_s=3600.0), "warning", "3600 s ahead"),
        (replace(GOOD_STORE, silent=("beta",)), "warning", "beta"),
        (replace(GOOD_STORE, namesake="abc"), "error", "our name"),
    ],
)
def test_each_trouble_with_the_store_is_told_of(store: Store, severity: str, said: str) -> None:
    (found,) = of_store.judge(store, ["reconcile"])

    assert str(found.severity) == severity
    assert said in found.what
    assert [*of_store.judge(GOOD_STORE, ["reconcile"])] == []


def test_the_latest_moment_of_records_is_found() -> None:
    records = ['{"at": "2026-01-01T00:00:00.5Z"}', '{"at":"2026-01-02T00:00:00.000000000Z"}', '"2026-99-02T00:00:00Z"']

    assert latest(records) == 1767312000.0
    assert latest([]) == 0


def test_a_server_s_clock_is_read_and_one_that_says_nothing_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        good = Endpoint("127.0.0.1", server.getsockname()[1])
        with socket.create_server(("127.0.0.1", 0)) as other:
            refusing = Endpoint("127.0.0.1", other.getsockname()[1])
        found = dict(of_store._clocks(StoreConfig(provider=Provider.ETCD, endpoints=(refusing, good))))
        thread.join()

    assert [*found] == [str(good)]
    assert found[str(good)] < 0


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    forever = threading.Event()

    assert of_store._within(0.01, forever.wait) is None
    assert of_store._within(60, lambda: 7) == 7
    forever.set()


def test_plugins_and_engines_that_are_not_there_are_told_of() -> None:
    found = [
        *of_services.judge(
            Services(plugins=(("weave", "not found"),), engine="refused", socket="/run/podman/podman.sock")
        )
    ]

    assert severities(found) == ["error", "error"]
    assert found[1].mend == ("systemctl start podman.socket",)
    networks = (
        NetworkWanted(name="a", driver="weave"),
        NetworkWanted(name="b", ipam_driver="infoblox"),
        NetworkWanted(name="c"),
    )
    assert plugin_names(WantedState(networks=networks, attachments=())) == ("infoblox", "weave")
