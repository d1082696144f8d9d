"""When what goes between links of others is dropped: as long as the host forwards for us alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from reconciler.compile import compile_objects, remembered_settings
from reconciler.doctor import transit as of_transit
from reconciler.doctor.finding import Severity
from reconciler.doctor.transit import Transit
from reconciler.facts import Facts, Records
from reconciler.firewall.transit import transit_elements
from reconciler.incremental import Table
from reconciler.ipam.promises import Promises, SysctlPromise
from reconciler.model.desired import DesiredNetwork, DesiredState
from reconciler.model.identifiers import FORWARDING, HOST
from reconciler.model.objects import FirewallElement, FirewallRules, KvRecord, Object, Seen, Sysctl
from tests.fakes.desired import host_facts, network

HERE = replace(host_facts(), place="boot/1")
FRONT = network("front", "172.30.1.0/24", "fd00::/64")
BOTH = {"no_transit ipv4", "no_transit ipv6"}
OFF = dict.fromkeys(FORWARDING.values(), "0")


def remembered(
    settings: Mapping[str, str],
    *networks: DesiredNetwork,
    before: Sequence[SysctlPromise] = (),
    held: Sequence[DesiredNetwork] = (),
    is_open: bool = False,
    rules: Sequence[FirewallElement] = (),
) -> list[Object]:
    """Give what there shall be. settings: of the host, as they are. before: what is promised of them. rules: there."""
    desired = DesiredState(
        host=replace(HERE, is_transit_open=is_open), networks=networks, attachments=(), held_networks=tuple(held)
    )
    seen = [Sysctl(ns=HOST, name=name, value=value) for name, value in settings.items()]
    promises = Promises(sysctls={(each.ns, each.name): each for each in before})
    facts = Facts(
        host=desired.host,
        seen=Table({each.key: Seen(each, is_ours=each in rules) for each in (*seen, *rules)}),
        records=Records(promises=promises),
    )
    return [*remembered_settings(Table(compile_objects(desired, {})), facts, desired)]


def dropping(found: Sequence[Object]) -> set[str]:
    return {f"{each.set_name} {' '.join(each.element)}" for each in found if isinstance(each, FirewallElement)}


def promise(name: str, before: str, place: str = "boot/1") -> SysctlPromise:
    return SysctlPromise(ns=HOST, name=name, before=before, place=place)


def test_who_had_it_switched_off_gets_no_router_and_who_had_it_on_keeps_his() -> None:
    assert dropping(remembered(OFF, FRONT)) == BOTH
    assert dropping(remembered(dict.fromkeys(OFF, "1"), FRONT)) == set()
    assert dropping(remembered(dict.fromkeys(OFF, "2"), FRONT)) == set(), "whatever is not 0 is on"
    assert dropping(remembered({**OFF, FORWARDING[4]: "1"}, FRONT)) == {"no_transit ipv6"}
    assert dropping(remembered(OFF, network("inner", "10.0.0.0/24", is_internal=True))) == set()
    assert dropping(remembered(OFF, FRONT, is_open=True)) == set()


@pytest.mark.parametrize("place", ["boot/1", ""], ids=["this boot", "of 0.1.0"])
def test_what_we_switched_on_is_known_by_its_record(place: str) -> None:
    kept = [promise(name, "0", place) for name in OFF]

    found = remembered(dict.fromkeys(OFF, "1"), FRONT, before=kept)

    assert dropping(found) == BOTH
    values = {each.value for each in found if isinstance(each, KvRecord)}
    assert values == {'{"before":"0"}' if not place else '{"before":"0","place":"boot/1"}'}


def test_what_another_boot_switched_on_is_not_ours_and_what_it_left_off_is_recorded_anew() -> None:
    kept = [promise(name, "0", "boot/0") for name in OFF]

    found = remembered({**OFF, FORWARDING[4]: "1"}, FRONT, before=kept)

    assert dropping(found) == {"no_transit ipv6"}
    assert [(each.path, each.value) for each in found if isinstance(each, KvRecord)] == [
        ("sysctl/host/net/ipv6/conf/all/forwarding", '{"before":"0","place":"boot/1"}')
    ]
    assert not [each for each in found if isinstance(each, Sysctl)], "nothing is put back that was so before us"


def test_what_the_rules_tell_counts_where_the_records_are_lost() -> None:
    on = dict.fromkeys((*OFF, "net/ipv4/conf/eth1/forwarding"), "1")
    rules = [*transit_elements((4, 6), [(4, "eth1")])]

    found = remembered(on, FRONT, rules=rules)

    assert dropping(found) == {*BOTH, "transit_from ipv4 eth1"}
    assert {each.path.removeprefix("sysctl/host/"): each.value for each in found if isinstance(each, KvRecord)} == {
        name: f'{{"before":"{before}","place":"boot/1"}}'
        for name, before in (*OFF.items(), ("net/ipv4/conf/eth1/forwarding", "1"))
    }
    assert {each.value for each in remembered(on, rules=rules) if isinstance(each, Sysctl)} == {"0"}, "put back"
    assert dropping(remembered(on, FRONT, rules=rules, before=[promise(name, "1") for name in OFF])) == set()


def test_what_forwarded_link_by_link_goes_on() -> None:
    four, six = "net/ipv4/conf/eth1/forwarding", "net/ipv6/conf/eth1/force_forwarding"
    both = {"transit_from ipv4 eth1", "transit_from ipv6 eth1"}
    assert dropping(remembered({**OFF, four: "1", six: "1"}, FRONT)) == BOTH | both
    kept = [*(promise(name, "0") for name in OFF), promise(four, "1")]
    on = dict.fromkeys((*OFF, four, "net/ipv4/conf/eth2/forwarding"), "1")
    assert dropping(remembered(on, FRONT, before=kept)) == BOTH | {"transit_from ipv4 eth1"}
    later = {**OFF, "net/ipv4/conf/default/forwarding": "1"}
    assert dropping(remembered(later, FRONT)) == {"no_transit ipv6"}, "links that come later forwarded too"


def test_it_is_dropped_as_long_as_it_is_switched_on_for_us() -> None:
    """What is held may need it; then the rules stay with it, and go when it is put back."""
    kept, on = [promise(name, "0") for name in OFF], dict.fromkeys(OFF, "1")
    held = replace(FRONT, link_name="")

    found = remembered(on, before=kept, held=[held])
    assert dropping(found) == BOTH
    assert {each.family for each in found if isinstance(each, FirewallRules)} == {"inet", "bridge"}

    assert dropping(remembered(on, before=kept)) == set()


def test_a_plugins_links_are_known_to_nobody_so_that_all_stays_open() -> None:
    plugged = replace(FRONT, wanted=replace(FRONT.wanted, name="plugged", driver="weave", bridge=None), link_name="")

    assert dropping(remembered(OFF, FRONT, plugged)) == set()
    assert dropping(remembered(OFF, FRONT, held=[plugged])) == set()


def test_who_came_later_is_warned_of_and_what_cards_tell_each_other_is_noted() -> None:
    dropped = (("docker0", "eth0"), ("eth0", "eth1"), ("eth0", "gone0"))
    (warned, noted) = of_transit.judge(
        Transit(dropped=dropped, kinds={"docker0": "bridge", "eth0": "", "eth1": "vlan"})
    )

    assert (warned.severity, noted.severity) == (Severity.WARNING, Severity.NOTE)
    assert warned.what == "our firewall dropped packets from docker0 to eth0"
    assert noted.what == "our firewall dropped packets from eth0 to eth1, eth0 to gone0"
    assert warned.mend[-1] == "printf '%s\\n' 'ip-forward-no-drop: true' >> /etc/reconciler/config.yaml"
    assert [*of_transit.judge(Transit())] == []
