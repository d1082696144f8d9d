"""Our tables as state: they converge, they are repaired without a gap, and nothing of anybody else's changes."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from reconciler.errors import FirewallError, FirewallMissing, NameConflict, PrivilegeError
from reconciler.firewall.ruleset import TABLE, TABLES
from reconciler.kernel import nft as nft_module
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kinds.firewall import HOST_PLACE, apply_firewall, observe_firewall, view_firewalls
from reconciler.model.objects import FirewallElement, FirewallRules, Key, Object, Unit
from reconciler.model.plan import Action, Operation
from reconciler.model.wanted import BridgeOptions
from tests.fakes.desired import network
from tests.kernel.firewall_host import FirewallHost
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

FOREIGN = """
table ip filter {
    set bridges { type ifname; elements = { "docker0" comment "theirs" }; }
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        counter accept comment "0123456789ab 0"
    }
}
table inet firewalld { chain forward { type filter hook forward priority 10; policy accept; }; }
table bridge guard { chain forward { type filter hook forward priority 0; policy accept; }; }
"""


@pytest.fixture
def host(machine: Machine, host_ns: str) -> Iterator[FirewallHost]:
    """Two networks, one without ICC, with an endpoint each, and every kind of element that ports and links will make."""
    with machine.inside(host_ns):
        nft = Nft()
        nft.list_table("inet", TABLE)
    made = FirewallHost(machine=machine, ns=host_ns, nft=nft)
    made.add_network(network("a", "172.30.1.0/24", "fd30:1::/64"))
    made.add_network(network("b", "172.30.2.0/24", options=BridgeOptions(is_icc_enabled=False)))
    made.attach("a1", "a", "172.30.1.11/24", "fd30:1::11/64")
    made.attach("b1", "b", "172.30.2.11/24")
    made.publish("published4", "172.30.1.11", "tcp", "80")
    made.publish("published_host4", "192.0.2.1", "udp", "53", value="172.30.1.11 . 5353")
    made.publish("published_any6", "sctp", "9899", value="fd30:1::11 . 9899")
    made.publish("published_routed6", "fd30:1::11", "tcp", "443")
    made.publish("links6", made.networks["a"].link_name, "fd30:1::11", "fd30:1::12", "tcp", "80")
    made.publish("snat4", "10.0.0.1/32", value="192.0.2.7")
    yield made
    nft.close()


def listed(host: FirewallHost, *what: str) -> str:
    return host.machine.run(host.ns, "nft", "--handle", "list", *(what or ("ruleset",))).stdout


def foreign(host: FirewallHost) -> str:
    tables = ("ip filter", "inet firewalld", "bridge guard")
    return "".join(listed(host, "table", *table.split()) for table in tables)


def converge(host: FirewallHost) -> None:
    outcomes = host.converge()
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    assert host.plan().operations == ()


def creations(objects: Sequence[Object]) -> list[Operation]:
    return [Operation(action=Action.CREATE, before=None, after=item, unit=item.unit) for item in objects]


def deletions(objects: Sequence[Object]) -> list[Operation]:
    return [Operation(action=Action.DELETE, before=item, after=None, unit=item.unit) for item in objects]


def bridges(unit: Unit, ifname: str) -> FirewallElement:
    return FirewallElement(unit=unit, family="inet", table=TABLE, set_name="bridges", element=(ifname,))


def test_nothing_is_seen_where_nothing_was_made(host: FirewallHost) -> None:
    assert host.seen() == {}


def test_one_pass_makes_everything_and_tells_back_whose_it_is(host: FirewallHost) -> None:
    converge(host)

    wanted, seen = host.wanted(), host.seen()
    assert {key: found.object for key, found in seen.items()} == wanted
    assert {key: found.object.unit for key, found in seen.items()} == {key: item.unit for key, item in wanted.items()}
    assert all(found.is_ours for found in seen.values())


def test_second_pass_changes_nothing(host: FirewallHost) -> None:
    converge(host)
    before = listed(host)

    assert host.converge() == []
    assert listed(host) == before


@pytest.mark.parametrize(
    "command",
    [
        "flush chain inet reconciler forward",
        "flush chain bridge reconciler isolated",
        "flush table inet reconciler",
        "insert rule inet reconciler forward accept",
        "add rule inet reconciler postrouting masquerade",
        "add chain inet reconciler mine",
        "add chain inet reconciler postrouting { policy drop; }",
        "add set inet reconciler mine { type ipv4_addr; }",
        "add counter inet reconciler mine",
        'add element inet reconciler bridges { "not a name" }',
        "add element inet reconciler masquerade4 { 10.1.0.1-10.1.0.9 }",
        'add element inet reconciler icc { "x" . "y" : continue }',
        "delete table inet reconciler",
        "delete table bridge reconciler",
        "flush ruleset",
        "flush set inet reconciler bridges; flush map inet reconciler icc",
        'add element inet reconciler bridges { "eth9" }',
        "delete table inet reconciler; add table inet reconciler",
        "delete table inet reconciler; add table inet reconciler { set bridges { type ifname; }; set own4 { type mark; }; }",
        "add table inet reconciler { flags dormant; }",
    ],
)
def test_damage_is_seen_and_repaired_by_one_pass(host: FirewallHost, command: str) -> None:
    converge(host)
    sound = listed_without_handles(host)
    host.machine.run(
        host.ns, "nft", "-f", "-", stdin=command.replace("; ", "\n") if "{ set" not in command else command
    )
    assert host.plan().operations != ()

    converge(host)

    assert listed_without_handles(host) == sound


def listed_without_handles(host: FirewallHost) -> list[object]:
    """Give what stands there, regardless of the order in which the kernel keeps a set."""
    objects = json.loads(host.machine.run(host.ns, "nft", "-j", "list", "ruleset").stdout)["nftables"]
    for item in objects:
        for body in item.values():
            body.pop("handle", None)
            body.get("elem", []).sort(key=json.dumps)
    return sorted(objects, key=json.dumps)


def test_single_rule_replaced_is_seen(host: FirewallHost) -> None:
    converge(host)
    rules = json.loads(host.machine.run(host.ns, "nft", "-j", "list", "chain", "inet", TABLE, "forward").stdout)
    handle = rules["nftables"][-1]["rule"]["handle"]
    host.machine.run(host.ns, "nft", "replace", "rule", "inet", TABLE, "forward", "handle", str(handle), "accept")

    converge(host)

    assert listed(host, "chain", "inet", TABLE, "forward").count("\tdrop comment") == 1


def test_rules_of_another_version_are_named_by_their_digest(host: FirewallHost) -> None:
    converge(host)
    text = host.machine.run(host.ns, "nft", "list", "ruleset").stdout
    digest = host.seen()["FirewallRules", "", "inet", TABLE].object.attributes()["digest"]
    old = f"flush ruleset\n{text.replace(str(digest), '0123456789ab')}"
    host.machine.run(host.ns, "nft", "-f", "-", stdin=old)

    changes = host.plan().operations

    assert [(change.action, change.before.attributes()["digest"]) for change in changes if change.before] == [
        (Action.UPDATE, "0123456789ab")
    ]
    converge(host)


def test_no_packet_slips_through_while_rules_are_repaired(host: FirewallHost) -> None:
    host.machine.add_namespace("outside")
    host.machine.add_veth(host.ns, "uplink0", "outside", "downlink0")
    host.machine.run(host.ns, "ip", "address", "add", "192.0.2.1/24", "dev", "uplink0")
    host.machine.run("outside", "ip", "address", "add", "192.0.2.2/24", "dev", "downlink0")
    host.machine.run("outside", "ip", "route", "add", "default", "via", "192.0.2.1")
    host.machine.run(host.ns, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    with host.machine.inside("outside"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with host.machine.inside("a1"):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind(("172.30.1.11", 9))
        receiver.setblocking(False)
        sender.connect(("172.30.1.11", 9))
        assert eventually(lambda: sender.send(b"before") and _received(receiver))
        converge(host)
        rules = [item for item in host.wanted().values() if isinstance(item, FirewallRules)]
        repairs = [Operation(action=Action.UPDATE, before=item, after=item, unit=item.unit) for item in rules]
        while _received(receiver):
            pass

        pid = os.fork()
        if pid == 0:
            while True:
                sender.send(b"x")
        try:
            for _ in range(50):
                assert [outcome.error for outcome in apply_firewall(repairs, host.nft)] == [None, None]
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)

        assert not _received(receiver)
    assert host.plan().operations == ()


def _received(receiver: socket.socket) -> bytes:
    try:
        return receiver.recv(100)
    except BlockingIOError:
        return b""


def test_foreign_tables_stay_byte_identical(host: FirewallHost) -> None:
    host.machine.run(host.ns, "nft", "-f", "-", stdin=FOREIGN)
    before = foreign(host)

    converge(host)
    host.machine.run(host.ns, "nft", "flush", "chain", "inet", TABLE, "forward")
    converge(host)
    outcomes = apply_firewall(deletions([found.object for found in host.seen().values()]), host.nft)

    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert foreign(host) == before
    assert host.seen() == {}


def test_foreign_table_of_our_name_is_a_conflict_and_left_alone(host: FirewallHost) -> None:
    text = f"table inet {TABLE} {{ chain x {{ type filter hook input priority 0; counter accept; }}; }}"
    host.machine.run(host.ns, "nft", "-f", "-", stdin=text)
    before = listed(host, "table", "inet", TABLE)

    plan = host.plan()
    host.converge()

    assert [type(problem) for _, problem in plan.problems] == [NameConflict]
    assert listed(host, "table", "inet", TABLE) == before


@pytest.mark.parametrize(
    ("element", "value", "said"),
    [
        (("tcp", "99999"), "172.30.1.11 . 80", "Service out of range"),
        (("tcp", "8000"), "172.30.1.999 . 80", "nftables refused"),
        (("tcp", "8000"), "172.30.1.11", "maps to 2 parts"),
        (("gre", "1"), "172.30.1.11 . 80", "tcp, udp, sctp"),
        (("tcp", '80 comment "'), "172.30.1.11 . 80", "not a part"),
    ],
    ids=["port", "address", "short value", "protocol", "quote"],
)
def test_bad_element_harms_its_own_unit_only(
    host: FirewallHost, element: tuple[str, str], value: str, said: str
) -> None:
    bad = FirewallElement(
        unit=Unit(network="bad"), family="inet", table=TABLE, set_name="published_any4", element=element, value=value
    )
    wanted = [bridges(Unit(network="bad"), "x"), *host.wanted().values(), bad]

    outcomes = apply_firewall(creations(wanted), host.nft)

    assert [outcome.operation.object for outcome in outcomes] == wanted
    failed = [outcome for outcome in outcomes if outcome.error]
    assert [outcome.operation.unit.network for outcome in failed] == ["bad", "bad"]
    assert said in str(failed[0].error)
    assert host.plan().operations == ()


def test_deleting_what_is_gone_fails_once_and_is_not_planned_again(host: FirewallHost) -> None:
    converge(host)
    stale = bridges(Unit(network="gone"), "gone")

    (outcome,) = apply_firewall(deletions([stale]), host.nft)

    assert isinstance(outcome.error, FirewallError)
    assert host.plan().operations == ()


def test_changed_value_replaces_the_old_one(host: FirewallHost) -> None:
    converge(host)
    host.networks["a"] = network("a", "172.30.1.0/24", "fd30:1::/64", options=BridgeOptions(is_icc_enabled=False))
    host.extra = []

    converge(host)

    assert {key: found.object for key, found in host.seen().items()} == host.wanted()


def test_adjoining_subnets_come_and_go_in_any_order(host: FirewallHost) -> None:
    pools = [str(pool) for pool in ip_network("172.16.0.0/12").subnets(new_prefix=16)]
    pools += [str(pool) for pool in ip_network("0.0.0.0/7").subnets(new_prefix=9)]
    pools += ["255.255.255.0/24", "192.168.7.6/31"]
    chance = random.Random(1)
    host.networks, host.endpoints, host.extra = {}, [], []
    for _ in range(25):
        names = chance.sample(range(len(pools)), chance.randint(0, len(pools)))
        host.networks = {str(number): network(str(number), pools[number]) for number in names}
        converge(host)


def test_units_with_the_longest_names_are_read_back(host: FirewallHost) -> None:
    converge(host)
    units = [
        Unit(network="n" * 128),
        Unit(network="n" * 63, attachment="a" * 64),
        Unit(network="n" * 64, attachment="a" * 64),
        Unit(network="n" * 128, attachment="a" * 128),
    ]
    made = [bridges(unit, f"long{number}") for number, unit in enumerate(units)]
    apply_firewall(creations(made), host.nft)
    repair = [found.object for key, found in host.seen().items() if key[0] == "FirewallRules"]
    apply_firewall(creations(repair), host.nft)

    seen = {found.object.key: found.object.unit for found in observe_firewall(host.nft, units)}

    assert [seen[element.key] for element in made] == units


def test_command_does_what_the_library_does(host: FirewallHost) -> None:
    command = Nft(library="libnftables-that-is-not-there.so")

    with host.machine.inside(host.ns):
        assert command.list_table("inet", TABLE) is None
        outcomes = apply_firewall(host.plan().operations, command)
        assert [outcome.error for outcome in outcomes if outcome.error] == []
        assert list(observe_firewall(command)) == list(observe_firewall(host.nft))
        with pytest.raises(FirewallError, match="nftables refused a change"):
            command.run("add rule inet nowhere x drop")
    assert host.plan().operations == ()


def test_missing_nft_is_noticed_by_use_and_named(host: FirewallHost) -> None:
    missing = Nft(library="libnftables-that-is-not-there.so", command="nft-that-is-not-there")

    assert apply_firewall([], missing) == []
    with pytest.raises(FirewallMissing, match="install nftables"):
        list(observe_firewall(missing))
    outcomes = apply_firewall(host.plan().operations, missing)
    assert {type(outcome.error) for outcome in outcomes} == {FirewallMissing}


def test_refused_transaction_says_why_and_changes_nothing(host: FirewallHost) -> None:
    converge(host)
    before = listed(host)

    with pytest.raises(FirewallError, match="No such file or directory"):
        host.nft.run(f'add element inet {TABLE} bridges {{ "x" }}\nadd rule inet {TABLE} nowhere drop\n')

    assert listed(host) == before


def test_want_of_privilege_is_told_from_a_refusal(host: FirewallHost) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setuid(65534)
            Nft().list_table("inet", TABLE)
        except PrivilegeError:
            status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_context_is_made_anew_without_leaving_anything_open(
    host: FirewallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nft_module, "RECYCLE_BYTES", 0)
    with host.machine.inside(host.ns):
        host.plan()
        before = len(os.listdir("/proc/self/fd"))

        converge(host)

        assert len(os.listdir("/proc/self/fd")) == before


def test_touched_elements_are_seen_as_a_whole_listing_sees_them(
    host: FirewallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any of our changes only what they touched is asked for; after anybody else's, everything is."""
    converge(host)
    chooser, listed = random.Random(7), Mock(wraps=host.nft.list_table)
    monkeypatch.setattr(host.nft, "list_table", listed)
    there = {key: found.object for key, found in host.seen().items() if isinstance(found.object, FirewallElement)}
    with host.machine.inside(host.ns), Namespaces(Path("/run/netns"), "x") as namespaces:
        look = partial(view_firewalls, nft=host.nft, namespaces=namespaces, overlays=(), units=tuple)
        known = look({}, ())
        for step in range(12):
            operations = [_random_change(chooser, there) for _ in range(chooser.randint(1, 4))]
            operations = list({operation.key: operation for operation in operations}.values())
            assert [outcome.error for outcome in apply_firewall(operations, host.nft) if outcome.error] == []
            is_foreign = step % 4 == 3
            if is_foreign:
                with Nft() as other:
                    other.run(f"add element inet {TABLE} bridges {{ foreign{step} }}\n")
            listed.reset_mock()
            known = look(known, operations)

            touched = [operation.object for operation in operations]
            is_any_interval = any(TABLES[e.family].sets_by_name[e.set_name].is_interval for e in touched)
            assert listed.called == (is_foreign or is_any_interval)
            assert known[HOST_PLACE].seen == host.seen()
            for operation in operations:
                there.pop(operation.key, None)
                there.update({} if operation.after is None else {operation.key: operation.after})

        gone = next(found for found in there.values() if found.set_name == "macs")
        host.nft.run(f"delete element bridge {TABLE} macs {{ {' . '.join(gone.element)} }}\n")
        undone = Operation(action=Action.CREATE, before=None, after=gone, unit=gone.unit)
        assert look(known, [undone])[HOST_PLACE].seen == host.seen(), "what is not there is not seen, whatever was told"
        assert look(known, ())[HOST_PLACE] is known[HOST_PLACE], "until somebody tells, nothing is asked"


