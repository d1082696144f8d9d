"""What checks make of facts: each names its cause, and a command that takes it away."""

from __future__ import annotations

from msgspec.structs import replace

import reconciler.doctor.firewall as of_firewall
import reconciler.doctor.kernel as of_kernel
import reconciler.doctor.rights as of_rights
import reconciler.doctor.sysctls as of_sysctls
from reconciler.doctor.finding import Severity, written
from reconciler.doctor.firewall import Asked, Firewall, legacy_base_chains
from reconciler.doctor.kernel import Kernel, needed_kinds
from reconciler.doctor.registry import CHECKS
from reconciler.doctor.rights import Rights
from reconciler.doctor.rules import Packet
from reconciler.doctor.sysctls import Sysctls, at_boot
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
    packet = Packet(version=4, iifname="br-web", oifname="eth0")
    asked = (Asked(hook="forward", link="br-web", means="members reach nobody outside", packet=packet),)
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


def test_lines_are_written_as_they_are() -> None:
    assert written("/etc/a b", ["x=1", "it's"]) == "printf '%s\\n' x=1 'it'\"'\"'s' > '/etc/a b'"
