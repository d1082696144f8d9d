"""What becomes of packets in chains of others."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from reconciler.doctor.iptables_rules import iptables_chains
from reconciler.doctor.nft_rules import nft_rules
from reconciler.doctor.rules import Fate, HookPacket, Rule, fate

OUT = HookPacket(
    version=4,
    iifname="br-web",
    oifname="eth0",
    source=ip_address("172.18.0.2"),
    destination=ip_address("198.51.100.1"),
    dport=443,
)
BACK = HookPacket(
    version=4, iifname="eth0", oifname="br-web", source=OUT.destination, destination=OUT.source, state="established"
)


def in_legacy(text: str, packet: HookPacket = OUT) -> Fate:
    policies, rules = iptables_chains(text)
    return fate(packet, "FORWARD", policies["FORWARD"], lambda chain: rules.get(chain, ()))


@pytest.mark.parametrize(
    ("rules", "is_dropped", "rule"),
    [
        ("", True, ""),
        ("-A FORWARD -i br-web -j ACCEPT", False, ""),
        ("-A FORWARD -i br-+ -j ACCEPT", False, ""),
        ("-A FORWARD ! -i br-web -j ACCEPT", True, ""),
        ("-A FORWARD -s 172.16.0.0/12 -p tcp -m tcp --dport 80:443 -j ACCEPT", False, ""),
        ("-A FORWARD -p udp -j ACCEPT", True, ""),
        ("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", True, ""),
        ("-A FORWARD -j INNER\n-A INNER -o eth0 -j ACCEPT", False, ""),
        ("-A FORWARD -j INNER\n-A INNER -j RETURN\n-A INNER -j ACCEPT", True, ""),
        ("-A FORWARD -g INNER\n-A FORWARD -j ACCEPT\n-A INNER -p udp -j DROP", True, ""),
        ("-A FORWARD -j LOG --log-prefix -i\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable", True, "REJECT"),
    ],
)
def test_old_rules_are_followed(rules: str, is_dropped: bool, rule: str) -> None:
    found = in_legacy(f"-P FORWARD DROP\n{rules}")

    assert found.is_dropped == is_dropped
    assert found.is_sure
    assert rule in found.rule


def test_what_cannot_be_read_neither_drops_nor_accepts_for_sure() -> None:
    dropping = in_legacy("-P FORWARD ACCEPT\n-A FORWARD -m geoip --src-cc XX -j DROP")
    accepting = in_legacy("-P FORWARD DROP\n-A FORWARD -m set --match-set good src -j ACCEPT")

    assert not dropping.is_dropped
    assert accepting.is_dropped
    assert not accepting.is_sure


def test_a_circle_and_a_chain_that_is_not_there_end() -> None:
    assert in_legacy("-P FORWARD DROP\n-A FORWARD -j A\n-A A -j B\n-A B -j A").is_dropped
    assert in_legacy("-P FORWARD DROP\n-A FORWARD -j NOWHERE").is_dropped


def test_replies_are_told_from_what_is_new() -> None:
    text = "-P FORWARD DROP\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT"

    assert in_legacy(text).is_dropped
    assert not in_legacy(text, BACK).is_dropped


ESTABLISHED = [{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": None}]]}}}]


def matching(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


def in_nft(*rules: list[dict[str, object]], packet: HookPacket = OUT) -> Fate:
    listing = json.loads(json.dumps([{"expr": rule} for rule in rules]))
    found: tuple[Rule, ...] = nft_rules(listing)
    return fate(packet, "forward", "drop", lambda chain: found if chain == "forward" else ())


@pytest.mark.parametrize(
    ("rule", "is_dropped"),
    [
        ([matching({"meta": {"key": "iifname"}}, "br-*"), {"counter": {"packets": 1}}, {"accept": None}], False),
        ([matching({"meta": {"key": "oifname"}}, {"set": ["eth1", "eth0"]}), {"accept": None}], False),
        ([matching({"meta": {"key": "iifname"}}, "br-web", "!="), {"accept": None}], True),
        (
            [
                matching(
                    {"payload": {"protocol": "ip", "field": "saddr"}}, {"prefix": {"addr": "172.16.0.0", "len": 12}}
                ),
                {"accept": None},
            ],
            False,
        ),
        ([matching({"payload": {"protocol": "tcp", "field": "dport"}}, {"range": [1, 80]}), {"accept": None}], True),
        ([matching({"ct": {"key": "state"}}, ["established", "new"], "in"), {"accept": None}], False),
        (ESTABLISHED, True),
        ([{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}], True),
    ],
)
def test_rules_of_nftables_are_followed(rule: list[dict[str, object]], is_dropped: bool) -> None:
    found = in_nft(rule)

    assert found.is_dropped == is_dropped
    assert found.is_sure


def test_verdict_maps_are_followed_and_named_ones_are_not_known() -> None:
    named = [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}]

    assert not in_nft(ESTABLISHED, packet=BACK).is_dropped
    assert not in_nft(named).is_sure
    assert not in_nft([matching({"payload": {"protocol": "ip", "field": "saddr"}}, "@good"), {"accept": None}]).is_sure


def test_a_match_of_the_old_kind_within_nftables_is_not_known() -> None:
    assert not in_nft([{"xt": {"type": "match", "name": "conntrack"}}, {"accept": None}]).is_sure
    assert not in_nft([{"xt": {"type": "match", "name": "comment"}}, {"accept": None}]).is_dropped
    assert in_nft([{"xt": {"type": "target", "name": "REJECT"}}], [{"accept": None}]).rule == "REJECT"
