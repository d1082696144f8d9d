"""The walk-through as a whole: what comes, stays, is mended, and goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.kernel.test_lock import holder
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.pipeline.host_view import everything, indexes, records, seen_soon, settled, shape, stamps

pytestmark = pytest.mark.kernel

WALKTHROUGH = Path(__file__).parent.parent.parent / "examples" / "walkthrough"
SANDBOXES = ("container1", "container2", "container3", "container4")


@pytest.fixture
def walkthrough(forked: ForkedReconcile) -> ForkedReconcile:
    """The walk-through's specs in place, nothing applied."""
    shutil.copytree(WALKTHROUGH, forked.specs, dirs_exist_ok=True)
    return forked


@pytest.fixture
def applied(walkthrough: ForkedReconcile, uplink: str) -> ForkedReconcile:
    walkthrough.ok()
    return walkthrough


@pytest.mark.quick
def test_second_pass_makes_no_write_of_any_kind(applied: ForkedReconcile, machine: Machine, host_ns: str) -> None:
    files, before = stamps(machine.state_dir), settled(lambda: everything(machine, host_ns))

    second = applied.ok("-v")

    assert second.writes == ()
    assert everything(machine, host_ns) == before
    assert stamps(machine.state_dir) == files


def test_first_pass_is_seen_to_write(walkthrough: ForkedReconcile) -> None:
    kinds = {line.split()[0] for line in walkthrough.ok().writes}

    assert {"netlink", "Nft.run", "SqliteStore.commit", "netns.mount", "open", "os.symlink"} <= kinds


