"""Bridges and veth pairs on the real kernel. Each creation has its twins: there already, partly there, a stranger in the way."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from msgspec.structs import replace

from reconciler.errors import KernelError, NameConflict, SandboxMissing
from reconciler.model.identifiers import HOST, LINK_GROUP, NsRef
from reconciler.model.objects import Address, Bridge, LinkUp, VethPair
from tests.kernel.engine import Engine, operation, sandbox
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

BRIDGE = Bridge(ns=HOST, ifname="br-test", mac="02:42:01:02:03:04", mtu=1400)


def pair_to(ns: NsRef, number: int = 1, **fields: object) -> VethPair:
    pair = VethPair(
        ns=HOST,
        ifname=f"rcv{number}",
        master=BRIDGE.ifname,
        mtu=1400,
        peer_ns=ns,
        peer_ifname="eth0",
        peer_mac=f"02:42:0a:00:00:{number:02x}",
    )
    return replace(pair, **fields)  # type: ignore[arg-type]


def make_up(engine: Engine, ns: NsRef, interface: str) -> None:
    address = Address(ns=ns, ifname="eth0", interface=ip_interface(interface))
    engine.create(LinkUp(ns=ns, ifname="eth0"), address)


def test_bridge_is_seen_as_it_was_made(engine: Engine) -> None:
    engine.create(BRIDGE)

    assert engine.has(BRIDGE)
    seen = engine.look(BRIDGE)
    assert seen is not None
    assert seen.is_ours


@pytest.mark.parametrize("has_link_local", [False, True], ids=["without", "with"])
def test_bridge_makes_itself_an_address_only_if_wanted(engine: Engine, has_link_local: bool) -> None:
    ns, wanted = engine.make_sandbox("web"), replace(BRIDGE, has_ipv6=has_link_local, has_link_local=has_link_local)

    engine.create(wanted, pair_to(ns), LinkUp(ns=ns, ifname="eth0"))

    assert engine.has(wanted)
    assert eventually(lambda: engine.machine.ip_json("H", "link", "show", "br-test")[0]["operstate"] == "UP")
    assert eventually(lambda: has_fe80(engine, "br-test"), 5 if has_link_local else 0.1) is has_link_local


def test_bridge_that_is_there_already_is_fine(engine: Engine) -> None:
    engine.create(BRIDGE)

    engine.create(BRIDGE)

    assert engine.has(BRIDGE)


def test_bridge_that_is_partly_there_is_completed(engine: Engine) -> None:
    engine.create(replace(BRIDGE, is_up=False, mac="02:42:00:00:00:09", mtu=1500))

    engine.create(BRIDGE)

    assert engine.has(BRIDGE)


@pytest.mark.parametrize("kind", ["bridge", "veth"])
def test_foreign_link_under_the_bridges_name_stays(engine: Engine, kind: str) -> None:
    engine.machine.run("H", "ip", "link", "add", "br-test", "type", kind)
    before = engine.machine.ip_json("H", "-details", "link", "show", "br-test")

    error = engine.create_error(BRIDGE)

    assert isinstance(error, NameConflict)
    assert "br-test" in str(error)
    assert engine.machine.ip_json("H", "-details", "link", "show", "br-test") == before
    seen = engine.look(BRIDGE)
    assert seen is not None
    assert not seen.is_ours


@pytest.mark.parametrize(
    "change",
    [{"mtu": 1280}, {"mac": "02:42:00:00:00:09"}, {"is_up": False}, {"has_ipv6": True, "has_link_local": True}],
    ids=lambda change: next(iter(change)),
)
def test_bridge_is_changed_in_place_and_back(engine: Engine, change: dict[str, object]) -> None:
    changed = replace(BRIDGE, **change)  # type: ignore[arg-type]
    engine.create(BRIDGE)

    assert engine.update_error(BRIDGE, changed) is None
    assert engine.has(changed)
    assert has_fe80(engine, "br-test") is changed.has_link_local
    assert engine.update_error(changed, BRIDGE) is None
    assert engine.has(BRIDGE)


def test_foreign_bridge_is_not_changed(engine: Engine) -> None:
    engine.machine.run("H", "ip", "link", "add", "br-test", "type", "bridge")

    error = engine.update_error(replace(BRIDGE, mtu=1300), BRIDGE)

    assert isinstance(error, NameConflict)
    assert engine.machine.ip_json("H", "link", "show", "br-test")[0]["mtu"] == 1500


def test_bridge_keeps_its_mtu_when_ports_come_and_go(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns, mtu=1300))

    assert engine.has(BRIDGE)
    assert engine.delete_error(pair_to(ns)) is None
    assert engine.has(BRIDGE)


def test_pair_is_seen_as_it_was_made_and_carries_traffic(engine: Engine) -> None:
    web, db = engine.make_sandbox("web"), engine.make_sandbox("db")
    engine.create(BRIDGE, pair_to(web, 1), pair_to(db, 2))
    make_up(engine, web, "10.9.0.2/24")
    make_up(engine, db, "10.9.0.3/24")

    assert engine.has(pair_to(web, 1), pair_to(db, 2))
    assert engine.machine.ping("web", "10.9.0.3")
    assert engine.machine.ping("web", "10.9.0.3", size_bytes=1400 - 28)
    assert not engine.machine.ping("web", "10.9.0.3", size_bytes=1401 - 28, deadline_s=1)


def test_near_side_makes_itself_no_address(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))
    make_up(engine, ns, "10.9.0.2/24")

    assert not has_fe80(engine, "rcv1")


def test_pair_that_is_there_already_is_fine(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))

    engine.create(pair_to(ns))

    assert engine.has(pair_to(ns))


def test_pair_that_is_partly_there_is_completed(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))
    engine.machine.run("H", "ip", "link", "set", "rcv1", "down", "nomaster", "mtu", "1200")

    engine.create(pair_to(ns, is_hairpin=True))

    assert engine.has(pair_to(ns, is_hairpin=True))


def test_foreign_link_under_the_pairs_name_stays(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE)
    engine.machine.run("H", "ip", "link", "add", "rcv1", "type", "bridge")

    error = engine.create_error(pair_to(ns))

    assert isinstance(error, NameConflict)
    assert "rcv1" in str(error)
    assert engine.machine.ip_json("H", "link", "show", "rcv1")[0]["operstate"] == "DOWN"
    assert engine.machine.links("web") == ["lo"]


def test_foreign_link_under_the_peers_name_stays(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE)
    engine.machine.run("web", "ip", "link", "add", "eth0", "type", "bridge")

    error = engine.create_error(pair_to(ns))

    assert isinstance(error, NameConflict)
    assert "eth0 in netns:web" in str(error)
    assert engine.machine.links("H") == ["br-test", "lo"]
    assert engine.machine.ip_json("web", "link", "show", "eth0")[0]["mtu"] == 1500


def test_another_pair_of_ours_under_one_of_the_names_is_not_taken_for_it(engine: Engine) -> None:
    web, db = engine.make_sandbox("web"), engine.make_sandbox("db")
    engine.create(BRIDGE, pair_to(web, 1))

    near_taken, peer_taken = engine.create_error(pair_to(db, 1)), engine.create_error(pair_to(web, 2))

    assert isinstance(near_taken, NameConflict)
    assert isinstance(peer_taken, NameConflict)
    assert engine.has(pair_to(web, 1))
    assert engine.machine.links("H") == ["br-test", "lo", "rcv1"]


@pytest.mark.parametrize(
    "change",
    [{"mtu": 1300}, {"peer_mac": "02:42:0a:00:00:99"}, {"is_hairpin": True}, {"is_up": False}, {"master": "br-other"}],
    ids=lambda change: next(iter(change)),
)
def test_pair_is_changed_in_place_and_back(engine: Engine, change: dict[str, object]) -> None:
    ns = engine.make_sandbox("web")
    changed = replace(pair_to(ns), **change)  # type: ignore[arg-type]
    engine.create(BRIDGE, replace(BRIDGE, ifname="br-other"), pair_to(ns))

    assert engine.update_error(pair_to(ns), changed) is None
    assert engine.has(changed)
    assert engine.update_error(changed, pair_to(ns)) is None
    assert engine.has(pair_to(ns))


@pytest.mark.parametrize(("ns", "ifname"), [("web", "eth0"), ("H", "rcv1")], ids=["peer", "near side"])
def test_mtu_of_one_end_is_seen_as_a_change_of_the_pair(engine: Engine, ns: str, ifname: str) -> None:
    pair = pair_to(engine.make_sandbox("web"))
    engine.create(BRIDGE, pair)

    engine.machine.run(ns, "ip", "link", "set", ifname, "mtu", "1200")

    seen = engine.look(pair)
    assert seen is not None
    assert seen.object != pair
    assert engine.update_error(replace(pair, mtu=0), pair) is None
    assert engine.has(pair)


def test_peer_whose_mark_was_taken_off_inside_is_still_ours(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    address = Address(ns=ns, ifname="eth0", interface=ip_interface("10.9.0.2/24"))
    engine.create(BRIDGE, pair_to(ns), address)

    engine.machine.run("web", "ip", "link", "set", "eth0", "group", "0")

    assert engine.has(pair_to(ns), address)
    assert engine.update_error(pair_to(ns), pair_to(ns, mtu=1300)) is None
    assert engine.has(pair_to(ns, mtu=1300))


def test_pair_whose_peer_is_out_of_sight_has_an_unknown_peer(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.machine.add_namespace("elsewhere")
    engine.create(BRIDGE, pair_to(ns))

    engine.machine.run("web", "ip", "link", "set", "eth0", "netns", "elsewhere")

    seen = engine.look(pair_to(ns))
    assert seen is not None
    assert isinstance(seen.object, VethPair)
    assert (seen.object.peer_ns, seen.object.peer_ifname) == ("?", "")
    assert "to a peer out of sight (" in seen.object.describe()


def test_links_are_deleted_together_and_strangers_stay(engine: Engine) -> None:
    sandboxes = [engine.make_sandbox(f"c{number}") for number in range(3)]
    pairs = [pair_to(ns, number) for number, ns in enumerate(sandboxes)]
    engine.create(BRIDGE, *pairs[:2])
    engine.machine.run("H", "ip", "link", "add", "rcv2", "type", "veth", "peer", "name", "foreign")

    outcomes = engine.apply([operation(pair, None) for pair in (*pairs, pair_to(sandboxes[0], 9))])

    assert [type(outcome.error) for outcome in outcomes] == [type(None), type(None), NameConflict, type(None)]
    assert engine.machine.links("H") == ["br-test", "foreign", "lo", "rcv2"]
    assert engine.machine.links("c0") == ["lo"]


def test_more_links_than_fit_one_datagrams_replies(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    pairs = [pair_to(ns, number, peer_ifname=f"eth{number}") for number in range(200)]
    engine.create(BRIDGE)

    made = engine.apply([operation(None, pair) for pair in pairs])
    present = engine.has(*pairs)
    deleted = engine.apply([operation(BRIDGE, None), *(operation(pair, None) for pair in pairs)])

    assert [outcome.error for outcome in (*made, *deleted)] == [None] * 401
    assert present
    assert engine.machine.links("H") == engine.machine.links("web") == ["lo"]


def test_links_that_could_not_be_deleted_are_as_they_were(engine: Engine) -> None:
    """A link without a way to delete it, in the group that is deleted, makes the kernel refuse all."""
    pair = pair_to(engine.make_sandbox("web"))
    engine.create(BRIDGE, pair)
    engine.machine.run("H", "ip", "link", "set", "lo", "group", str(LINK_GROUP ^ 1))

    assert isinstance(engine.delete_error(pair), KernelError)

    assert engine.has(pair)
    assert engine.machine.ip_json("H", "link", "show", "rcv1")[0]["group"] == str(LINK_GROUP)
    engine.machine.run("H", "ip", "link", "set", "lo", "group", "0")
    assert engine.delete_error(pair) is None


def test_mtu_too_small_for_ipv6_is_fine(engine: Engine) -> None:
    ns, bridge = engine.make_sandbox("web"), replace(BRIDGE, mtu=1000)
    pair = pair_to(ns, mtu=1000)

    engine.create(bridge, pair, LinkUp(ns=ns, ifname="eth0"))

    assert engine.has(bridge, pair)
    assert engine.update_error(pair, replace(pair, is_hairpin=True)) is None
    assert engine.has(replace(pair, is_hairpin=True))


def test_deletion_of_nothing_but_strangers_deletes_nothing(engine: Engine) -> None:
    engine.machine.run("H", "ip", "link", "add", "br-test", "type", "bridge")

    assert isinstance(engine.delete_error(BRIDGE), NameConflict)
    assert engine.machine.links("H") == ["br-test", "lo"]


def test_failure_of_one_operation_leaves_the_others(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE)
    wanted = [
        pair_to(sandbox("nowhere"), 1),
        pair_to(ns, 2, master="br-none"),
        pair_to(ns, 3, mtu=20, peer_ifname="eth3"),
        pair_to(ns, 4),
    ]

    outcomes = engine.apply([operation(None, pair) for pair in wanted])

    missing, without_master, too_small, good = [outcome.error for outcome in outcomes]
    assert isinstance(missing, SandboxMissing)
    assert isinstance(without_master, KernelError)
    assert "br-none" in str(without_master)
    assert isinstance(too_small, KernelError)
    assert "mtu" in str(too_small)
    assert good is None
    assert engine.has(wanted[-1])


def test_looking_writes_nothing(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))
    before = engine.namespaces.writes

    engine.observe()

    assert engine.namespaces.writes == before > 0


def has_fe80(engine: Engine, ifname: str) -> bool:
    found = engine.machine.run("", "ip", "-n", "H", "-6", "-oneline", "address", "show", "dev", ifname, "scope", "link")
    return bool(found.stdout)