def _random_change(chooser: random.Random, there: Mapping[Key, FirewallElement]) -> Operation:
    """Change or remove an element that is there, or add one; each kind of set comes up."""
    unit = Unit(network="net", attachment=chooser.choice(["a", "b" * 120]))
    if there and chooser.random() < 0.5:
        before = there[chooser.choice(sorted(there))]
        after = None if chooser.random() < 0.5 or before.value else replace(before, unit=unit)
        action = Action.DELETE if after is None else Action.UPDATE
        return Operation(action=action, before=before, after=after, unit=before.unit)
    number = chooser.randint(1, 250)
    family, set_name, element, value = chooser.choice(
        [
            ("inet", "icc", (f"br-{number}", "br-0"), "accept"),
            ("inet", "routed", ("ipv6", f"br-{number}"), ""),
            ("inet", "links6", (f"br-{number}", "fd00::1", "fd00::2", "tcp", "80"), ""),
            ("inet", "published_host4", (f"192.0.2.{number}", "udp", "53"), f"10.0.0.{number} . 53"),
            ("inet", "published_any6", ("sctp", str(number)), f"fd00::{number} . 81"),
            ("inet", "own4", (f"10.{number}.0.0/16", f"br-{number}"), ""),
            ("bridge", "macs", (f"rcv{number}", f"02:42:ac:1e:01:{number:02x}"), ""),
            ("bridge", "sources6", (f"rcv{number}", f"02:42:ac:1e:01:{number:02x}", f"fd00::{number:x}"), ""),
        ]
    )
    made = FirewallElement(unit=unit, family=family, table=TABLE, set_name=set_name, element=element, value=value)
    before = there.get(made.key)
    return Operation(
        action=Action.CREATE if before is None else Action.UPDATE, before=before, after=made, unit=made.unit
    )