def test_dry_run_makes_no_write_and_says_the_same_twice(
    walkthrough: ForkedReconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    before = everything(machine, host_ns)

    first, second = (walkthrough("--dry-run", "--output", "json", "--detailed-exitcode") for _ in range(2))

    assert (first.exit_code, first.stdout) == (ExitCode.CHANGES, second.stdout)
    assert (first.writes, second.writes) == ((), ())
    assert everything(machine, host_ns) == before
    assert not machine.state_dir.exists()
    walkthrough.ok()
    third = walkthrough("--dry-run", "--output", "json", "--detailed-exitcode")
    assert (third.exit_code, json.loads(third.stdout)["resource_changes"]) == (ExitCode.OK, [])


@pytest.mark.quick
def test_down_leaves_the_host_as_it_was(
    walkthrough: ForkedReconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    before = everything(machine, host_ns)

    walkthrough.ok()
    assert everything(machine, host_ns) != before
    walkthrough.ok("down")

    assert everything(machine, host_ns) == before
    assert records(machine) == {}
    assert walkthrough.ok("down").writes == ()


def test_down_and_up_again_gives_the_same_addresses_and_ids(
    applied: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    before, promised = shape(machine, host_ns, *SANDBOXES), records(machine)

    applied.ok("down")
    applied.ok()

    assert seen_soon(lambda: shape(machine, host_ns, *SANDBOXES), before) == before
    assert records(machine) == promised


def test_lost_store_is_filled_again_from_the_kernel_and_nothing_else_changes(
    applied: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    (applied.specs / "late.yaml").write_text("attachments: {aaa: {}}")  # from nothing it would get the lowest address
    applied.ok()
    before, promised = everything(machine, host_ns), records(machine)
    for path in machine.state_dir.glob("state.db*"):
        path.unlink()

    mended = applied.ok()

    assert {k: v for k, v in records(machine).items() if k in promised} == promised
    assert everything(machine, host_ns) == before
    assert not [line for line in mended.writes if line.startswith(("netlink", "Nft", "netns"))]
    assert applied.ok().writes == ()


def test_second_pass_at_the_same_time_is_told_who_is_at_work(
    walkthrough: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    before = everything(machine, host_ns)

    with holder(machine, host_ns) as child:
        refused = walkthrough()

    assert refused.exit_code == ExitCode.LOCKED
    assert f"process {child.pid}" in refused.stderr
    assert everything(machine, host_ns) == before


def test_whole_command_does_the_same_as_its_fork(
    reconcile: Reconcile, walkthrough: ForkedReconcile, machine: Machine
) -> None:
    reconcile.ok()

    assert walkthrough.ok().writes == ()


def delete_link(ns: str, ifname: str) -> Callable[[Machine], None]:
    return lambda machine: _run(machine, "ip", "-n", ns, "link", "delete", ifname or _near_side(machine))


def _run(machine: Machine, *command: str) -> None:
    machine.run("", *command)


def _near_side(machine: Machine) -> str:
    return near_sides(machine)[0]


def near_sides(machine: Machine) -> list[str]:
    return [link["ifname"] for link in machine.ip_json("H", "link", "show", "type", "veth") if link.get("master")]


def _ip(ns: str, *arguments: str) -> Callable[[Machine], None]:
    return lambda machine: _run(machine, "ip", "-n", ns, *arguments)


def _nft(*arguments: str) -> Callable[[Machine], None]:
    return lambda machine: _nft_in_host(machine, *arguments)


def _nft_in_host(machine: Machine, *arguments: str) -> None:
    machine.run("H", "nft", *arguments)


def _first_element(machine: Machine) -> None:
    for item in json.loads(machine.run("H", "nft", "-j", "list", "table", "inet", "reconciler").stdout)["nftables"]:
        for kind in ("set", "map"):
            found = item.get(kind)
            if found and found.get("elem"):
                machine.run("H", "nft", "flush", "set" if kind == "set" else "map", "inet", "reconciler", found["name"])
                return
    raise AssertionError("no element at all")


def _rule_by_hand(machine: Machine) -> None:
    machine.run("H", "nft", "insert", "rule", "inet", "reconciler", _chain(machine), "drop")


def _flushed_chain(machine: Machine) -> None:
    machine.run("H", "nft", "flush", "chain", "inet", "reconciler", _chain(machine))


def _chain(machine: Machine) -> str:
    listed = json.loads(machine.run("H", "nft", "-j", "list", "table", "inet", "reconciler").stdout)["nftables"]
    return next(str(item["chain"]["name"]) for item in listed if item.get("chain", {}).get("hook") == "forward")


def _file(action: Callable[[Path], object], pattern: str) -> Callable[[Machine], None]:
    def act(machine: Machine) -> None:
        action(next(path for path in sorted(Path("/").glob(pattern.lstrip("/")))))

    return act


def _in_sandbox_sysctl(machine: Machine) -> None:
    with machine.inside("container1"):
        Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("0")


def _renamed_far_side(machine: Machine) -> None:
    for change in (("down",), ("name", "other")):
        _run(machine, "ip", "-n", "container1", "link", "set", "eth0", *change)


DAMAGES: dict[str, dict[str, Callable[[Machine], None]]] = {
    "links": {
        "bridge deleted": _ip("H", "link", "delete", "docker0"),
        "near side of a pair deleted": delete_link("H", ""),
        "far side of a pair deleted": _ip("container1", "link", "delete", "eth0"),
        "far side renamed": _renamed_far_side,
        "bridge down": _ip("H", "link", "set", "docker0", "down"),
        "port taken out of its bridge": lambda m: _run(m, "ip", "-n", "H", "link", "set", _near_side(m), "nomaster"),
        "near side down": lambda m: _run(m, "ip", "-n", "H", "link", "set", _near_side(m), "down"),
        "far side down": _ip("container3", "link", "set", "eth1", "down"),
        "loopback down": _ip("container1", "link", "set", "lo", "down"),
        "wrong mtu of a bridge": _ip("H", "link", "set", "docker0", "mtu", "1300"),
        "wrong mtu in a sandbox": _ip("container1", "link", "set", "eth0", "mtu", "1300"),
        "wrong mac in a sandbox": _ip("container1", "link", "set", "eth0", "address", "02:00:00:00:00:01"),
        "wrong mac of a bridge": _ip("H", "link", "set", "docker0", "address", "02:00:00:00:00:02"),
    },
    "addresses and routes": {
        "gateway address deleted": _ip("H", "address", "flush", "dev", "docker0"),
        "addresses of a sandbox deleted": _ip("container4", "address", "flush", "dev", "eth0"),
        "default route deleted": _ip("container3", "route", "delete", "default"),
        "default route moved": _ip("container3", "route", "replace", "default", "via", "172.20.0.1"),
    },
    "firewall and settings": {
        "firewall table deleted": _nft("delete", "table", "inet", "reconciler"),
        "whole ruleset flushed": _nft("flush", "ruleset"),
        "elements of a set deleted": _first_element,
        "rule added by hand": _rule_by_hand,
        "rules deleted": _flushed_chain,
        "forwarding off": lambda m: _run(m, "ip", "netns", "exec", "H", "sysctl", "-qw", "net.ipv4.ip_forward=0"),
        "setting in a sandbox": _in_sandbox_sysctl,
    },
    "files": {
        "hosts file deleted": _file(Path.unlink, "/run/reconciler/sandboxes/container1/hosts"),
        "resolv.conf overwritten": _file(
            lambda p: p.write_text("nameserver 192.0.2.9\n"), "/run/reconciler/sandboxes/container2/resolv.conf"
        ),
        "run folder deleted": _file(shutil.rmtree, "/run/reconciler/sandboxes"),
        "link below /etc/netns deleted": _file(Path.unlink, "/etc/netns/container1/hosts"),
        "folders below /etc/netns deleted": _file(shutil.rmtree, "/etc/netns"),
        "sandbox deleted": lambda m: m.delete_namespace("container4"),
        "status files deleted": lambda m: shutil.rmtree(m.status_dir),
    },
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_repaired(kind: str, applied: ForkedReconcile, machine: Machine, host_ns: str) -> None:
    """One after the other on one host, which is as before each time."""
    before, status = shape(machine, host_ns, *SANDBOXES), sorted(stamps(machine.status_dir))
    for damage, do in DAMAGES[kind].items():
        do(machine)

        plan = applied("--dry-run", "--detailed-exitcode")
        applied.ok()

        assert plan.exit_code == (ExitCode.OK if damage == "status files deleted" else ExitCode.CHANGES), damage
        assert seen_soon(lambda: shape(machine, host_ns, *SANDBOXES), before) == before, damage
        assert sorted(stamps(machine.status_dir)) == status, damage
        assert applied.ok().writes == (), damage
        assert machine.ping("container1", "172.17.0.3"), damage
        assert machine.ping("container4", "172.19.0.2"), damage
        assert machine.ping("container3", "192.0.2.2"), damage


def test_every_owned_link_is_repaired_without_touching_the_others(
    applied: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    before = shape(machine, host_ns, *SANDBOXES)
    pairs = near_sides(machine)
    assert len(pairs) == 6

    for name in pairs:
        kept = indexes(machine, host_ns)
        machine.run("", "ip", "-n", host_ns, "link", "delete", name)
        applied.ok()
        assert shape(machine, host_ns, *SANDBOXES) == before
        assert {k: v for k, v in indexes(machine, host_ns).items() if k != name} == {
            k: v for k, v in kept.items() if k != name
        }


def test_all_that_is_ours_deleted_at_once_is_repaired(applied: ForkedReconcile, machine: Machine, host_ns: str) -> None:
    before = shape(machine, host_ns, *SANDBOXES)
    for name in SANDBOXES:
        machine.delete_namespace(name)
    for name in [name for name in machine.links(host_ns) if name not in ("lo", "uplink0")]:
        machine.run("", "ip", "-n", host_ns, "link", "delete", name, check=False)
    machine.run(host_ns, "nft", "flush", "ruleset")
    machine.run(host_ns, "sysctl", "-qw", "net.ipv4.ip_forward=0")
    shutil.rmtree(machine.etc_netns_dir)
    shutil.rmtree(machine.run_dir)
    shutil.rmtree(machine.state_dir)

    applied.ok()

    assert seen_soon(lambda: shape(machine, host_ns, *SANDBOXES), before) == before
    assert applied.ok().writes == ()
