"""Sandboxes of every kind: made by us or by others, joined, left, removed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from reconciler.errors import ExitCode
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile, background_sleep
from tests.pipeline.host_view import namespace, settled, stamps
from tests.private_namespaces import unmount
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

NET = "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n"


def is_elsewhere(pid: int, own: str) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != own


def inside(machine: Machine, ns: str, pid_of: int) -> bool:
    """Say whether a process is in a namespace already."""
    return os.stat(machine.path(ns)).st_ino == os.stat(f"/proc/{pid_of}/ns/net").st_ino


@pytest.mark.parametrize("kind", ["name", "path", "pid", "pidfile"])
def test_namespace_of_others_is_joined_left_and_stays_as_it_was(
    kind: str, forked: ForkedReconcile, machine: Machine, tmp_path: Path
) -> None:
    machine.add_namespace("theirs")
    machine.run("", "ip", "-n", "theirs", "link", "add", "extra", "type", "bridge")
    machine.run("", "ip", "-n", "theirs", "address", "add", "192.0.2.77/32", "dev", "lo")
    before = namespace(machine, "theirs")
    with background_sleep("ip", "netns", "exec", "theirs") as pid:
        assert eventually(lambda: inside(machine, "theirs", pid))
        (tmp_path / "pid").write_text(f"{pid}\n")
        sandbox = {
            "name": "{netns: theirs}",
            "path": "{netns: /run/netns/theirs}",
            "pid": f"{{pid: {pid}}}",
            "pidfile": f"{{pidfile: {tmp_path}/pid}}",
        }[kind]
        them = f"attachments: {{them: {{sandbox: {sandbox}, networks: {{net: {{}}}}}}}}"
        us = "attachments: {us: {networks: {net: {}}}}"
        forked.write(net=NET, them=them, us=us)

        forked.ok()
        assert machine.ping("us", "10.1.0.2")
        assert machine.links("theirs") == ["eth0", "extra", "lo"]
        assert forked.ok().writes == ()

        forked.write(net=NET, us=us)
        forked.ok()
        assert settled(lambda: namespace(machine, "theirs")) == before

        forked.write(net=NET, them=them)
        forked.ok()
        forked.ok("down")
        assert settled(lambda: namespace(machine, "theirs")) == before
    assert "theirs" in machine.namespaces()


def test_namespace_of_ours_with_a_process_in_it_stays_until_the_process_ends(
    forked: ForkedReconcile, machine: Machine
) -> None:
    forked.write(net=NET, one="attachments: {one: {networks: {net: {}}}, two: {networks: {net: {}}}}")
    forked.ok()
    forked.write(net=NET, one="attachments: {two: {networks: {net: {}}}, three: {networks: {net: {}}}}")

    with background_sleep("ip", "netns", "exec", "one") as pid:
        assert eventually(lambda: inside(machine, "one", pid))
        assert f"attachment one: process {pid} (sleep) runs in its sandbox" in forked("--dry-run").stdout
        ran = forked()

        assert ran.exit_code == ExitCode.FAILED, ran.text
        assert f"process {pid}" in ran.stderr
        assert "sleep" in ran.stderr
        assert "one" in machine.namespaces()
        assert machine.links("one") == ["lo"]
        assert machine.ping("two", "10.1.0.1")
        assert machine.ping("three", "10.1.0.1")
        again = forked()
        assert (again.exit_code, again.writes) == (ExitCode.FAILED, ())
        assert forked("down").exit_code == ExitCode.FAILED
        assert "one" in machine.namespaces()
        assert "two" not in machine.namespaces()

    forked.ok("down")
    assert machine.namespaces() == ["H"]


def test_attachment_on_none_has_only_loopback_and_is_reachable_by_nobody(
    forked: ForkedReconcile, machine: Machine
) -> None:
    forked.write(specs="attachments: {alone: {network_mode: none}}")

    forked.ok("--bridge", "none")

    assert machine.links("alone") == ["lo"]
    assert machine.ping("alone", "127.0.0.1")
    assert machine.ip_json("alone", "route", "show") == []
    assert machine.links("H") == ["lo"]


def test_attachment_on_host_uses_the_hosts_stack(forked: ForkedReconcile, machine: Machine, host_ns: str) -> None:
    forked.write(specs="attachments: {shared: {network_mode: host}}")

    forked.ok()

    listed = forked.ok("exec", "shared", "--", "ls", "/sys/class/net").stdout.split()
    assert listed == machine.links(host_ns)
    assert machine.namespaces() == [host_ns]


def test_files_are_found_by_exec_and_by_ip_netns_exec(forked: ForkedReconcile, machine: Machine) -> None:
    forked.write(net=NET, one="attachments: {one: {hostname: uno, networks: {net: {}}, extra_hosts: ['gw:192.0.2.1']}}")
    forked.ok()

    ours = forked.ok("exec", "one", "--", "cat", "/etc/hosts", "/etc/resolv.conf").stdout
    theirs = machine.run("one", "cat", "/etc/hosts", "/etc/resolv.conf").stdout

    assert ours == theirs
    assert "10.1.0.2\tuno\n" in ours
    assert "192.0.2.1\tgw\n" in ours
    assert "uno" not in Path("/etc/hosts").read_text()


def test_namespace_that_was_ours_goes_with_its_attachment_and_its_files(
    forked: ForkedReconcile, machine: Machine
) -> None:
    forked.write(net=NET, one="attachments: {one: {sandbox: {netns: uno}, networks: {net: {}}}}")
    forked.ok()
    assert "uno" in machine.namespaces()

    forked.write(net=NET)
    forked.ok()

    assert machine.namespaces() == ["H"]
    assert not (machine.etc_netns_dir / "uno").exists()
    assert not (machine.run_dir / "sandboxes" / "one").exists()
    assert sorted(stamps(machine.status_dir)) == [
        "networks/bridge.json",
        "networks/host.json",
        "networks/net.json",
        "networks/none.json",
        "summary.json",
    ]


def test_sandbox_that_moves_to_another_namespace_is_built_there(forked: ForkedReconcile, machine: Machine) -> None:
    machine.add_namespace("theirs")
    before = namespace(machine, "theirs")
    forked.write(net=NET, one="attachments: {one: {networks: {net: {}}}, two: {networks: {net: {}}}}")
    forked.ok()

    forked.write(
        net=NET, one="attachments: {one: {sandbox: {netns: theirs}, networks: {net: {}}}, two: {networks: {net: {}}}}"
    )
    forked.ok()

    assert machine.namespaces() == ["H", "theirs", "two"]
    assert machine.ping("theirs", "10.1.0.3")
    forked.ok("down")
    assert settled(lambda: namespace(machine, "theirs")) == before


def test_process_that_was_replaced_gets_its_network_at_the_next_pass(
    forked: ForkedReconcile, machine: Machine, tmp_path: Path
) -> None:
    """A service that restarts in a namespace of its own, found by its pidfile."""
    pidfile = tmp_path / "pid"
    forked.write(net=NET, one=f"attachments: {{srv: {{sandbox: {{pidfile: {pidfile}}}, networks: {{net: {{}}}}}}}}")
    own = os.readlink("/proc/self/ns/net")
    for _ in range(2):
        with background_sleep("unshare", "--net") as pid:
            assert eventually(partial(is_elsewhere, pid, own))
            pidfile.write_text(f"{pid}\n")
            forked.ok()
            assert machine.ping("H", "10.1.0.2")
            assert forked.ok().writes == ()

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "pidfile" in ran.stderr


def test_file_of_a_namespace_that_a_crash_left_is_removed_but_not_one_of_others(
    forked: ForkedReconcile, machine: Machine
) -> None:
    forked.write(net=NET, one="attachments: {one: {networks: {net: {}}}, two: {networks: {net: {}}}}")
    forked.ok()
    others = (machine.netns_dir / "empty", machine.netns_dir / "theirs")
    for path, content in zip(others, ("", "reconciler:0123456789abcdef"), strict=True):
        path.write_text(content)
    unmount(machine.path("one"))
    assert not os.path.ismount(machine.path("one"))

    forked.write(net=NET, one="attachments: {two: {networks: {net: {}}}}")
    forked.ok()

    assert not machine.path("one").exists()
    assert [path.read_text() for path in others] == ["", "reconciler:0123456789abcdef"]
    assert machine.ping("two", "10.1.0.1")
    for path in others:
        path.unlink()


def test_namespace_is_made_again_on_the_file_that_a_crash_left(forked: ForkedReconcile, machine: Machine) -> None:
    forked.write(net=NET, one="attachments: {one: {networks: {net: {}}}}")
    forked.ok()
    unmount(machine.path("one"))

    forked.ok()

    assert machine.ping("one", "10.1.0.1")
    assert forked.ok().writes == ()
